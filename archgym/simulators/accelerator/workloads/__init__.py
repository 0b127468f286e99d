"""Workloads: layers of networks, from the tables of `networks/` and from CSV and ONNX files."""

from archgym.simulators.accelerator.workloads.files import (
    attention_layers,
    first_name,
    list_workloads,
    load_workload,
)
from archgym.simulators.accelerator.workloads.workload import Dimensions, Workload

__all__ = ["Dimensions", "Workload", "attention_layers", "first_name", "list_workloads", "load_workload"]
