"""From a frame to a face: search, quality, cutting out."""
