"""What environments of tables need before they can be made; imported with archgym, so nothing but a look at the data folder."""

from __future__ import annotations

from archgym.files.paths import data_folder

MACRO_TABLE = "nas-bench-macro-cifar10"


def macro_table() -> str:
    """ "" where the table of NAS-Bench-Macro is installed, else what to do."""
    if data_folder("nas", f"{MACRO_TABLE}.npz").is_file():
        return ""
    return f"its table {MACRO_TABLE} is not installed; get it with: archgym data import nas-bench-macro JSON"
