"""Workloads from ONNX files.

`load` makes a workload of a file: `reading` reads it, `sizes` sets dynamic dimensions, `shapes` infers the rest, `layers` takes layers from
nodes, and `graph` has what they share.
"""
