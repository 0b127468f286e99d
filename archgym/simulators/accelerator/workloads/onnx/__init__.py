"""Workloads from ONNX files.

`load` makes a workload of a file: `reading` reads it, `sizes` sets dynamic dimensions, `shapes` infers the
rest, `layers` converts nodes, and `graph` has shared functions.
"""
