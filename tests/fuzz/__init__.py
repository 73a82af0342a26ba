"""Hostile input in bulk: `make fuzz`, or `python -m tests.fuzz --inputs 20000 --seed 1`.

Hypothesis makes the inputs from a seed and shrinks what violates a rule: a refusal is one of the
project's own errors, short and without control characters, within 10 seconds and 1 GiB, and nothing
is written outside the folder of the stage. Each target runs in a process of its own, so that a crash
of the interpreter is seen too.
"""
