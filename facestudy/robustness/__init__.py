"""Robustness: the changes of scores when the test faces are altered."""
