"""Hostile clients: nothing fails, nothing is told, nothing is counted twice."""

from __future__ import annotations

import json
import socket
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")

from archgym.serve.task import ServedTask

ENV = "archgym/NasCell-v0"  # which has report-only metrics
WIDTH = 6
TOKEN = "a-token-of-the-server"


@pytest.fixture
def service(benchmark, live, tmp_path):
    """A service with two sessions: (module of hostile requests, port, sessions, scanner)."""
    fuzz, serving = benchmark("serve_fuzz"), benchmark("serving")
    port = live(ServedTask(ENV, budget=10_000), token=TOKEN)
    with serving.Client(port) as client:
        sessions = [client.ask("POST", "/sessions", {"agent": f"agent-{n}"}, TOKEN).json() for n in (0, 1)]
    secrets = [TOKEN, *(each["token"] for each in sessions)]
    scanner = fuzz.Scanner(fuzz.folders(tmp_path), secrets, fuzz.HIDDEN, fuzz.optimum_of(ENV)[1])
    yield fuzz, port, sessions, scanner
    with serving.Client(port) as client:
        for each in sessions:
            said = client.ask("GET", f"/sessions/{each['session']}", token=each["token"]).json()
            rows = client.ask("GET", f"/sessions/{each['session']}/history", token=each["token"]).json()
            assert len(rows["columns"]["sample"]) == said["samples"]


def test_requests_that_no_library_sends_are_refused_without_a_trace(service):
    fuzz, port, (mine, other), scanner = service
    for request in fuzz.hostile(mine["session"], mine["token"], other["session"], WIDTH):
        fuzz.send_wire(port, request, scanner)
    assert scanner.statuses[404] > 10 and scanner.statuses[422] > 30


words = st.sampled_from(["designs", "indices", "node1", "agent", "seed", "hyperparameters", "context", "$"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 4)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([2**63, 2**64, 2**53, -1]),
    lambda inner: (
        st.lists(inner, max_size=WIDTH)
        | st.lists(inner, min_size=WIDTH, max_size=WIDTH)
        | st.dictionaries(words | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=15,
)
documents = st.one_of(
    values,
    st.fixed_dictionaries({"indices": values}),
    st.fixed_dictionaries({"designs": st.lists(values, max_size=3)}),
    st.fixed_dictionaries({}, optional={"agent": values, "seed": values, "hyperparameters": values}),
)
queries = st.dictionaries(
    st.sampled_from(["format", "start", "count", "x"]), st.text("0123456789-+.jsonparquet% ", max_size=6)
)


def test_any_json_gets_an_answer_that_says_nothing_of_the_server(service, benchmark):
    _, port, sessions, scanner = service
    client = benchmark("serving").Client(port)

    @settings(max_examples=300, suppress_health_check=list(HealthCheck), database=None)
    @given(
        document=documents,
        query=queries,
        place=st.integers(0, 5),
        who=st.integers(0, 4),
        key=st.text(max_size=9),
    )
    def one(document, query, place, who, key):
        mine = f"/sessions/{sessions[0]['session']}"
        tail = "&".join(f"{name}={value}" for name, value in query.items()).replace(" ", "+")
        route = [
            "/sessions",
            f"{mine}/evaluate",
            f"{mine}/evaluate",
            f"{mine}/history?{tail}",
            mine,
            "/task",
        ][place]
        token = TOKEN if place in (0, 5) and who else sessions[who == 1]["token"]
        headers = {"Idempotency-Key": key} if key.isprintable() and key.isascii() and who == 2 else {}
        data = json.dumps(document).encode()
        method = "POST" if place < 3 else "GET"
        answer = client.ask(method, route, data if place < 3 else None, token, headers=headers)
        scanner.check(answer, (route, data), answer.json()["token"] if answer.status == 201 else None)
        if who == 1 and 0 < place < 5:
            assert answer.status == 404  # the other session's token

    one()
    client.close()
    assert scanner.statuses[422] > 20


def at_once(count, function):
    """What a function returned to many threads that started together."""
    barrier, found = threading.Barrier(count), []

    def run(number):
        barrier.wait()
        found.append(function(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_one_key_sent_at_once_counts_once_and_one_seed_opens_once(service, benchmark):
    _, port, (mine, _), _ = service
    serving = benchmark("serving")
    rows = {"indices": [[0, 1, 2, 3, 4, 0]] * 3}

    def same(number):
        with serving.Client(port) as client:
            return client.ask(
                "POST", f"/sessions/{mine['session']}/evaluate", rows, mine["token"], "the key"
            ).body

    assert len(set(at_once(8, same))) == 1
    with serving.Client(port) as client:
        said = client.ask("GET", f"/sessions/{mine['session']}", token=mine["token"]).json()
    assert said["samples"] == 3

    def opened(number):
        with serving.Client(port) as client:
            return client.ask("POST", "/sessions", {"agent": "twin", "seed": 7}, TOKEN).status

    assert sorted(at_once(8, opened)) == [201] + [409] * 7


def test_connections_that_never_finish_a_request_keep_nobody_out(service, benchmark):
    _, port, (mine, _), _ = service
    held = []
    for number in range(60):
        held.append(socket.create_connection(("127.0.0.1", port)))
        parts = [
            b"",
            b"POST /sess",
            b"POST /sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{",
        ]
        held[-1].sendall(parts[number % 3])
    with benchmark("serving").Client(port) as client:
        said = client.ask("GET", f"/sessions/{mine['session']}", token=mine["token"])
    assert said.status == 200
    for each in held:
        each.close()
