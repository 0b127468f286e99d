"""The `archgym` program: a module for each command, or group of commands, under its name, and shared modules.

program     the commands, those of plug-ins included; errors and exit codes
options     options that several commands take, and the values that users type
measuring   steps of the two commands that measure kernels
screen      consoles, messages, tables, facts;  tables, terminal  their layout
words       designs, quantities and objectives in words
describe    `archgym list`, too
"""

from archgym.cli.program import app, main

__all__ = ["app", "main"]
