"""`archgym serve`: a task as an HTTP service, for agents in any language."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from archgym.cli.options import Env, Settings, building, pairs
from archgym.cli.screen import end_interrupted, stdout
from archgym.errors import ArchGymError, MissingDependency
from archgym.registry import get_task

PORT = 8000
TOKEN = "ARCHGYM_TOKEN"


def serve(
    env: Env,
    budget: Annotated[
        int | None,
        typer.Option(min=1, help="Samples of each session, counted here.", show_default="no limit"),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of an agent's first session; the next has the next one.")
    ] = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = PORT,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but a loopback address needs a token.")
    ] = "127.0.0.1",
    set_: Settings = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the sessions.", show_default="served-NAME in this folder"
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar=TOKEN,
            help="Token that clients need to open sessions; better in the environment, since others see "
            "a command line.",
        ),
    ] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions allowed.")] = 10_000,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests per second of each client address.", show_default="no limit"),
    ] = None,
    mcp: Annotated[
        bool,
        typer.Option(
            "--mcp",
            help="Serve the tools describe, evaluate and history on stdin and stdout for a language model, "
            "over the Model Context Protocol, instead of HTTP.",
        ),
    ] = False,
) -> None:
    """Serve an environment over HTTP: clients send designs and get metrics, the ledger stays here.

    archgym serve archgym/Softmax-v0 --budget 1000
    """
    settings = pairs("--set", set_)
    folder = out or Path(f"served-{env.rpartition('/')[2]}")
    if mcp:
        _serve_tools(env, folder, budget, seed, settings)
        return
    try:
        from archgym.serve.app import make_app
        from archgym.serve.guards import check_access
        from archgym.serve.server import address_of, listen, run
        from archgym.serve.task import ServedTask
    except ModuleNotFoundError as error:
        raise MissingDependency(f"archgym serve needs {error.name}: pip install 'archgym[serve]'") from error
    check_access(host, token, rate)
    with building(get_task(env), settings):
        task = ServedTask(env, budget=budget, seed=seed, arguments=settings)
    listening = listen(host, port)
    try:
        app = make_app(task, folder, token=token, host=host, sessions=sessions, rate=rate)
    except ArchGymError:
        listening.close()
        raise
    samples = "no budget" if budget is None else f"budget {budget:,}"
    line = f"serving {env} at {address_of(listening)}, {samples}, seed {seed}, in {os.fspath(folder)}"
    try:
        run(app, listening, lambda: stdout().print(line, soft_wrap=True))
    except KeyboardInterrupt:
        end_interrupted(f"every sample is in {folder}; the same command goes on")


def _serve_tools(env: str, folder: Path, budget: int | None, seed: int, settings: dict[str, Any]) -> None:
    """Serve a task's tools on stdin and stdout, where nothing else may be printed."""
    from archgym.serve.mcp import serve_mcp, stdout_kept_free
    from archgym.serve.task import ServedTask

    with stdout_kept_free(), building(get_task(env), settings):
        task = ServedTask(env, budget=budget, seed=seed, arguments=settings)
    serve_mcp(task, folder)
