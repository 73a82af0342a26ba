"""Which parts of a crop a trained network relies on."""
