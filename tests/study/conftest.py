from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def plugins(monkeypatch, tmp_path):
    """The misbehaving simulators can be imported, here and in processes, and a data folder of its own."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def program():
    """The `archgym` program as a real process."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "archgym.cli", *map(str, arguments)], capture_output=True, text=True, **options)

    return run


@pytest.fixture
def rows():
    """Every run file of a folder: identifier -> the table less columns of seconds."""

    def read(folder: Path) -> dict[str, pyarrow.Table]:
        tables = {path.stem: pyarrow.parquet.read_table(path) for path in sorted(folder.rglob("*.parquet"))}
        return {
            id_: table.drop_columns([name for name in table.column_names if "seconds" in name]).replace_schema_metadata(None)
            for id_, table in tables.items()
        }

    return read
