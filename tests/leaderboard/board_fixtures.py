"""Boards that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from boards import ELSEWHERE, copied, searched, submitted, verified


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board with `random`, which is installed, and an agent that is not; its replays are beside it."""
    place = tmp_path_factory.mktemp("honest")
    submitted([*searched(place / "a"), *searched(place / "b", "qmc", called=ELSEWHERE)], place / "board")
    verified(place / "board")
    return place / "board"


@pytest.fixture
def board(honest: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return copied(honest, tmp_path)
