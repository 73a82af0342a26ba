"""Measured comparisons, run by hand; the library does not need them."""
