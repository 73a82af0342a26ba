"""Hurting a run of the study and looking whether a later one mends everything. `make faults` runs all of it."""
