"""Sessions and their journal: what survives the process, and what does not go into the ledger."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest

pytest.importorskip("fastapi")

import gymnasium
from conftest import Bowl, Noise

from archgym import search
from archgym.errors import ArchGymError, SimulatorUnavailable
from archgym.files.columns import read_columns
from archgym.serve import sessions as sessions_module
from archgym.serve.refusals import Refused, without_paths
from archgym.serve.sessions import FILE, Sessions
from archgym.serve.task import ServedTask
from archgym.study.store import Store


@pytest.fixture
def opened(tmp_path):
    """Sessions of an environment; opened again, those of the same folder after it was closed."""
    held = []

    def open_(env, folder="folder", limit=10_000, **arguments):
        while held:
            held.pop().close()
        held.append(Sessions(ServedTask(env, **arguments), tmp_path / folder, limit=limit))
        return held[-1]

    yield open_
    while held:
        held.pop().close()


def rows(space, n, seed=0):
    return space.sample(n, np.random.default_rng(seed)).tolist()


class Measured(Bowl):
    """Differs at every call, and fails now and then."""

    deterministic = False

    def evaluate(self, designs, rng=None):
        out = super().evaluate(designs, rng)
        out["cost_j"] = out["cost_j"] + np.random.default_rng().random(len(out["cost_j"]))
        return out | {"failure": ["broken" if x == 5 else "" for x in np.asarray(designs["x"])]}


class Trained(Bowl):
    """Costs something before the first sample, less the more there are."""

    cost_unit = "steps"

    def cost_of(self, indices):
        return 1.0 + indices[:, 0]

    def cost_after(self, indices, before):
        return self.cost_of(indices) / (1 + len(before) + np.arange(len(indices)))

    def cost_before(self):
        return 100.0


@pytest.mark.parametrize("simulator", [Bowl, Noise, Measured, Trained])
def test_a_session_goes_on_as_if_nothing_had_happened(opened, register, simulator):
    env, _ = register(simulator())
    designs = rows(simulator.space, 30)
    undisturbed = opened(env, "other").create(seed=7)
    for i in range(0, 30, 3):
        undisturbed.evaluate(designs[i : i + 3])
    expected = undisturbed.history()
    cost = undisturbed._load().ledger.cost
    charges = undisturbed._load().ledger.charges
    first = opened(env).create("remote", seed=7)
    id_, token = first.id, first.token
    for i in range(0, 30, 3):
        again = opened(env).get(id_, token)
        again.evaluate(designs[i : i + 3])
    found = opened(env).get(id_, token)
    if simulator.deterministic:
        assert found.history() == expected
    assert found.history() == again.history()
    ledger = found._load().ledger
    assert (ledger.cost, ledger.charges) == (cost, charges)
    assert [f.sample for f in ledger.failures] == [f.sample for f in undisturbed._load().ledger.failures]


def test_noise_is_that_of_the_environment_under_the_session_s_seed(opened, register):
    env, _ = register(Noise())
    designs = rows(Noise.space, 12)
    session = opened(env).create(seed=11)
    for design in designs:
        session.evaluate([design])
    made = gymnasium.make_vec(env, num_envs=12)
    made.reset(seed=11)
    made.step(np.array(designs))
    own = made.unwrapped.ledger.history()["cost_j"].tolist()
    assert session.history()["cost_j"] == [None if value != value else value for value in own]


def test_rebuilding_simulates_nothing(opened, bowl):
    session = opened(bowl[0]).create()
    session.evaluate(rows(bowl[1].space, 20))
    assert bowl[1].rows == 20
    again = opened(bowl[0]).get(session.id, session.token)
    assert again.summary()["samples"] == 20 and bowl[1].rows == 20


def test_a_key_is_known_after_a_restart(opened, bowl):
    session = opened(bowl[0], budget=5).create()
    answer = session.evaluate(rows(bowl[1].space, 8), key="k")
    again = opened(bowl[0], budget=5).get(session.id, session.token)
    assert again.evaluate(rows(bowl[1].space, 8), key="k") == answer
    with pytest.raises(Refused) as refused:
        again.evaluate(rows(bowl[1].space, 7), key="k")
    assert refused.value.status == 422


@pytest.mark.parametrize("simulator", [Bowl, Noise])
def test_a_full_disk_counts_nothing_and_costs_nothing(opened, register, simulator):
    env, _ = register(simulator())
    served = opened(env)
    session, other = served.create(seed=3), served.create(seed=4)
    designs = rows(simulator.space, 40)
    session.evaluate(designs[:10])
    pages = served.journal._db.execute("PRAGMA page_count").fetchone()[0]
    served.journal._db.execute(f"PRAGMA max_page_count = {pages}")
    refused = 0
    for i in range(10, 40):
        with pytest.raises(Refused) as error:
            for _ in range(1000):  # until the last page is full
                other.evaluate(designs)
        assert error.value.status == 507 and "disk is full" in str(error.value)
        try:
            session.evaluate([designs[i]] * 2000, key=f"k{i}")
        except Refused as error:
            refused += error.status == 507
        if i == 12:
            break
    assert refused == 3
    assert session.summary()["samples"] == 10
    with pytest.raises(Refused) as error:
        for _ in range(5000):
            served.create("x" * 200)
    assert error.value.status == 507
    served.journal._db.execute("PRAGMA max_page_count = 1000000")
    session.evaluate(designs[10:], key="k10")
    found = opened(env).get(session.id, session.token).history()
    undisturbed = opened(env, "other").create(seed=3)
    undisturbed.evaluate(designs)
    assert found == undisturbed.history()


def test_a_journal_that_fails_makes_the_ledger_no_longer(opened, bowl, monkeypatch):
    served = opened(bowl[0], budget=10)
    session = served.create()
    append = served.journal.append
    for error in (KeyboardInterrupt(), sqlite3.OperationalError("disk I/O error"), MemoryError()):

        def fail(number, batch, error=error):
            raise error

        monkeypatch.setattr(served.journal, "append", fail)
        with pytest.raises(type(error)):
            session.evaluate(rows(bowl[1].space, 4))
        assert session.summary()["samples"] == 0
    monkeypatch.setattr(served.journal, "append", append)
    assert session.evaluate(rows(bowl[1].space, 4))["start"] == 0


class Absent(Bowl):
    """Cannot run at first."""

    there = False

    def evaluate(self, designs, rng=None):
        if not self.there:
            raise SimulatorUnavailable("no license at /opt/tool/license.dat")
        return super().evaluate(designs, rng)


def test_without_a_simulator_nothing_is_counted(opened, register):
    env, simulator = register(Absent())
    session = opened(env, budget=5).create()
    with pytest.raises(Refused, match="no license at <path>") as refused:
        session.evaluate([[0, 0, 0, 0]], key="k")
    assert refused.value.status == 503 and session.summary()["left"] == 5
    simulator.there = True
    assert session.evaluate([[0, 0, 0, 0]], key="k")["left"] == 4


def test_two_services_cannot_hold_one_folder(opened, bowl, tmp_path):
    opened(bowl[0])
    with pytest.raises(ArchGymError, match="another runner is at work"):
        Sessions(ServedTask(bowl[0]), tmp_path / "folder")


@pytest.mark.parametrize(
    ("other", "part"),
    [
        ({"budget": 6}, "its budget is 5, got 6"),
        ({"seed": 1}, "its seed is 0, got 1"),
        ({"arguments": {"horizon": 2}}, "horizon is 1, got 2"),
        ({"arguments": {"objective": {"minimize": ["area_mm2"]}}}, "objective"),
    ],
)
def test_a_folder_belongs_to_one_task_and_says_which_part_differs(opened, bowl, other, part):
    opened(bowl[0], budget=5)
    with pytest.raises(ArchGymError, match=part):
        opened(bowl[0], **{"budget": 5, **other})
    opened(bowl[0], budget=5)


def test_a_damaged_or_linked_journal_is_refused_in_words(opened, bowl, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(ArchGymError, match="not a database"):
        opened(bowl[0])
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArchGymError, match="is a link"):
        opened(bowl[0], "linked")
    assert not (tmp_path / "elsewhere").exists()


def test_a_session_that_is_spent_is_an_ordinary_run_in_the_store(opened, bowl, tmp_path):
    served = opened(bowl[0], budget=20)
    session = served.create("mine.lua", {"rate": 0.5, "$": "name"}, seed=4)
    designs = rows(bowl[1].space, 25)
    session.evaluate(designs[:8])
    assert not Store(tmp_path / "folder").read()
    session.evaluate(designs[8:])
    store = Store(tmp_path / "folder")
    (run,) = store.read().values()
    assert run.done and run.result["samples"] == 20
    specification = run.specification
    assert (specification["agent"]["name"], specification["seed"], specification["budget"]) == (
        "mine.lua",
        4,
        20,
    )
    assert specification["env"]["id"] == bowl[0]
    ((_, table),) = store.table([run])
    columns, own = read_columns(table), session.history()
    for name in ("sample", "x", "size", "isa", "flag", "feasible", "valid", "reward"):
        assert columns[name].tolist() == own[name], name
    assert (np.diff(columns["elapsed_seconds"]) >= 0).all()
    assert run.result["best_reward"] == session.summary()["best"]["reward"]


def test_a_run_that_could_not_be_stored_is_stored_when_the_folder_is_next_opened(
    opened, bowl, tmp_path, monkeypatch
):
    served = opened(bowl[0], budget=4)
    session = served.create()

    def full(*_):
        raise ArchGymError("cannot write it: the disk is full")

    monkeypatch.setattr(served.store, "write", full)
    with pytest.warns(UserWarning, match="is not stored yet"):
        answer = session.evaluate(rows(bowl[1].space, 4))
    assert answer["left"] == 0 and not Store(tmp_path / "folder").read()
    opened(bowl[0], budget=4)
    assert len(Store(tmp_path / "folder").read()) == 1


def test_sessions_that_leave_memory_come_back_from_the_journal(opened, bowl, monkeypatch):
    monkeypatch.setattr(sessions_module, "LOADED", 2)
    served = opened(bowl[0], budget=12)
    all_ = [served.create() for _ in range(5)]
    designs = rows(bowl[1].space, 12)
    for i in range(0, 12, 2):
        for session in all_:
            session.evaluate(designs[i : i + 2])
        assert sum(session._evaluator is not None for session in all_) == 2
    assert bowl[1].rows == 60
    histories = [session.history() for session in all_]
    assert all(history == histories[0] for history in histories) and len(histories[0]["sample"]) == 12


def test_only_hashes_of_tokens_are_stored(opened, bowl, tmp_path):
    session = opened(bowl[0]).create()
    session.evaluate([[0, 0, 0, 0]])
    opened(bowl[0], "other")
    stored = b"".join(path.read_bytes() for path in (tmp_path / "folder").iterdir() if path.is_file())
    assert session.id.encode() in stored and session.token.encode() not in stored


def test_a_service_counts_as_a_search_does(opened, bowl):
    """The rows of an agent's search, sent to a service, have the same rewards, best and duplicates."""
    found = search(bowl[0], "random", budget=50, seed=1)
    indices = bowl[1].space.encode({name: found.history[name] for name in bowl[1].space.names})
    session = opened(bowl[0], budget=50).create()
    session.evaluate(indices)
    summary = session.summary()
    assert session.history()["reward"] == found.history["reward"].tolist()
    assert (summary["unique"], summary["best"]["reward"]) == (found.unique, found.best_reward)
    assert summary["best"]["design"] == found.best_design


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no /home/someone/x.json here", "no <path> here"),
        ('File "/usr/lib/x.py", line 3', 'File "<path>", line 3'),
        ("C:\\Users\\x\\y.txt: gone", "<path>: gone"),
        ("~/secret/key", "<path>"),
        ("set=/tmp/a", "set=<path>"),
        ("file:///etc/x and //host/share/x", "<path> and <path>"),
        ("12/34 of 1 / 2, m/s and https://example.org/x", "12/34 of 1 / 2, m/s and https://example.org/x"),
    ],
)
def test_paths_are_taken_out_of_texts(text, shown):
    assert without_paths(text) == shown
    assert json.dumps(without_paths(text))
