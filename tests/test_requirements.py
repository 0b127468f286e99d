"""Environments that need something first: not there until it is, with what to do in the message; plug-ins
may say so too.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


@pytest.fixture
def run(tmp_path):
    """Runs Python beside an installed plug-in whose environments need a file, something unknown, and
    nothing.
    """
    folder = tmp_path / "site"
    information = folder / "needy-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: needy\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        textwrap.dedent(
            """
            [archgym.envs]
            needy/File-v0 = needy_env:Thing
            needy/Module-v0 = needy_registers
            needy/Broken-v0 = needy_env:Thing
            needy/Raises-v0 = needy_env:Thing
            needy/Free-v0 = needy_env:Thing
            [archgym.requirements]
            needy/File-v0 = needy:file
            needy/Module-v0 = needy:file
            needy/Broken-v0 = no_such_module:check
            needy/Raises-v0 = needy:raises
            needy/Absent-v0 = needy:file
            """
        )
    )
    (folder / "needy.py").write_text(
        textwrap.dedent(
            """
            import os

            def file():
                return "" if os.path.exists(os.environ["NEEDED"]) else "download it: needy download"

            def raises():
                raise RuntimeError("half installed")
            """
        )
    )
    (folder / "needy_env.py").write_text("from conftest import Bowl as Thing\n")
    (folder / "needy_registers.py").write_text(
        "import archgym\nfrom conftest import Bowl\narchgym.register_env('needy/Module-v0', simulator=Bowl)\n"
    )

    def run(code: str) -> str:
        prepare = f"""
            import os, sys
            sys.path[:0] = [{str(folder)!r}, {str(__file__).rpartition("/")[0]!r}]
            os.environ["NEEDED"] = {str(tmp_path / "needed")!r}
            import archgym, gymnasium
            from archgym.registry import get_task, requirement

            def error(call, kind=archgym.ArchGymError):
                try:
                    call()
                except kind as error:
                    return str(error)
                raise AssertionError("no error")
        """
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", textwrap.dedent(prepare) + textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_an_environment_whose_requirement_is_not_met_is_not_there_and_says_why(run):
    run("""
        listed = [name for name in archgym.list_envs() if name.startswith("needy")]
        assert listed == ["needy/Free-v0"], listed
        assert "needy/File-v0" not in gymnasium.registry
        for call in (lambda: get_task("needy/File-v0"), lambda: archgym.search("needy/File-v0", "random", budget=3)):
            assert error(call) == "needy/File-v0 cannot be made yet: download it: needy download"
        assert "needy" in error(lambda: gymnasium.make("needy/File-v0"), gymnasium.error.Error)
        assert requirement("needy/Free-v0") == requirement("needy/Nothing-v0") == ""
        archgym.search("needy/Free-v0", "random", budget=3)
    """)


def test_it_is_there_after_discover_once_it_is_met_and_gone_when_it_is_not(run):
    run("""
        open(os.environ["NEEDED"], "w").close()
        assert "needy/File-v0" not in archgym.list_envs()
        archgym.discover()
        assert "needy/File-v0" in archgym.list_envs() and "needy/Module-v0" in archgym.list_envs()
        gymnasium.make("needy/File-v0"), gymnasium.make("needy/Module-v0")
        os.remove(os.environ["NEEDED"])
        archgym.discover()
        assert "needy/File-v0" not in archgym.list_envs() and "needy/File-v0" not in gymnasium.registry
        assert "needy download" in error(lambda: get_task("needy/Module-v0"))
    """)


def test_a_search_finds_what_has_been_met_since(run):
    run("""
        open(os.environ["NEEDED"], "w").close()
        assert archgym.search("needy/File-v0", "random", budget=3).samples == 3
    """)


def test_a_module_that_is_imported_early_does_not_register_it(run):
    run("""
        import needy_registers
        assert "needy/Module-v0" not in archgym.list_envs()
        assert "needy download" in error(lambda: get_task("needy/Module-v0"))
        open(os.environ["NEEDED"], "w").close()
        archgym.search("needy/Module-v0", "random", budget=3)
    """)


def test_a_requirement_that_cannot_be_asked_leaves_its_environment_out_and_nothing_else(run):
    run("""
        assert "cannot load 'no_such_module:check'" in error(lambda: get_task("needy/Broken-v0"))
        assert "RuntimeError: half installed" in error(lambda: get_task("needy/Raises-v0"))
        assert "needy/Free-v0" in archgym.list_envs() and "archgym/Softmax-v0" in archgym.list_envs()
    """)


def test_a_requirement_of_nothing_is_of_no_consequence(run):
    run("""
        open(os.environ["NEEDED"], "w").close()
        assert "unknown environment 'needy/Absent-v0'" in error(lambda: get_task("needy/Absent-v0"))
    """)
