"""sdist -> wheel holds the package as it is in the checkout, nothing else, and imports anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def checkout_files() -> list[str]:
    """Tracked files and new ones that git does not ignore; links at the top count as files."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted({name for name in listed.stdout.split("\0") if name and os.path.lexists(ROOT / name)})


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `python -m build` makes of the sdist that it makes of a copy of the checkout."""
    pytest.importorskip("build", reason="needs the package build: pip install build")
    pytest.importorskip("hatchling", reason="needs the build backend: pip install hatchling")
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout to tell the project's files from others")
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist")
    for name in checkout_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(out.glob("*.tar.gz"))) == 1
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {name for name in checkout_files() if name.startswith("archgym/")}
    assert inside == expected
    assert {
        "archgym/py.typed",
        "archgym/__init__.py",
        "archgym/agents/random.py",
        "archgym/envs/softmax.py",
    } <= inside
    assert any(name.startswith("archgym/simulators/softmax/calibrations/") for name in inside)


def test_no_generic_package_lands_in_site_packages(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"archgym"}


def test_the_wheel_names_its_entry_points_and_licence(wheel):
    archive = zipfile.ZipFile(wheel)
    (points,) = (
        archive.read(name).decode() for name in archive.namelist() if name.endswith("entry_points.txt")
    )
    for needed in (
        "[archgym.agents]",
        "[archgym.envs]",
        "archgym = archgym.cli:main",
        "archgym/Softmax-v0 = archgym.envs.softmax",
    ):
        assert needed in points
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_wheel_works_outside_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = f"""
import pathlib
import archgym
assert pathlib.Path(archgym.__file__).is_relative_to({str(site)!r}), archgym.__file__
import archgym.agents, archgym.envs, archgym.simulators, archgym.testing
assert archgym.search("archgym/Softmax-v0", "genetic", budget=100, seed=0).regret >= 0
assert archgym.search("archgym/NKLandscape-v0", "random", budget=10, seed=0).samples == 10
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(site)},
    )
    assert done.returncode == 0, done.stderr


def test_every_entry_point_of_the_project_names_something_that_exists():
    from importlib.metadata import entry_points

    from archgym.registry import load

    for group in ("archgym.agents", "archgym.envs", "archgym.commands"):
        for point in entry_points(group=group):
            if point.dist is not None and point.dist.name == "archgym":
                load(point.value)
