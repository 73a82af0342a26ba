"""Pseudo-fakes: the fake class made from real clips."""
