"""Environments: a simulator, an objective and named workloads under one Gymnasium id; each module's
docstring is its documentation.
"""
