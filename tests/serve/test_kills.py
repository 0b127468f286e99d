"""A service that is killed with SIGKILL and started again: benchmarks/serve.py, with few kills."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.mark.parametrize(("shared", "kills"), [(1, 2), (4, 1)])
def test_no_sample_is_lost_or_doubled_by_kills(benchmark, tmp_path, shared, kills):
    serve = benchmark("serve")
    found = serve.campaign(tmp_path, clients=4, requests=80, kills=kills, shared=shared, seed=3)
    assert serve.check_answers(found) == found.budget * 4 // shared
    assert serve.check_store(tmp_path, found) == 4 // shared
    serve.check_replay(found, seed=3)
