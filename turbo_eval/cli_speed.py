"""Which command times models? Parsing and printing only; its work lies in speed_run.py."""
