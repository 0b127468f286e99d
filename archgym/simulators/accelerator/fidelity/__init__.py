"""Comparisons with other simulators of accelerators, and their records."""
