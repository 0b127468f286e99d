"""Processes: children that end with their parent, their supervisor, and Ctrl-C. Empty, since `interrupts` is imported before all else."""
