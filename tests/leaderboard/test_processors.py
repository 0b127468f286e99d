"""An entry from another processor, on whose last bits an agent's choices depend."""

from __future__ import annotations

import json

import numpy as np
import pytest

import archgym
from archgym.agent import AskTellAgent
from archgym.leaderboard import verify as verification
from archgym.leaderboard.submit import submit
from archgym.leaderboard.suite import Suite
from archgym.leaderboard.verify import State, verify
from archgym.space import DesignSpace

SUITE = """
[study]
name = "one-1"
budget = 20
seeds = 2
[[env]]
id = "archgym/NKLandscape-v0"
label = "rugged"
kwargs = { n = 8, k = 2 }
[[agent]]
name = "random"
"""


class Swaying(AskTellAgent):
    """Goes another way after five samples where `way` differs, as by the last bits of an arithmetic."""

    version, hyperparameters, way = 1, DesignSpace([]), 0
    preferred_num_envs = 1

    def start(self, space, *, budget, rng):
        self.space, self.rng, self.seen = space, rng, 0

    def ask(self, n):
        rng = self.rng if self.seen < 5 else np.random.default_rng((self.way, self.seen))
        return self.space.sample(n, rng)

    def tell(self, indices, rewards, metrics, feasible):
        self.seen += len(indices)


@pytest.fixture
def board(tmp_path):
    """A board with one entry, by an agent that now goes another way than it did."""
    archgym.register_agent("swaying", Swaying)
    files = []
    for seed in (0, 1):
        result = archgym.search(
            "archgym/NKLandscape-v0", "swaying", budget=20, seed=seed, env_kwargs={"n": 8, "k": 2}
        )
        files.append(result.to_parquet(tmp_path / f"{seed}.parquet"))
    submit(files, tmp_path / "board", suite=Suite.parse(SUITE), executor="inline")
    Swaying.way = 1
    yield tmp_path / "board"
    Swaying.way = 0


def verdict(board):
    (entry,), unread = verify(board, Suite.parse(SUITE), executor="inline", cache=board.parent / "cache")
    assert not unread and not entry.problems
    return entry.parts["rugged", 20]


def move(monkeypatch):
    elsewhere = {"processor": "another", "cores": 1, "system": "Linux"}
    monkeypatch.setattr(verification, "machine", lambda: elsewhere)


def test_on_its_own_processor_a_replay_that_goes_another_way_does_not_count(board):
    assert verdict(board).state == State.FAILED


def test_on_another_processor_its_rows_count_and_the_page_is_told(board, monkeypatch):
    move(monkeypatch)
    part = verdict(board)
    assert part.state == State.ROWS and part.ranked and "another way on this processor" in part.reason


def test_on_another_processor_too_every_row_must_have_its_metrics(board, monkeypatch):
    move(monkeypatch)
    (path,) = board.glob("entries/*/rows/*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["rows"][-1][2][0] *= 1 + 1e-6
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (entry,), _ = verify(board, Suite.parse(SUITE), executor="inline", cache=board.parent / "cache")
    assert entry.problems or entry.parts["rugged", 20].state == State.FAILED


def test_an_entry_that_differs_from_the_first_sample_on_does_not_count_anywhere(board, monkeypatch):
    move(monkeypatch)
    monkeypatch.setattr(
        Swaying, "ask", lambda self, n: self.space.sample(n, np.random.default_rng((9, self.seen)))
    )
    assert verdict(board).state == State.FAILED
