"""Which parts of a crop a trained network goes by."""
