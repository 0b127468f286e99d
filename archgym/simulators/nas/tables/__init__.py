"""Tables of trained networks: the one that ships, and those that are imported."""

from archgym.simulators.nas.tables.table import Table, list_tables, load_table, read_table, save_table

__all__ = ["Table", "list_tables", "load_table", "read_table", "save_table"]
