"""`archgym doctor`: features that work on this machine, missing ones, their use, and the command that
installs them.

Only what archgym needs can be broken; everything else is present or missing. Nothing is downloaded, no heavy
package is imported, and a plug-in is imported only where another package brings it.
"""

from __future__ import annotations

import json
import platform
import socket
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import typer

from archgym._search import search
from archgym.cli.screen import fact_sheet, heading, stdout
from archgym.deprecated.names import old_names
from archgym.errors import ArchGymError, reason_of
from archgym.files.paths import check_folder, data_folder
from archgym.processes.exits import FAILED
from archgym.registry import Finding, get_agent, get_task, load, requirement
from archgym.version import __version__
from archgym.words import one_line

if TYPE_CHECKING:
    from packaging.requirements import Requirement

ENABLES = {  # extra -> what it enables
    "rl": "agents ppo, a2c, dqn, sac",
    "gp": "agents gp, controller, contextual_ppo",
    "nas": "training the networks of NasCell-v0 and PlainCnn-v0; agents darts, pc_darts, darts_pt, sd_darts, "
    "sharp_darts, rarts, shared_random, gdas, proxyless, few_shot_gm, shift, multi_task, enas",
    "report": "the report of a lottery, the page of a leaderboard",
    "dask": "studies on Dask, SLURM, LSF and PBS",
    "ray": "studies on Ray",
    "onnx": "networks from .onnx files",
    "marl": "the multi-agent view of an environment",
    "proxy": "training proxies of simulators",
    "configspace": "spaces of ConfigSpace, to and fro",
    "minari": "data sets for offline reinforcement learning",
    "synthesis": "logic synthesis of any circuit, LogicSynthesis-v0 beyond its tables",
    "peers": "libraries that benchmarks/peers.py compares agents with",
    "compiler": "measured kernels and compiled simulators, on machines without a C compiler",
}
LOADERS = {"archgym.agents": get_agent, "archgym.envs": get_task}
CONNECT_S = 3.0
SAMPLES = 16
SLOW = ("cmaes",)  # imports SciPy's statistics, which takes a second
COLOURS = {"ok": "green", "missing": "yellow", "broken": "red"}

__getattr__ = old_names(__name__, examine="run_checks")


def run_checks(dask: str | None = None, ray: str | None = None) -> list[Finding]:
    """Run all checks.

    Args:
        dask: address of a scheduler to check, tcp://HOST:PORT, or None.
        ray: address of a cluster to check, ray://HOST:PORT, or None.
    """
    findings = [*_core(), *_extras(), *_from_simulators(), *_unmet_requirements(), *_plugins()]
    return findings + [
        _cluster(kind, address) for kind, address in (("dask", dask), ("ray", ray)) if address is not None
    ]


def doctor(
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Address of a Dask scheduler to check too, tcp://HOST:PORT."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Address of a Ray cluster to check too, ray://HOST:PORT."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for a bug report.")] = False,
) -> None:
    """Check this machine: what works, what is missing, and the command that installs it; exit code 1 if
    something needed is broken.

    archgym doctor --json
    """
    findings = run_checks(dask, ray)
    about = {"archgym": __version__, "python": platform.python_version(), "platform": platform.platform()}
    if as_json:
        print(json.dumps({**about, "findings": [asdict(finding) for finding in findings]}, indent=1))
    else:
        _print(about, findings)
    if any(finding.needed and finding.state != "ok" for finding in findings):
        raise typer.Exit(FAILED)


def _print(about: dict[str, str], findings: Iterable[Finding]) -> None:
    out = stdout()
    heading(out, f"archgym {about['archgym']}", f"Python {about['python']}, {about['platform']}")
    facts, styles = [], []
    section = ""
    for finding in findings:
        if finding.section != section:
            facts += [*([("", "")] if section else []), (finding.section, "")]
            styles += [*([""] if section else []), "bold"]
            section = finding.section
        text = "\n".join(
            filter(None, (finding.found, finding.enables and f"enables {finding.enables}", finding.remedy))
        )
        facts.append((f"{finding.state:8}{one_line(finding.name)}", text))
        styles.append(COLOURS[finding.state])
    out.print(fact_sheet(facts, styles))


def _core() -> Iterator[Finding]:
    """Packages that archgym needs, the folder for results, a search."""
    yield _packages("Core", "packages", _requirements(), "pip install archgym", needed=True)
    folder = data_folder()
    try:
        check_folder(folder)
        yield Finding("Core", "data folder", "ok", _without_user(folder), needed=True)
    except ArchGymError as error:
        yield Finding("Core", "data folder", "broken", reason_of(error), needed=True)
    try:
        result = search("archgym/NKLandscape-v0", "random", budget=SAMPLES, seed=0)
        yield Finding(
            "Core", "search", "ok", f"{result.samples} samples of archgym/NKLandscape-v0", needed=True
        )
    except Exception as error:  # any error is the finding
        remedy = "pip install --force-reinstall archgym"
        yield Finding("Core", "search", "broken", reason_of(error), remedy=remedy, needed=True)


def _requirements(extra: str = "") -> list[Requirement]:
    """Requirements of archgym, or those that one of its extras adds."""
    core = [r for r in _stated() if r.marker is None or r.marker.evaluate({"extra": ""})]
    return (
        [r for r in _stated() if r not in core and r.marker and r.marker.evaluate({"extra": extra})]
        if extra
        else core
    )


@cache
def _stated() -> list[Requirement]:
    from packaging.requirements import Requirement

    return [Requirement(text) for text in requires("archgym") or []]


def _packages(
    section: str,
    name: str,
    requirements: Iterable[Requirement],
    remedy: str,
    enables: str = "",
    needed: bool = False,
) -> Finding:
    """Whether packages are installed in versions that fit; those that are needed are imported too."""
    versions, wrong, missing = [], [], False
    for wanted in requirements:
        try:
            have = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is not installed")
            missing = True
            continue
        versions.append(f"{wanted.name} {have}")
        if not wanted.specifier.contains(have, prereleases=True):
            wrong.append(f"{wanted.name} is {have}, expected {wanted.specifier}")
        elif needed and wanted.name not in SLOW and (reason := _refusal(wanted.name)):
            wrong.append(f"{wanted.name} {have} cannot be imported: {reason}")
    if not wrong:
        return Finding(section, name, "ok", ", ".join(versions), needed=needed)
    state: Literal["missing", "broken"] = "missing" if missing and not needed else "broken"
    return Finding(section, name, state, "; ".join(wrong), enables, remedy, needed)


def _refusal(package: str) -> str:
    """The reason why a package cannot be imported, "" if it can."""
    try:
        import_module(package.replace("-", "_"))
    except Exception as error:
        return reason_of(error)
    return ""


def _extras() -> Iterator[Finding]:
    for extra, enables in ENABLES.items():
        yield _packages("Extras", extra, _requirements(extra), f'pip install "archgym[{extra}]"', enables)


def _from_simulators() -> Iterator[Finding]:
    """Simulators' own needs: compilers, backends, tables."""
    for point in sorted(entry_points(group="archgym.findings"), key=lambda each: each.name):
        try:
            yield from load(point.value)()
        except Exception as error:  # a plug-in may raise anything
            yield Finding("Findings", point.name, "broken", reason_of(error), remedy=f"look at {point.value}")


def _unmet_requirements() -> Iterator[Finding]:
    """Environments whose requirement is not met."""
    for point in entry_points(group="archgym.requirements"):
        if remedy := requirement(point.name):
            yield Finding("Data", point.name, "missing", remedy=remedy)


def _plugins() -> Iterator[Finding]:
    """Entry points of other packages, each of which is loaded as a check."""
    for group in (
        "archgym.agents",
        "archgym.envs",
        "archgym.requirements",
        "archgym.commands",
        "archgym.findings",
    ):
        for point in entry_points(group=group):
            if point.dist is None or point.dist.name == "archgym":
                continue
            package = (
                f"{group.removeprefix('archgym.').removesuffix('s')} of {point.dist.name} "
                f"{point.dist.version}"
            )
            try:
                LOADERS[group](point.name) if group in LOADERS else load(point.value)
                yield Finding("Plug-ins", point.name, "ok", package)
            except Exception as error:  # a plug-in may raise anything
                remedy = f"pip install --upgrade {point.dist.name}"
                yield Finding(
                    "Plug-ins", point.name, "broken", f"{package}: {reason_of(error)}", remedy=remedy
                )


def _cluster(kind: str, address: str) -> Finding:
    """Whether a cluster answers, and its number of runs at once."""
    from archgym.study.executors import make_executor

    try:
        place = urlsplit(address if "://" in address else f"{kind}://{address}")
        with socket.create_connection((place.hostname or "", place.port or 0), CONNECT_S):
            pass
        executor, width = make_executor(place.geturl(), None)
        executor.shutdown()
    except (ArchGymError, OSError, ValueError) as error:
        return Finding(
            "Cluster",
            address,
            "broken",
            reason_of(error),
            remedy=f"start it, or correct --{kind}",
            needed=True,
        )
    return Finding("Cluster", address, "ok", f"{width} runs at once", needed=True)


def _without_user(path: Path) -> str:
    """A path as a bug report may show it, without the user's name."""
    return str(Path("~") / path.relative_to(Path.home())) if path.is_relative_to(Path.home()) else str(path)
