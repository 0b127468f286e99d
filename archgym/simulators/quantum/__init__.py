"""Quantum circuits: ground energies that circuits of few gates reach."""
