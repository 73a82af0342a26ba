"""Interrupt or damage a run of the study, and check that a later run recovers. `make faults` runs all cases."""
