"""Exit codes of archgym's programs; 0 is success."""

FAILED = 1  # internal error, or a check that found a fault
BAD_INPUT = 2  # invalid input
INTERRUPTED = 130  # by Ctrl-C: 128 + SIGINT, as in shells
