"""Processes: children that end with their parent, their supervisor, and Ctrl-C. No code here: `interrupts`
must be imported first.
"""
