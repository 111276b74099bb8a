"""Faults to survive, row by row, and what each row measured: `python -m tests.faults`."""
