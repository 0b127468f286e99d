"""The service over HTTP: exact budgets, what clients may see, and requests that are refused."""

from __future__ import annotations

import io
import json
import threading
import time

import gymnasium
import numpy as np
import pytest

pytest.importorskip("fastapi")

import pyarrow.parquet
from conftest import Bowl, Layers
from starlette.testclient import TestClient

from archgym import Categorical, DesignSpace, Integer, Metric, Minimize, Objective, Real, Simulator
from archgym.contexts.sets import Contexts
from archgym.errors import ArchGymError
from archgym.optimum import find_optimum
from archgym.serve.app import make_app
from archgym.serve.guards import is_loopback
from archgym.serve.task import ServedTask


class Client(TestClient):
    """A client of a service, with a session of its own."""

    def __init__(self, task, folder, **options):
        super().__init__(make_app(task, folder, **options), base_url="http://127.0.0.1")
        self.served = task

    def __enter__(self):
        super().__enter__()
        self.place, self.own = self.opened()
        return self

    def opened(self, **fields):
        if self.served.contexts is not None:
            fields = {"context": self.served.contexts.names[0], **fields}
        answer = self.post("/sessions", json=fields, headers=getattr(self, "server", {}))
        assert answer.status_code == 201, answer.text
        found = answer.json()
        return f"/sessions/{found['session']}", {"Authorization": f"Bearer {found['token']}"}

    def evaluate(self, headers=None, **body):
        return self.post(f"{self.place}/evaluate", json=body, headers={**self.own, **(headers or {})})

    def summary(self):
        return self.get(self.place, headers=self.own).json()

    def columns(self, **query):
        return self.get(f"{self.place}/history", params=query, headers=self.own).json()["columns"]


@pytest.fixture
def served(tmp_path):
    """Clients of services of these environments."""
    made = []

    def serve(env, folder="folder", **arguments):
        options = {
            name: arguments.pop(name) for name in ("token", "host", "sessions", "rate") if name in arguments
        }
        client = Client(ServedTask(env, **arguments), tmp_path / folder, **options)
        if "token" in options:
            client.server = {"Authorization": f"Bearer {options['token']}"}
        made.append(client.__enter__())
        return client

    yield serve
    for client in made:
        client.__exit__(None, None, None)


def some(space, n, seed=0):
    return space.sample(n, np.random.default_rng(seed)).tolist()


# --- samples ---


def test_a_batch_that_crosses_the_budget_is_cut_and_the_next_one_refused(served, bowl):
    client = served(bowl[0], budget=10)
    rows = some(bowl[1].space, 12)
    answer = client.evaluate(indices=rows).json()
    assert (answer["start"], answer["samples"], answer["left"], len(answer["reward"])) == (0, 10, 0, 10)
    again = client.evaluate(indices=rows)
    assert (again.status_code, again.json()["left"]) == (409, 0)
    assert client.summary()["samples"] == bowl[1].rows == 10 and client.summary()["finished"]


def test_answers_and_history_are_those_of_the_environment_bit_for_bit(served):
    client = served("archgym/Softmax-v0")
    rows = some(client.served.space, 30)
    answers = [client.evaluate(indices=rows[i : i + 3]).json() for i in range(0, 30, 3)]
    env = gymnasium.make_vec("archgym/Softmax-v0", num_envs=30)
    env.reset(seed=0)
    env.step(np.array(rows))
    own = env.unwrapped.ledger.history()
    columns = client.columns()
    for name, column in columns.items():
        assert column == [None if value != value else value for value in own[name].tolist()], name
    assert [reward for answer in answers for reward in answer["reward"]] == own["reward"].tolist()
    assert columns.keys() == own.keys() - {"cached", "seconds", "cost"}


def test_designs_by_value_and_by_indices_are_the_same(served, bowl):
    client = served(bowl[0])
    rows = some(bowl[1].space, 20)
    designs = [bowl[1].space.design(np.array(row)) for row in rows]
    by_value, by_index = client.evaluate(designs=designs).json(), client.evaluate(indices=rows).json()
    assert by_value["indices"] == by_index["indices"] == rows
    assert by_value["reward"] == by_index["reward"]


def test_inactive_parameters_are_left_out_and_active_ones_may_not_be(served, register):
    client = served(register(Layers())[0])
    answer = client.evaluate(designs=[{"depth": 1, "kind": "dense", "width1": 3}]).json()
    assert answer["indices"] == [[0, 1, 1, 2, 3, 0]]
    with_more = client.evaluate(
        designs=[{"depth": 1, "kind": "dense", "width1": 3, "width3": 5, "dilation": None}]
    )
    assert with_more.json()["indices"] == answer["indices"]
    refused = client.evaluate(designs=[{"depth": 2, "kind": "dense", "width1": 3}])
    assert refused.status_code == 422 and "'width2'" in refused.json()["error"]
    summary = client.summary()
    assert (summary["samples"], summary["unique"]) == (2, 1)
    assert summary["best"]["design"] == {"depth": 1, "kind": "dense", "width1": 3}
    assert client.columns()["width3"] == [None, None]


class Kinds(Simulator):
    """Values of every kind that parameters have."""

    space = DesignSpace(
        [
            Integer("whole", -4, 8, step=3),
            Real("real", 0.001, 1.0, log=True, levels=5),
            Categorical("mixed", [True, 2, 2.5, "2", None]),
            Categorical("pair", [(1, 2), (3, "x")]),
            Integer("wide", 0, 10**15),
        ]
    )
    metrics = (Metric("cost", "1", "lower"),)
    default_objective = Objective(Minimize("cost"), form="linear")

    def evaluate(self, designs, rng=None):
        cost = designs["whole"] + designs["real"]
        return {"cost": cost, "feasible": np.ones(len(cost), bool)}


def test_values_of_every_kind_go_out_and_come_back(served, register):
    client = served(register(Kinds())[0])
    described = {p["name"]: p for p in client.get("/task").json()["space"]["parameters"]}
    assert described["pair"]["values"] == [{"$": "tuple", "of": [1, 2]}, {"$": "tuple", "of": [3, "x"]}]
    rows = [
        [a, b, c, d, 10**15]
        for a, b, c, d in ((0, 0, 0, 0), (4, 4, 1, 1), (2, 1, 2, 0), (1, 2, 3, 1), (3, 3, 4, 0))
    ]
    client.evaluate(indices=rows)
    columns = client.columns()
    designs = [{name: columns[name][i] for name in described} for i in range(len(rows))]
    assert columns["mixed"] == [True, 2, 2.5, "2", None]
    assert client.evaluate(designs=designs).json()["indices"] == rows
    for wrong in (
        {"mixed": 1},
        {"mixed": False},
        {"whole": True},
        {"whole": 0},
        {"real": "1"},
        {"pair": [1, 2]},
        {"pair": {"$": "name", "of": "os:system"}},
        {"wide": 10**15 + 1},
        {"wide": 1e300},
    ):
        answer = client.evaluate(designs=[{**designs[0], **wrong}])
        assert answer.status_code == 422, wrong
    assert client.evaluate(designs=[{**designs[0], "whole": -4.0}]).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"indices": []}', b'{"indices": [[]]}', b'{"indices": 3}', b'{"indices": {}}',
        b'{"indices": [[0, 0, 0]]}', b'{"indices": [[0, 0, 0, 2]]}', b'{"indices": [[0, 0, 0, -1]]}', b'{"indices": [[0, 0, 0, 0.5]]}',
        b'{"indices": [[0, 0, 0, true]]}', b'{"indices": [[0, 0, 0, "0"]]}', b'{"indices": [[0, 0, 0, null]]}', b'{"indices": [[0, 0, 0, 1e400]]}',
        b'{"indices": [[0, 0, 0, 0], [0]]}', b'{"indices": [0, 0, 0, 0]}', b'{"indices": [[0, 0, 0, 18446744073709551616]]}',
        b'{"indices": ["0000"]}', b'{"indices": [[[0], 0, 0, 0]]}', b'{"indices": [[0, 0, 0, 0]], "designs": []}', b'{"indices": [[0, 0, 0, 0]], "seed": 1}',
        b'{"designs": [[0, 0, 0, 0]]}', b'{"designs": {"x": 1}}', b'{"designs": []}', b'{"designs": [{}]}', b'{"designs": "x"}', b'{"designs": [null]}',
        b'{"designs": [{"x": 1, "size": 1, "isa": "avx2"}]}', b'{"designs": [{"x": 1, "size": 1, "isa": "avx2", "flag": 0}]}',
        b'{"designs": [{"x": 1, "size": 1, "isa": "avx2", "flag": false, "y": 1}]}', b'{"designs": [{"x": NaN, "size": 1, "isa": "avx2", "flag": false}]}',
        b'{"designs": [{"x": {"$": "name", "of": "os:system"}, "size": 1, "isa": "avx2", "flag": false}]}', b"[" * 100_000, b"\xff\xfe", b'{"indices": [[0, 0, 0, 0]]}garbage',
    ],
)  # fmt: skip
def test_illegal_requests_are_refused_and_count_nothing(served, bowl, body):
    client = served(bowl[0], budget=10)
    answer = client.post(f"{client.place}/evaluate", content=body, headers=client.own)
    assert answer.status_code in (400, 422) and list(answer.json()) == ["error"]
    assert len(answer.text) < 1000
    assert client.summary()["samples"] == bowl[1].rows == 0


def test_a_repeated_key_gets_the_recorded_answer_and_counts_nothing(served, bowl):
    client = served(bowl[0], budget=10)
    rows, key = some(bowl[1].space, 4), {"Idempotency-Key": "first one"}
    first = client.evaluate(key, indices=rows)
    client.evaluate(indices=rows)
    assert client.evaluate(key, indices=rows).content == first.content
    other = client.evaluate(key, indices=rows[:3])
    assert other.status_code == 422 and "Idempotency-Key" in other.json()["error"]
    cut = client.evaluate({"Idempotency-Key": "cut"}, indices=rows)
    assert cut.json()["left"] == 0 and len(cut.json()["reward"]) == 2
    assert client.evaluate({"Idempotency-Key": "cut"}, indices=rows).content == cut.content
    assert client.summary()["samples"] == bowl[1].rows == 10
    for bad in ("x" * 129, "é".encode("latin-1")):
        assert client.evaluate({"Idempotency-Key": bad}, indices=rows).status_code == 422


class Failing(Bowl):
    """Fails with what a simulator's error may say."""

    def evaluate(self, designs, rng=None):
        if (np.asarray(designs["x"]) == 2).any():
            raise FileNotFoundError(f"{__file__} is gone, /usr/lib/y.so: C:\\x\\y too")
        return super().evaluate(designs, rng)


def test_failures_are_rows_with_reasons_without_paths(served, register):
    client = served(register(Failing())[0])
    answer = client.evaluate(indices=[[0, 0, 0, 0], [1, 0, 0, 0], [5, 3, 0, 0]]).json()
    assert answer["feasible"] == [True, False, False]
    assert answer["metrics"]["cost_j"][1:] == [None, None]
    assert list(answer["failures"]) == ["1"]
    assert "<path>" in answer["failures"]["1"] and not set("/\\") & set(answer["failures"]["1"])
    assert client.columns()["cost_j"][1:] == [None, None]


# --- what clients may see ---


def test_report_only_metrics_and_the_optimum_never_leave(served, bowl):
    client = served(bowl[0])
    best = find_optimum(bowl[1], bowl[1].default_objective)
    found = [client.get(path).text for path in ("/task", "/openapi.json", "/docs", "/healthz")]
    found += [
        client.evaluate(indices=[[0, 0, 0, 0]]).text,
        json.dumps(client.summary()),
        json.dumps(client.columns()),
    ]
    parquet = client.get(f"{client.place}/history?format=parquet", headers=client.own)
    found.append(str(pyarrow.parquet.read_table(io.BytesIO(parquet.content)).schema))
    assert client.columns().keys() >= {"cost_j", "area_mm2"}
    for text in found:
        assert "secret" not in text and "optimum" not in text.replace(bowl[0], "").lower()
        assert str(best.best_reward) not in text


def test_an_objective_that_would_give_a_report_only_metric_away_is_refused(bowl):
    with pytest.raises(ArchGymError, match="'secret', which is for reports only"):
        ServedTask(bowl[0], arguments={"objective": {"maximize": ["secret"]}})


def test_the_task_is_enough_to_build_its_space_and_objective(served):
    client = served("archgym/PlainCnn-v0", budget=7, seed=3)
    task = client.get("/task").json()
    kinds = {"categorical": "Categorical", "ordinal": "Ordinal", "integer": "Integer", "real": "Real"}
    parameters = [
        {
            ("kind" if name == "type" else name): (kinds[value] if name == "type" else value)
            for name, value in p.items()
            if name != "count" and value is not None
        }
        for p in task["space"]["parameters"]
    ]
    space = DesignSpace.from_json(json.dumps(parameters))
    assert space == client.served.space and space.nvec.tolist() == task["space"]["nvec"]
    objective = Objective.from_dict(task["objective"])
    own = client.served.members[None].objective
    assert (objective.terms, objective.constraints) == (own.terms, own.constraints)
    assert (task["budget"], task["seed"], task["deterministic"], task["stochastic"]) == (7, 3, True, False)
    assert {m["name"] for m in task["metrics"]} == set(own.reference) - {"test_accuracy"}
    assert "test_accuracy" not in task["objective"]["reference"]


def test_history_as_parquet_equals_that_as_json_and_comes_in_parts(served, register):
    client = served(register(Layers())[0])
    client.evaluate(indices=some(client.served.space, 25))
    content = client.get(f"{client.place}/history?format=parquet&start=5&count=10", headers=client.own)
    table = pyarrow.parquet.read_table(io.BytesIO(content.content))
    assert table.to_pydict() == client.columns(start=5, count=10)
    assert table["sample"].to_pylist() == list(range(5, 15))
    assert client.columns(start=20)["sample"] == list(range(20, 25))
    assert client.columns(start=99) == {name: [] for name in client.columns()}


def test_the_page_of_routes_needs_no_other_host(served, bowl):
    client = served(bowl[0])
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text and "src=" not in page.text and "//" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "/sessions/{id}/evaluate" in page.text


def test_answers_keep_to_the_described_models(served, register):
    import jsonschema

    client = served(register(Layers())[0])
    described = client.get("/openapi.json").json()
    answers = {
        ("get", "/task"): client.get("/task"),
        ("post", "/sessions/{id}/evaluate"): client.evaluate(indices=[[0, 0, 0, 0, 0, 0]]),
        ("get", "/sessions/{id}"): client.get(client.place, headers=client.own),
        ("get", "/sessions/{id}/history"): client.get(f"{client.place}/history", headers=client.own),
        ("get", "/healthz"): client.get("/healthz"),
    }
    for (method, path), answer in answers.items():
        schema = described["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(answer.json(), {**schema, "components": described["components"]})
    for operation in (o for methods in described["paths"].values() for o in methods.values()):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        for example in (body or {}).get("examples", {}).values():
            jsonschema.validate(example["value"], body["schema"])


# --- sessions ---


def test_another_session_is_of_no_use_without_its_token(served, bowl):
    client = served(bowl[0])
    other, its = client.opened()
    for path in ("", "/history", "/evaluate"):
        ask = client.post if path == "/evaluate" else client.get
        wrong, unknown = (
            ask(other + path, headers=client.own),
            ask("/sessions/none" + path, headers=client.own),
        )
        assert wrong.status_code == unknown.status_code == 404
        assert wrong.content == unknown.content  # an id tells nothing
        assert ask(other + path).status_code == 401
        assert ask(other + path, headers={"Authorization": "Basic eDp5"}).status_code == 401
    assert client.get(other, headers=its).json()["samples"] == 0


def test_one_session_for_each_agent_hyperparameters_and_seed(served, bowl):
    client = served(bowl[0], seed=5)
    seeds = [client.post("/sessions", json={"agent": "a"}).json()["seed"] for _ in range(3)]
    assert seeds == [5, 6, 7]
    assert client.post("/sessions", json={"agent": "a", "seed": 8}).status_code == 201
    twice = client.post("/sessions", json={"agent": "a", "seed": 6})
    assert twice.status_code == 409 and "seed 6" in twice.json()["error"]
    assert client.post("/sessions", json={"agent": "a"}).json()["seed"] == 9
    other = client.post("/sessions", json={"agent": "a", "seed": 6, "hyperparameters": {"rate": 0.5}})
    assert other.status_code == 201
    same = {"agent": "a", "seed": 6, "hyperparameters": {"rate": 0.5}}
    assert client.post("/sessions", json=same).status_code == 409


@pytest.mark.parametrize(
    "fields",
    [
        {"agent": ""}, {"agent": 3}, {"agent": "a\nb"}, {"agent": "\u202ea"}, {"agent": "x" * 201}, {"seed": -1}, {"seed": 2**53}, {"seed": "1"}, {"seed": True},
        {"seed": 0.5}, {"hyperparameters": []}, {"hyperparameters": {"x": "y" * 70_000}}, {"context": "x"}, {"context": ["x"]}, {"name": "x"}, [], 3,
        {"hyperparameters": json.loads('{"a":' * 40 + "1" + "}" * 40)},
    ],
)  # fmt: skip
def test_sessions_that_cannot_be_are_refused(served, bowl, fields):
    answer = served(bowl[0]).post("/sessions", json=fields)
    assert answer.status_code == 422 and "expected" in answer.json()["error"]


def test_there_are_at_most_so_many_sessions(served, bowl):
    client = served(bowl[0], sessions=3)
    assert [client.post("/sessions").status_code for _ in range(3)] == [201, 201, 429]


def test_a_session_is_on_one_context_with_its_own_arguments_and_rewards(served, register):
    contexts = Contexts(
        ({"offset": 0.0}, {"offset": 5.0}),
        ("near", "far"),
        optima=({"x": 3, "size": 4, "isa": "avx512", "flag": False}, None),
    )
    env, _ = register(Bowl)
    client = served(env, arguments={"contexts": contexts}, budget=5)
    described = client.get("/task").json()["contexts"]
    assert [c["name"] for c in described] == ["near", "far"] and described[1]["arguments"] == {"offset": 5.0}
    assert "optima" not in client.get("/task").text
    row = [[2, 2, 2, 0]]  # the optimum
    near = client.evaluate(indices=row).json()
    client.place, client.own = client.opened(context="far")
    far = client.evaluate(indices=row).json()
    assert (near["metrics"]["cost_j"], far["metrics"]["cost_j"]) == ([1.0], [6.0])
    assert near["reward"] == [np.log(4.0)]  # not 0, as a reward relative to the optimum would be
    assert client.summary()["context"] == "far"
    for missing in ({}, {"context": None}, {"context": "middle"}):
        assert client.post("/sessions", json=missing).status_code == 422


# --- guards ---


def test_a_server_token_is_needed_to_see_the_task_and_to_open_sessions(served, bowl):
    token = "a-token-of-some-length"
    client = served(bowl[0], token=token, host="0.0.0.0")
    for wrong in ({}, {"Authorization": "Bearer nonsense"}, client.own):
        assert client.get("/task", headers=wrong).status_code == 401
        assert client.post("/sessions", headers=wrong).status_code == 401
        assert client.get("/openapi.json", headers=wrong).status_code == 401
    assert client.get("/task", headers=client.server).status_code == 200
    assert client.get("/healthz").status_code == 200
    assert client.summary()["samples"] == 0
    assert client.get(client.place, headers=client.server).status_code == 404


def test_other_addresses_need_a_token_and_a_token_some_length(bowl, tmp_path):
    task = ServedTask(bowl[0])
    for host, token in (
        ("0.0.0.0", None),
        ("192.168.0.1", None),
        ("::", None),
        ("example.org", None),
        ("127.0.0.1", "short"),
    ):
        with (
            pytest.raises(ArchGymError, match="token"),
            TestClient(make_app(task, tmp_path, host=host, token=token)),
        ):
            pass
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.example.org", "")))


def test_pages_of_other_sites_cannot_drive_a_loopback_service(served, bowl):
    client = served(bowl[0])
    for headers in (
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ):
        for ask in (client.get, client.post):
            assert ask("/sessions" if ask == client.post else "/task", headers=headers).status_code == 403
    for host in ("127.0.0.1:8000", "localhost", "localhost:1", "[::1]:8000"):
        assert client.get("/task", headers={"Host": host}).status_code == 200
    own = {"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}
    assert client.get("/task", headers=own).status_code == 200
    assert "access-control-allow-origin" not in client.get("/task", headers=own).headers


def test_large_requests_are_refused_before_they_are_read(served, bowl):
    client = served(bowl[0], max_batch=5)
    many = client.evaluate(indices=[[0, 0, 0, 0]] * 6)
    assert many.status_code == 413 and "at most 5 designs" in many.json()["error"]
    assert client.evaluate(designs=[{}] * 6).status_code == 413
    announced = {**client.own, "Content-Length": str(2**40)}
    assert client.post(f"{client.place}/evaluate", content=b"{}", headers=announced).status_code == 413
    sent = 0

    def chunks():
        nonlocal sent
        for _ in range(40):
            sent += 2**20
            yield b" " * 2**20

    assert client.post(f"{client.place}/evaluate", content=chunks(), headers=client.own).status_code == 413
    assert client.summary()["samples"] == 0


def test_an_address_that_asks_too_often_has_to_wait(served, bowl, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("archgym.serve.guards.time.monotonic", lambda: now)
    client = served(bowl[0], rate=5)
    codes = [client.get("/healthz").status_code for _ in range(8)]
    assert codes == [200] * 4 + [429] * 4  # the session was the first of five
    now += 0.5
    assert [client.get("/healthz").status_code for _ in range(3)] == [200, 200, 429]
    assert client.get("/healthz").headers["retry-after"] == "1"


def test_unknown_routes_and_methods_are_refused_in_the_same_form(served, bowl):
    client = served(bowl[0])
    for answer, status in (
        (client.get("/x"), 404),
        (client.get("/task/"), 404),
        (client.delete("/task"), 405),
        (client.get("/sessions"), 405),
    ):
        assert answer.status_code == status and list(answer.json()) == ["error"]
    for query in ("format=csv", "start=-1", "count=x", "start=1e3", "count=" + "9" * 99, "page=1"):
        assert client.get(f"{client.place}/history?{query}", headers=client.own).status_code == 422


class Slow(Bowl):
    """Waits until it may go on."""

    def __init__(self):
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def evaluate(self, designs, rng=None):
        self.begun.set()
        assert self.go.wait(20)
        return super().evaluate(designs, rng)


def test_a_slow_simulator_delays_evaluations_alone(served, register):
    env, slow = register(Slow())
    client = served(env)
    other, its = client.opened()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(client.evaluate(indices=[[0, 0, 0, 0]])))
    thread.start()
    assert slow.begun.wait(20)
    assert client.get("/healthz").status_code == client.get("/task").status_code == 200
    assert client.get(other, headers=its).json()["samples"] == client.summary()["samples"] == 0
    assert client.opened()[0] != client.place
    assert not answers
    slow.go.set()
    thread.join(20)
    assert answers[0].json()["samples"] == client.summary()["samples"] == 1


def test_sessions_at_once_spend_exactly_their_budgets(served, bowl):
    client = served(bowl[0], budget=40)
    opened = [client.opened(agent=f"agent {i}") for i in range(4)]

    def spend(place, own, seed):
        rng = np.random.default_rng(seed)
        while True:
            rows = bowl[1].space.sample(int(rng.integers(1, 6)), rng).tolist()
            if client.post(f"{place}/evaluate", json={"indices": rows}, headers=own).status_code == 409:
                return

    threads = [threading.Thread(target=spend, args=(*each, i)) for i, each in enumerate(opened * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for place, own in opened:
        assert client.get(place, headers=own).json()["samples"] == 40
    assert bowl[1].rows == 160


def test_it_waits_for_nothing_when_it_ends(served, bowl, tmp_path):
    client = served(bowl[0])
    client.evaluate(indices=[[0, 0, 0, 0]])
    before = time.monotonic()
    client.__exit__(None, None, None)
    assert time.monotonic() - before < 60
    again = served(bowl[0])
    assert again.get(client.place, headers=client.own).json()["samples"] == 1
