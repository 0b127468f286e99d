"""Accuracy tables of trained networks: the one that ships (the npz file here), and imported ones.

table               Table: the npz format, and installed tables by name
imports             files of published benchmarks to tables
nats_bench          the records of NATS-Bench
accuracies          checks of cells and accuracies that the importers share
restricted_pickle   pickles read as data, without running code
summary             distribution, noise ceiling and predictors of a table
"""

from archgym.simulators.nas.tables.table import Table, list_tables, load_table, read_table, save_table

__all__ = ["Table", "list_tables", "load_table", "read_table", "save_table"]
