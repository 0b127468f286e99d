"""What watching costs: callbacks beside the same search without them, and looks at a folder of many runs.

python benchmarks/watch.py callbacks      CPU time of searches with callbacks, as a ratio to that without
python benchmarks/watch.py folder DIR     the first and later looks at a study's folder, per run
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable as Function
from pathlib import Path
from time import process_time
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import archgym
from archgym.callbacks import Callback, TensorBoard
from archgym.study.watch import StudyWatch

ROUNDS = 15
SEARCHES = {  # many samples per step, and one
    "random, 256 designs per step": ("random", {"budget": 200_000, "num_envs": 256}),
    "annealing, 1 design per step": ("annealing", {"budget": 3_000, "num_envs": 1}),
}


class Reading(Callback):
    """Reads the best design, as a display does."""

    def on_step(self, search: Any) -> None:
        _ = search.ledger.best_reward, search.share_done


class EveryBatch(Reading):
    """The same, after every batch."""

    every_s = 0.0


def callbacks() -> None:
    """In turns, so that all have the same machine."""
    with tempfile.TemporaryDirectory() as folder:
        kinds: dict[str, Function[[], list[Callback] | None]] = {
            "no callback": lambda: None,
            "a callback": lambda: [Reading()],
            "a callback after every batch": lambda: [EveryBatch()],
            "TensorBoard": lambda: [TensorBoard(Path(folder))],
        }
        for what, (agent, options) in SEARCHES.items():
            best = dict.fromkeys(kinds, float("inf"))
            for _ in range(ROUNDS):
                for kind, make in kinds.items():
                    start = process_time()
                    archgym.search("archgym/Softmax-v0", agent, callbacks=make(), **options)
                    best[kind] = min(best[kind], process_time() - start)
            for kind, seconds in best.items():
                print(f"{what:30} {kind:30} {seconds:6.3f} s  {seconds / best['no callback']:.3f}")


def folder(path: str) -> None:
    """CPU time of looks at a folder that nothing changes."""
    watched, start = StudyWatch(path), process_time()
    look = watched.look()
    first = process_time() - start
    runs = look.done + look.failed
    print(f"{runs:,} runs: first look {first:.2f} s, {1e3 * first / runs:.2f} ms per run")
    later = []
    for _ in range(ROUNDS):
        start = process_time()
        watched.look()
        later.append(process_time() - start)
    print(f"later looks {min(later):.3f} s, {min(later) / first:.4f} of the first")


if __name__ == "__main__":
    if sys.argv[1:] == ["callbacks"]:
        callbacks()
    elif len(sys.argv) == 3 and sys.argv[1] == "folder":
        folder(sys.argv[2])
    else:
        sys.exit(__doc__)
