"""Attribution: the parts of a crop that a trained network relies on."""
