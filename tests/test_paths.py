"""Files are written whole, in folders that others may have prepared, and what cannot be written is said in
one line.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from archgym.cli import app
from archgym.errors import ArchGymError
from archgym.files.archive import save_arrays
from archgym.files.paths import (
    check_folder,
    check_writable,
    in_words,
    make_folder,
    open_regular,
    write_atomically,
)
from archgym.simulator_wrappers import Tabulated
from archgym.simulators.nas.tables.table import read_table


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name, aim in (("file", precious), ("nothing", tmp_path / "absent")):
        link = tmp_path / name
        link.symlink_to(aim)
        write_atomically(link, lambda file: file.write(b"new"))
        assert link.read_bytes() == b"new" and not link.is_symlink()
    assert precious.read_text() == "precious" and not (tmp_path / "absent").exists()


def test_predictable_names_are_never_opened(tmp_path):
    """Names of temporary files of this process, as they once were."""
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in (f".a.{os.getpid()}.tmp", f".a.{os.getpid()}.probe", ".write-test"):
        (tmp_path / name).symlink_to(precious)
    check_writable(tmp_path / "a")
    write_atomically(tmp_path / "a", lambda file: file.write(b"new"))
    assert precious.read_text() == "precious" and (tmp_path / "a").read_bytes() == b"new"


def test_a_file_has_the_rights_that_the_user_asks_for(tmp_path):
    before = os.umask(0o027)
    try:
        assert write_atomically(tmp_path / "a", lambda file: file.write(b"x")).stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    target = tmp_path / "data.parquet"
    killed = (
        f"import os; from archgym.files.paths import write_atomically; "
        f"write_atomically({str(target)!r}, lambda file: (file.write(b'half'), os.kill(os.getpid(), 9)))"
    )
    subprocess.run([sys.executable, "-c", killed], check=False)
    (tmp_path / ".data.parquet.4711.tmp").write_text("of an older version")
    (tmp_path / ".data.parquet.mine.tmp").write_text("a user's")
    assert len(list(tmp_path.iterdir())) == 3

    def write_while_another_does(file):
        file.write(b"outer")
        write_atomically(target, lambda other: other.write(b"inner"))
        assert target.read_bytes() == b"inner"

    write_atomically(target, write_while_another_does)
    assert target.read_bytes() == b"outer"
    assert {path.name for path in tmp_path.iterdir()} == {"data.parquet", ".data.parquet.mine.tmp"}


def test_a_long_name_can_be_written(tmp_path):
    assert write_atomically(tmp_path / ("é" * 125), lambda file: file.write(b"x")).read_bytes() == b"x"


class _Library(Exception):
    """An error that keeps the system's only as text."""


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "quota"),
        _Library("No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_whoever_notices_it(tmp_path, error):
    def write(file):
        file.write(b"half")
        raise error

    with pytest.raises(
        ArchGymError,
        match=r"^cannot write .*/a: the disk is full; free some space and run the same command again$",
    ):
        write_atomically(tmp_path / "a", write)
    with pytest.raises(ArchGymError, match="the disk is full"):
        write_atomically(tmp_path / "b", lambda file: _raise_from(error))
    assert not list(tmp_path.iterdir())


def _raise_from(cause):
    raise ValueError("cannot compress") from cause


def test_other_errors_of_who_writes_are_their_own(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "a", lambda file: 1 / 0)
    with pytest.raises(ArchGymError, match=r"^mine$"):
        write_atomically(tmp_path / "a", lambda file: _raise_mine())
    assert not list(tmp_path.iterdir())


def _raise_mine():
    raise ArchGymError("mine") from OSError(errno.ENOSPC, "of a file that was read")


def test_a_full_device_is_said_by_name():
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(OSError) as caught:
        file.write(b"x")
    assert in_words(caught.value) == "the disk is full"


def test_folders_are_made_and_no_link_is_entered_within_them(tmp_path):
    home, outside = tmp_path / "home", tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "link").symlink_to(outside)
    assert make_folder(tmp_path / "link" / "a" / "b", within=tmp_path / "link").is_dir(), (
        "the folder itself may be a link"
    )
    home.mkdir()
    (home / "a").symlink_to(outside)
    (home / "f").touch()
    os.mkfifo(home / "p")
    for name, kind in (("a", "a link"), ("f", "a file"), ("p", "a FIFO")):
        with pytest.raises(
            ArchGymError, match=f"{name} is {kind}, where archgym keeps a folder of its own: remove it"
        ):
            make_folder(home / name / "b", within=home)
    assert [path.name for path in outside.iterdir()] == ["a"]


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("fifo", "link", "."):
        with pytest.raises(OSError, match="not a file"):
            open_regular(tmp_path / name)
    with open_regular(tmp_path / "link", follow=True) as file:
        assert file.read() == b"x"
    with pytest.raises(ArchGymError, match="it is a FIFO, not a file"):
        Tabulated.load(tmp_path / "fifo")
    with pytest.raises(ArchGymError, match="it is a FIFO, not a file"):
        read_table(tmp_path / "fifo")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc, where nobody can make a folder")
@pytest.mark.parametrize(
    "command", ["optimum archgym/NKLandscape-v0 --set n=6", "data import nasbench201 x.csv"]
)
def test_a_home_that_cannot_be_written_is_said_before_the_work(command, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", "/proc/x")
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 2
    assert "error: cannot write to /proc/x" in result.stderr
    assert "set ARCHGYM_HOME to a folder that can be written" in result.stderr
    with pytest.raises(ArchGymError, match=r"cannot make the folder /proc/x/a.* set ARCHGYM_HOME"):
        make_folder("/proc/x/a")


def test_a_home_that_is_written_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))
    check_folder(tmp_path / "home" / "nas")
    assert not list(tmp_path.iterdir())


def test_arrays_on_a_full_disk(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArchGymError, match="the disk is full"):
        save_arrays(tmp_path / "a.npz", {"a": np.arange(3)})
    assert not list(tmp_path.iterdir())
