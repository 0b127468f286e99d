"""Simulators: what a design costs. They import the kernel only."""
