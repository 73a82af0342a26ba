"""Where videos come from: folders, datasets, lists of links."""
