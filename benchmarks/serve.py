"""`archgym serve`: rates beside a bare framework echo, kill -9 under load, hostile requests, many sessions.

python benchmarks/serve.py rates       requests/s and designs/s on loopback, in rounds that alternate
python benchmarks/serve.py kills [--requests N] [--kills N] [--clients N] [--shared N] [--folder DIR]
python benchmarks/serve.py fuzz [--requests N]      schemathesis, and requests that no library sends
python benchmarks/serve.py sessions [--count N]     memory and the time of a restart with many sessions

rates: one client process with 8 connections, each with one request under way; requests of the service and of
the echoes have the same bytes, and so have the answers.

    echo            FastAPI on uvicorn: the body is read, a constant of the answer's size is sent
    echo, JSON      the same, with the body parsed and the answer written by orjson
    service         archgym/Softmax-v0 (8 parameters, 6 metrics), every request journalled before its answer

kills: clients with budgets, batches of 1 to 8 designs and Idempotency-Keys, against a stochastic task. The
server is killed by SIGKILL in the midst of requests, sometimes also while it starts, and started again on the
same folder and port. Afterwards each history must hold what its clients sent and were answered, sample by
sample, and be that of the same requests to a service that nobody killed, and to the library itself; the store
must have each session once.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import orjson
import psutil
import uvicorn
from fastapi import FastAPI, Request, Response

sys.path.insert(0, str(Path(__file__).parent))
from serving import Client, Service, request_bytes

ENV = "archgym/Softmax-v0"
NOISY = ("archgym/NasCell-v0", "--set", "seed=random")
CONNECTIONS, ROUNDS, SECONDS, BATCH = 8, 5, 2.0, 1000
LARGEST = 8  # designs of a request under kills
LAST = 3  # designs of a session's plan beyond its budget

# --- rates ---


def echo(folder: Path, port: int) -> None:
    """The framework alone."""
    app = FastAPI()
    answers = {path.stem: path.read_bytes() for path in folder.glob("*.answer")}
    parsed = {name: orjson.loads(answer) for name, answer in answers.items()}

    @app.post("/echo/{size}/evaluate")
    async def bare(size: str, request: Request) -> Response:
        await request.body()
        return Response(answers[size], media_type="application/json")

    @app.post("/json/{size}/evaluate")
    async def through_json(size: str, request: Request) -> Response:
        orjson.loads(await request.body())
        return Response(orjson.dumps(parsed[size]), media_type="application/json")

    uvicorn.run(app, port=port, log_level="error", access_log=False)


def rate(service: Service, requests: Sequence[bytes], seconds: float) -> tuple[float, float, float]:
    """Requests/s of 8 connections, requests per CPU second of the server, share of a core that this client
    used.
    """
    assert service.process is not None
    server, turns = psutil.Process(service.process.pid), itertools.cycle(requests)
    clients = [Client(service.port) for _ in range(CONNECTIONS)]
    for client in clients:  # connections are made before the clock starts
        client.send(next(turns))
        assert client.receive().status == 200
    count, own, busy = 0, time.process_time(), sum(server.cpu_times()[:2])
    begun = time.perf_counter()
    for client in clients:
        client.send(next(turns))
    while (passed := time.perf_counter() - begun) < seconds:
        for client in clients:
            answer = client.receive()
            assert answer.status == 200, answer
            client.send(next(turns))
        count += len(clients)
    own, busy = time.process_time() - own, sum(server.cpu_times()[:2]) - busy
    for client in clients:
        client.receive()
        client.close()
    return count / passed, count / max(busy, 0.01), own / passed


def bodies(space: dict[str, Any], size: int, by_value: bool, seed: int) -> list[bytes]:
    """Bodies with random designs."""
    rng, nvec = np.random.default_rng(seed), np.array(space["nvec"])
    found = []
    for _ in range(64):
        rows = rng.integers(0, nvec, (size, len(nvec))).tolist()
        if by_value:
            names = [parameter["name"] for parameter in space["parameters"]]
            values = [parameter["values"] for parameter in space["parameters"]]
            designs = [
                {name: value[i] for name, value, i in zip(names, values, row, strict=True)} for row in rows
            ]
            found.append(json.dumps({"designs": designs}).encode())
        else:
            found.append(json.dumps({"indices": rows}).encode())
    return found


def rates(seconds: float = SECONDS, rounds: int = ROUNDS) -> None:
    """Print what the service and the echoes reach, as medians of rounds that alternate."""
    cases = [(1, True), (1, False), (BATCH, True), (BATCH, False)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with Service(ENV, folder=folder / "store") as service:
            with Client(service.port) as client:
                space = client.ask("GET", "/task").json()["space"]
                made = client.ask("POST", "/sessions", {}).json()
                path, head = f"/sessions/{made['session']}/evaluate", f"Bearer {made['token']}"
                for size, by_value in cases:
                    body = bodies(space, size, by_value, 0)[0]
                    answer = client.ask("POST", path, body, made["token"])
                    assert answer.status == 200, answer
                    (folder / f"{case_name(size, by_value)}.answer").write_bytes(answer.body)
            program = (sys.executable, __file__, "echo", str(folder))
            with Service(program=program) as other:
                measure(service, other, cases, space, (path, head), seconds, rounds)


def case_name(size: int, by_value: bool) -> str:
    return f"{size}-{'values' if by_value else 'indices'}"


def measure(
    service: Service,
    other: Service,
    cases: Sequence[tuple[int, bool]],
    space: dict[str, Any],
    session: tuple[str, str],
    seconds: float,
    rounds: int,
) -> None:
    path, head = session
    for size, by_value in cases:
        made, case = bodies(space, size, by_value, 1), case_name(size, by_value)
        authorised = {"Authorization": head}
        versions = {
            "echo": (other, [request_bytes("POST", f"/echo/{case}/evaluate", b, authorised) for b in made]),
            "echo, JSON": (
                other,
                [request_bytes("POST", f"/json/{case}/evaluate", b, authorised) for b in made],
            ),
            "service": (service, [request_bytes("POST", path, b, authorised) for b in made]),
        }
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in versions}
        for _ in range(rounds):
            for name, (server, requests) in versions.items():
                found[name].append(rate(server, requests, seconds))
        print(f"{size} designs by {'value' if by_value else 'index'}: bytes {len(made[0]):,} per request")
        base = statistics.median(each[0] for each in found["echo"])
        base_cpu = statistics.median(each[1] for each in found["echo"])
        for name, each in found.items():
            whole, busy, own = (statistics.median(column) for column in zip(*each, strict=True))
            print(
                f"    {name:12} {whole:9,.0f} requests/s  {whole * size:11,.0f} designs/s  of the echo"
                f" {whole / base:.3f}; per CPU second of the server {busy:9,.0f} requests,"
                f" {busy * size:11,.0f} designs, of the echo {busy / base_cpu:.3f}; client's core {own:.2f}",
                flush=True,
            )


# --- kills ---


@dataclass
class Sender:
    """A client with its requests, and what it was answered."""

    name: str
    session: str
    token: str
    batches: list[np.ndarray]
    answers: list[tuple[np.ndarray, dict[str, Any]]] = field(default_factory=list)
    refused: int = 0
    cut: int = 0


class Gate:
    """Lets clients run until so many requests are answered, so that every kill finds some under way."""

    def __init__(self, slack: int):
        self._changed = threading.Condition()
        self.answered, self.allowed, self.slack = 0, 0, slack
        self.failure: BaseException | None = None

    def enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.failure or self.answered < self.allowed + self.slack)
            if self.failure:
                raise RuntimeError("another client failed") from self.failure

    def done(self) -> None:
        with self._changed:
            self.answered += 1
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self.failure = self.failure or error
            self._changed.notify_all()

    def wait(self, answered: int) -> None:
        """Allow so many answers, and wait for them."""
        with self._changed:
            self.allowed = answered
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.failure or self.answered >= answered)
            if self.failure:
                raise self.failure


def plans(
    nvec: Sequence[int], clients: int, requests: int, shared: int, seed: int
) -> tuple[list[list[np.ndarray]], int]:
    """The batches of each client, and the budget of a session: all sessions have 3 designs more in their
    clients' batches.
    """
    rng = np.random.default_rng(seed)
    counts = [len(part) for part in np.array_split(np.arange(requests), clients)]
    sizes = [rng.integers(1, LARGEST + 1, count) for count in counts]
    groups = [list(range(start, min(start + shared, clients))) for start in range(0, clients, shared)]
    sums = [int(sum(sizes[client].sum() for client in group)) for group in groups]
    budget = max(sums)
    for group, total in zip(groups, sums, strict=True):
        sizes[group[-1]][-1] += budget + LAST - total
    return [[rng.integers(0, nvec, (size, len(nvec))) for size in each] for each in sizes], budget


def send_all(sender: Sender, port: int, gate: Gate) -> None:
    """Send a client's batches in order, each until it is answered."""
    try:
        with Client(port) as client:
            for number, rows in enumerate(sender.batches):
                gate.enter()
                answer, cut = client.insist(
                    "POST",
                    f"/sessions/{sender.session}/evaluate",
                    {"indices": rows.tolist()},
                    sender.token,
                    f"{sender.name}-{number}",
                )
                sender.cut += cut
                if answer.status == 409 and answer.json()["left"] == 0:
                    sender.refused += 1
                elif answer.status == 200:
                    sender.answers.append((rows, answer.json()))
                else:
                    raise AssertionError(f"{sender.name}, request {number}: {answer.text[:500]}")
                gate.done()
    except BaseException as error:
        gate.fail(error)


def disturb(service: Service, gate: Gate, requests: int, kills: int, seed: int) -> float:
    """Kill the service at random moments and start it again: seconds of a start, median."""
    chance, starts = random.Random(seed), []
    marks = sorted(chance.sample(range(1, requests), kills)) if kills < requests else []
    for number, mark in enumerate(marks, 1):
        gate.wait(mark)
        time.sleep(chance.uniform(0, 0.01))
        service.stop(signal.SIGKILL)
        while chance.random() < 0.1:  # at its start, too
            service.launch()
            time.sleep(chance.uniform(0, 2.0))
            service.stop(signal.SIGKILL)
        starts.append(service.start())
        if number % 10 == 0:
            print(f"    {number} kills, {gate.answered:,} answers, starts {starts[-1]:.2f} s", flush=True)
    gate.wait(requests)
    return statistics.median(starts) if starts else 0.0


def history(client: Client, session: str, token: str) -> dict[str, list[Any]]:
    answer = client.ask("GET", f"/sessions/{session}/history?format=json", token=token)
    assert answer.status == 200, answer
    return answer.json()["columns"]


@dataclass
class Campaign:
    """What became of all requests."""

    senders: list[Sender]
    budget: int
    names: list[str]
    histories: dict[str, dict[str, list[Any]]]
    start_s: float
    seconds: float


def campaign(
    folder: Path, clients: int, requests: int, kills: int, shared: int = 1, seed: int = 0
) -> Campaign:
    """All requests of all clients, with kills of the server among them, and the histories afterwards.

    Args:
        folder: folder of the service.
        shared: clients of a session.
    """
    nvec = space_of(NOISY[0]).nvec.tolist()
    batches, budget = plans(nvec, clients, requests, shared, seed)
    with Service(*NOISY, "--budget", str(budget), folder=folder) as service:
        with Client(service.port) as client:
            task = client.ask("GET", "/task").json()
            made = [
                client.ask("POST", "/sessions", {"agent": f"agent-{n}", "seed": seed + n}).json()
                for n in range(-(-clients // shared))
            ]
        senders = [
            Sender(f"client-{n}", made[n // shared]["session"], made[n // shared]["token"], batches[n])
            for n in range(clients)
        ]
        gate, begun = Gate(2 * clients if kills else requests), time.perf_counter()
        threads = [
            threading.Thread(target=send_all, args=(sender, service.port, gate), daemon=True)
            for sender in senders
        ]
        for thread in threads:
            thread.start()
        start_s = disturb(service, gate, requests, kills, seed)
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begun
        with Client(service.port) as client:
            histories = {each["session"]: history(client, each["session"], each["token"]) for each in made}
            check_summaries(client, made, budget)
            check_parquet(client, made[0], histories[made[0]["session"]])
        assert service.stop(signal.SIGTERM) in (0, -signal.SIGTERM), service.output
    names = [parameter["name"] for parameter in task["space"]["parameters"]]
    return Campaign(senders, budget, names, histories, start_s, seconds)


def space_of(env: str) -> Any:
    import gymnasium

    import archgym  # noqa: F401  registers

    return gymnasium.make(f"archgym:{env}").unwrapped.simulator.space


def check_summaries(client: Client, made: Sequence[dict[str, Any]], budget: int) -> None:
    for each in made:
        said = client.ask("GET", f"/sessions/{each['session']}", token=each["token"]).json()
        assert (said["samples"], said["left"], said["finished"]) == (budget, 0, True), said
        assert said["unique"] + said["duplicates"] == budget, said


def check_parquet(client: Client, made: dict[str, Any], columns: dict[str, list[Any]]) -> None:
    """The Parquet form of a history has the same rows."""
    import io

    import pyarrow.parquet

    path = f"/sessions/{made['session']}/history?format=parquet"
    table = pyarrow.parquet.read_table(io.BytesIO(client.ask("GET", path, token=made["token"]).body))
    assert {name: table[name].to_pylist() for name in columns} == columns


def check_answers(found: Campaign) -> int:
    """Every sample is as its client sent it, was answered as it stands in the history, and stands there once:
    number of samples.
    """
    space = space_of(NOISY[0])
    total = 0
    for session, columns in found.histories.items():
        blocks = []
        for sender in found.senders:
            if sender.session != session:
                continue
            starts = [answer["start"] for _, answer in sender.answers]
            assert starts == sorted(starts), f"{sender.name}: answers out of order"
            blocks += [(answer["start"], rows, answer) for rows, answer in sender.answers]
        place = 0
        for start, rows, answer in sorted(blocks, key=lambda block: block[0]):
            assert start == place, f"{session}: samples {place} to {start} are lost or doubled"
            kept = min(len(rows), found.budget - start)
            place = start + kept
            assert answer["samples"] == place and answer["left"] == found.budget - place, answer
            canonical = space.canonical(rows[:kept])
            assert answer["indices"] == canonical.tolist()
            for name, column in {**answer["metrics"], **rest(answer), **designs(space, canonical)}.items():
                assert columns[name][start:place] == column, f"{session}: {name} of {start} to {place}"
        assert place == found.budget and columns["sample"] == list(range(place))
        total += place
    return total


def rest(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: answer[name] for name in ("feasible", "valid", "reward")}


def designs(space: Any, rows: np.ndarray) -> dict[str, list[Any]]:
    return {name: column.tolist() for name, column in space.decode(rows).items()}


def check_store(folder: Path, found: Campaign) -> int:
    """The store has every session once, with the rows of its history: number of runs."""
    from archgym.study.store import Store

    store = Store(folder)
    runs = store.read()
    by_agent = {run.specification["agent"]["name"]: run for run in runs.values()}
    assert len(runs) == len(by_agent) == len(found.histories), sorted(by_agent)
    files = [path for path in (folder / "runs").rglob("*") if path.is_file()]
    assert len(files) == len(runs), files
    for number, columns in enumerate(found.histories.values()):
        [(stored, table)] = store.table([by_agent[f"agent-{number}"]])
        assert stored.done and stored.result["samples"] == found.budget
        for name, column in columns.items():
            kept = table["sample"].to_pylist()
            assert table[name].to_pylist() == [column[sample] for sample in kept], name
    return len(runs)


def recorded(found: Campaign, session: str) -> list[np.ndarray]:
    """The batches of a session in the order in which they were recorded."""
    blocks = [
        (answer["start"], rows)
        for sender in found.senders
        if sender.session == session
        for rows, answer in sender.answers
    ]
    return [rows for _, rows in sorted(blocks, key=lambda block: block[0])]


def check_replay(found: Campaign, seed: int) -> None:
    """The library itself, given the same batches, has the same rewards."""
    import gymnasium

    from archgym.errors import BudgetExhausted

    for number, (session, columns) in enumerate(found.histories.items()):
        evaluator = gymnasium.make(f"archgym:{NOISY[0]}", seed="random").unwrapped.evaluator
        evaluator.seed(seed + number)
        evaluator.ledger.budget = found.budget
        with contextlib.suppress(BudgetExhausted):
            for rows in recorded(found, session):
                evaluator.evaluate(rows, len(rows))
        history = evaluator.ledger.history()
        for name in columns.keys() & history.keys():
            assert history[name].tolist() == columns[name], f"agent-{number}: {name} differs"


def undisturbed(folder: Path, found: Campaign, seed: int) -> None:
    """The same batches, in the order in which they were recorded, to a service that nobody kills."""
    budget = ("--budget", str(found.budget))
    with Service(*NOISY, *budget, folder=folder) as service, Client(service.port) as client:
        for number, (session, columns) in enumerate(found.histories.items()):
            made = client.ask("POST", "/sessions", {"agent": f"agent-{number}", "seed": seed + number})
            token, path = made.json()["token"], f"/sessions/{made.json()['session']}"
            for rows in recorded(found, session):
                answer = client.ask("POST", f"{path}/evaluate", {"indices": rows.tolist()}, token)
                assert answer.status == 200, answer
            assert history(client, path.rsplit("/", 1)[1], token) == columns, f"agent-{number} differs"


def kills(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "store"
        found = campaign(
            folder, options.clients, options.requests, options.kills, options.shared, options.seed
        )
        samples, runs = check_answers(found), check_store(folder, found)
        check_replay(found, options.seed)
        undisturbed(Path(scratch) / "undisturbed", found, options.seed)
    answered = sum(len(sender.answers) for sender in found.senders)
    print(
        f"{options.clients} clients, {len(found.histories)} sessions, {answered:,} requests answered and"
        f" {sum(sender.refused for sender in found.senders)} refused for a spent budget,"
        f" {options.kills} kills in the midst of requests,"
        f" {sum(sender.cut for sender in found.senders):,} requests sent without an answer and sent again;"
        f" {samples:,} samples, none lost or doubled, histories equal those of an undisturbed service,"
        f" {runs} runs in the store; a start took {found.start_s:.2f} s, all {found.seconds:.0f} s"
    )


# --- many sessions ---


def sessions(options: argparse.Namespace) -> None:
    """Memory of the service with many sessions of large budgets, and the time of a restart."""
    with tempfile.TemporaryDirectory() as scratch:
        limits = ("--budget", "1000000", "--sessions", str(options.count + 1))
        with Service(ENV, *limits, folder=Path(scratch) / "store") as service, Client(service.port) as client:
            nvec = np.array(client.ask("GET", "/task").json()["space"]["nvec"])
            rng, begun = np.random.default_rng(0), time.perf_counter()
            print(f"no session: {memory(service):.0f} MiB", flush=True)
            for number in range(options.count):
                made = client.ask("POST", "/sessions", {"agent": "many"}).json()
                body = {"indices": rng.integers(0, nvec, (1, len(nvec))).tolist()}
                answer = client.ask("POST", f"/sessions/{made['session']}/evaluate", body, made["token"])
                assert answer.status == 200, answer
                if number + 1 in (10, 100, 1000, options.count):
                    passed = time.perf_counter() - begun
                    print(f"{number + 1:,} sessions: {memory(service):.0f} MiB, {passed:.1f} s", flush=True)
            service.stop(signal.SIGKILL)
            print(f"restart: {service.start():.2f} s, {memory(service):.0f} MiB")


def memory(service: Service) -> float:
    assert service.process is not None
    return psutil.Process(service.process.pid).memory_info().rss / 2**20


def fuzz(options: argparse.Namespace) -> None:
    import serve_fuzz

    serve_fuzz.main(options.requests, options.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["rates", "kills", "fuzz", "sessions", "echo"])
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--shared", type=int, default=1, help="clients of a session")
    parser.add_argument("--count", type=int, default=5_000, help="sessions")
    parser.add_argument("--folder", type=Path, help="folder of the service that is killed")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.what == "echo":
        echo(Path(options.rest[0]), int(options.rest[1]))
        return
    programs: dict[str, Callable[[argparse.Namespace], None]] = {
        "kills": kills,
        "fuzz": fuzz,
        "sessions": sessions,
        "rates": lambda _: rates(),
    }
    programs[options.what](options)


if __name__ == "__main__":
    main()
