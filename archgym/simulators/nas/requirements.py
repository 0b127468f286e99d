"""Requirements of environments that look up tables. Imported with archgym, so it only looks into the data
folder.
"""

from __future__ import annotations

from archgym.files.paths import data_folder

MACRO_TABLE = "nas-bench-macro-cifar10"


def macro_table() -> str:
    """What to do where the table of NAS-Bench-Macro is not installed; "" where it is."""
    if data_folder("nas", f"{MACRO_TABLE}.npz").is_file():
        return ""
    return f"its table {MACRO_TABLE} is not installed; get it with: archgym data import nas-bench-macro JSON"
