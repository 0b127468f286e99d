"""The service over HTTP: budgets, durability, refusals."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from archgym.serve.app import make_app
from archgym.serve.task import ServedTask


@pytest.fixture
def client(tmp_path):
    task = ServedTask("archgym/NasCell-v0", budget=10)
    with TestClient(make_app(task, tmp_path), base_url="http://127.0.0.1") as client:
        yield client


def opened(client, **fields):
    answer = client.post("/sessions", json=fields).json()
    return f"/sessions/{answer['session']}", {"Authorization": f"Bearer {answer['token']}"}


def test_a_batch_that_crosses_the_budget_is_cut_and_the_next_one_refused(client):
    place, token = opened(client)
    rows = [[i % 5, 0, 1, 2, 3, 4] for i in range(12)]
    answer = client.post(f"{place}/evaluate", json={"indices": rows}, headers=token).json()
    assert (answer["start"], answer["samples"], answer["left"], len(answer["reward"])) == (0, 10, 0, 10)
    again = client.post(f"{place}/evaluate", json={"indices": rows}, headers=token)
    assert (again.status_code, again.json()["left"]) == (409, 0)
    assert client.get(place, headers=token).json()["samples"] == 10
