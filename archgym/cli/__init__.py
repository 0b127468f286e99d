"""The `archgym` program: one module per command, and what they share.

program     plug-ins' commands, errors, exit codes
options     arguments that several commands take
screen      where results, progress and errors are printed;  tables, terminal  how
"""

from archgym.cli.program import app, main

__all__ = ["app", "main"]
