"""Fitting a network and scoring faces."""
