"""A service out of files, disk or time, and one that is told to end while clients are at work."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import time
import tracemalloc

import pytest

pytest.importorskip("fastapi")

from archgym.serve import guards, server
from archgym.serve import sessions as sessions_module
from archgym.serve.refusals import Refused
from archgym.serve.sessions import Sessions
from archgym.serve.task import ServedTask

ENV = "archgym/NasCell-v0"
ROWS = {"indices": [[0, 1, 2, 3, 4, 0]] * 20}
posix = pytest.mark.skipif(sys.platform != "linux", reason="needs POSIX signals and Linux's prlimit")


@pytest.fixture
def served(benchmark, tmp_path):
    """A service as a process, and a session of it: (client, process, path, token)."""
    serving = benchmark("serving")
    with (
        serving.Service(ENV, "--budget", "1000000", folder=tmp_path) as service,
        serving.Client(service.port) as client,
    ):
        made = client.ask("POST", "/sessions", {}).json()
        yield client, service, f"/sessions/{made['session']}", made["token"]


def limited(service, kind, number):
    import resource

    _, most = resource.prlimit(service.process.pid, kind)
    resource.prlimit(service.process.pid, kind, (number if number > 0 else most, most))


@posix
def test_a_server_without_disk_or_files_counts_nothing_and_goes_on_with_them(served):
    import resource

    client, service, path, token = served
    limited(service, resource.RLIMIT_FSIZE, 150_000)
    for number in range(100):
        answer = client.ask("POST", f"{path}/evaluate", ROWS, token, f"key-{number}")
        if answer.status != 200:
            break
    said = answer.json()["error"]
    assert answer.status == 507 and "disk is full" in said and "\n" not in said
    assert client.ask("GET", path, token=token).json()["samples"] == 20 * number
    assert client.ask("POST", f"{path}/evaluate", ROWS, token, f"key-{number}").status == 507
    limited(service, resource.RLIMIT_FSIZE, 0)
    answer = client.ask("POST", f"{path}/evaluate", ROWS, token, f"key-{number}")
    assert (answer.status, answer.json()["samples"]) == (200, 20 * number + 20)

    limited(service, resource.RLIMIT_NOFILE, 48)
    held = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(80)]
    answer = client.ask("POST", f"{path}/evaluate", ROWS, token, "without files")
    assert (answer.status, answer.json()["start"]) == (200, 20 * number + 20)
    for each in held:
        each.close()
    client.close()
    assert client.insist("GET", "/healthz", limit=30)[0].status == 200
    assert service.stop() == -signal.SIGTERM and "Traceback" not in service.output


@posix
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_lost_where_it_is_told_to_end_under_load(served, benchmark, tmp_path, how):
    client, service, path, token = served
    answered, busy = [0], threading.Event()

    def work():
        try:
            while True:
                answered[0] = client.ask("POST", f"{path}/evaluate", ROWS, token).json()["samples"]
                busy.set()
        except OSError:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    assert busy.wait(30)
    code = service.stop(how, limit=30)
    thread.join()
    assert code == (130 if how == signal.SIGINT else -signal.SIGTERM)
    assert "Traceback" not in service.output and len(service.output.strip().splitlines()) <= 2
    kept = Sessions(ServedTask(ENV, budget=1_000_000), tmp_path)
    samples = kept.get(path.rsplit("/", 1)[1], token).summary()["samples"]
    kept.close()
    assert samples in (answered[0], answered[0] + 20)  # the last one's answer may have met a closed door


def test_connections_whose_request_does_not_arrive_are_closed(live, monkeypatch):
    monkeypatch.setattr(server, "ARRIVAL_S", 0.3)
    port = live(ServedTask(ENV, budget=10))
    head = b"POST /sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n{"
    for start in (b"", b"POST /sessions HT", head):
        with socket.create_connection(("127.0.0.1", port), 30) as slow:
            slow.sendall(start)
            assert slow.recv(100) == b""
    with socket.create_connection(("127.0.0.1", port), 30) as idle:  # between requests there is more time
        for _ in range(2):
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert idle.recv(1000).startswith(b"HTTP/1.1 200")
            time.sleep(0.5)


def test_large_budgets_take_no_memory_before_they_are_spent(tmp_path):
    sessions = Sessions(ServedTask(ENV, budget=10**9), tmp_path)
    sessions.create().evaluate(ROWS["indices"])
    tracemalloc.start()
    for _ in range(100):
        sessions.create().evaluate(ROWS["indices"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sessions.close()
    assert peak < 100 * 50_000


def test_sessions_with_many_samples_leave_memory_for_others(tmp_path, monkeypatch):
    monkeypatch.setattr(sessions_module, "LOADED_SAMPLES", 100)
    sessions = Sessions(ServedTask(ENV, budget=1000), tmp_path)
    opened = [sessions.create() for _ in range(3)]
    for round_ in (1, 2, 3):
        for each in opened:
            each.evaluate(ROWS["indices"] * 3)
            assert sum(other._evaluator is not None for other in opened) < 3  # counted at its start
            assert each.summary()["samples"] == 60 * round_
    sessions.close()


def test_large_requests_at_once_are_refused_beyond_a_sum_and_room_comes_back(monkeypatch):
    monkeypatch.setattr(guards, "MAX_HELD", 300)

    async def app(scope, receive, send):
        while (await receive())["more_body"]:
            pass

    async def scenario():
        guard, rest = guards.Guard(app), asyncio.Event()

        async def request(*sizes):
            left = list(sizes)

            async def receive():
                if len(left) == 1 and len(sizes) > 1:
                    await rest.wait()
                size = left.pop(0)
                return {"type": "http.request", "body": bytes(size), "more_body": bool(left)}

            scope = {"type": "http", "path": "/sessions", "headers": [(b"host", b"localhost")]}
            await guard(scope, receive, None)

        slow = asyncio.create_task(request(200, 1))
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="later") as refused:
            await request(200)
        assert refused.value.status == 429
        await request(50)
        rest.set()
        await slow
        await request(200)

    asyncio.run(scenario())
