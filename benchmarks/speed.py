"""How fast the kernel is, on one core, each figure beside a bare-NumPy loop measured in the same run.

    python benchmarks/speed.py           all of it
    python benchmarks/speed.py step      single steps, beside CartPole's

These figures are for reading and comparing, never asserted in tests: machines are noisy. Ratios travel better
than rates.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import subprocess
import sys
import time

import gymnasium
import numpy as np

import archgym
from archgym import Ledger, find_optimum
from archgym.simulators.softmax import SoftmaxCostModel

ROUNDS = 7


def seconds(work, repeat=1) -> float:
    """Best of several rounds of one call of `work`: the figure that other processes disturb least."""
    work()
    best = np.inf
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(repeat):
            work()
        best = min(best, (time.perf_counter() - start) / repeat)
    return best


def bare_loop(nvec, table, n, batch) -> None:
    """What a search costs with nothing around it: draw, look up, keep the best."""
    rng, best = np.random.default_rng(0), -np.inf
    strides = np.append(np.cumprod(nvec[::-1])[::-1][1:], 1)
    for _ in range(n // batch):
        indices = (rng.random((batch, len(nvec))) * nvec).astype(np.int64)
        best = max(best, table[indices @ strides].max())


def report(what: str, rate: float, unit: str, bare: float | None = None, goal: float | None = None) -> None:
    ratio = f"{rate / bare:8.3f} of bare NumPy" if bare else ""
    print(
        f"{what:58s} {rate:14,.0f} {unit:12s} {ratio:28s} {'' if goal is None else f'(goal {goal:,.0f})'}",
        flush=True,
    )


def single_steps() -> None:
    """`reset` and `step` of random designs through `gymnasium.make`, in turns with CartPole, so that the
    machine's drift cancels; CPU time.
    """
    tasks = (
        ("archgym/Softmax-v0", {}, 80_000),
        ("archgym/DramController-v0", {}, 80_000),
        ("archgym/NasCell-v0", {}, 80_000),
        ("archgym/Softmax-v0", {"tabulated": False}, None),
        ("archgym/Accelerator-v0", {}, 5_000),
    )
    cartpole, rng = gymnasium.make("CartPole-v1"), np.random.default_rng(0)

    def taken(env, actions) -> float:
        start = time.process_time()
        for action in actions:
            env.reset()
            env.step(action)
        return (time.process_time() - start) / len(actions)

    for env_id, kwargs, goal in tasks:
        env, best, reference = gymnasium.make(env_id, **kwargs), np.inf, np.inf
        actions = env.unwrapped.simulator.space.sample(5_000 if goal != 5_000 else 500, rng)
        for _ in range(2 * ROUNDS):
            best = min(best, taken(env, actions))
            reference = min(reference, taken(cartpole, [0] * 5_000))
        what = f"reset + step, {env_id}{''.join(f', {n}={v}' for n, v in kwargs.items())}"
        ratio = f"{reference / best:8.3f} of CartPole's {1 / reference:,.0f}"
        print(f"{what:58s} {1 / best:14,.0f} steps/s      {ratio:28s} {f'(goal {goal:,})' if goal else ''}")


def kernel() -> None:
    model = SoftmaxCostModel(rows=1, cols=65536)
    space = model.space
    rng = np.random.default_rng(0)
    indices = space.sample(10_000, rng)
    designs = space.decode(indices)
    table = rng.random(space.size)
    n, batch = 256 * 1000, 256

    bare_gather = 1e4 / seconds(
        lambda: table[indices @ np.append(np.cumprod(space.nvec[::-1])[::-1][1:], 1)], 20
    )
    report(
        "softmax model, batches of 1e4, indices",
        1e4 / seconds(lambda: model.evaluate_indices(indices), 20),
        "designs/s",
        bare_gather,
        2e6,
    )
    report(
        "softmax model, batches of 1e4, columns of values",
        1e4 / seconds(lambda: model.evaluate(designs), 20),
        "designs/s",
        bare_gather,
        2e6,
    )

    bare = n / seconds(lambda: bare_loop(space.nvec, table, n, batch))
    for tabulated, goal in ((True, 500_000), (False, 250_000)):
        for agent, kwargs in (("random", {}), ("genetic", {"population": 256})):

            def whole(agent=agent, kwargs=kwargs, tabulated=tabulated):
                env_kwargs = {"cols": 65536, "tabulated": tabulated}
                search = archgym.Search(
                    "archgym/Softmax-v0",
                    agent,
                    budget=n,
                    env_kwargs=env_kwargs,
                    agent_kwargs=kwargs,
                    num_envs=batch,
                )
                search.agent.search(search.env, budget=n, seed=0)

            report(
                f"{agent} search, ledger on, tabulated={tabulated}",
                n / seconds(whole),
                "samples/s",
                bare,
                goal,
            )

    for agent in ("random", "genetic"):
        ledger_overhead(agent, n, batch)
    objective = gymnasium.make("archgym/Softmax-v0").unwrapped.objective
    print(
        f"{'full enumeration of the softmax space, model':58s} "
        f"{seconds(lambda: find_optimum(model, objective)) * 1e3:14,.1f} ms"
    )
    for what, command in (
        ("import archgym", ["-c", "import archgym"]),
        ("archgym --help", ["-m", "archgym.cli", "--help"]),
    ):
        took = seconds(
            lambda command=command: subprocess.run(
                [sys.executable, *command], check=True, stdout=subprocess.DEVNULL
            )
        )
        start = seconds(lambda: subprocess.run([sys.executable, "-c", "import numpy, gymnasium"], check=True))
        print(f"{what:58s} {took * 1e3:14,.0f} ms           {took / start:8.2f} of `import numpy, gymnasium`")


def ledger_overhead(agent: str, n: int, batch: int) -> None:
    """A search with and without recording, in turns, so that the machine's drift cancels; CPU time, fresh
    memory included.
    """
    record = Ledger.record

    def count_only(self, indices, outcome, rewards, seconds):
        self.samples += len(indices)

    def whole():
        search = archgym.Search(
            "archgym/Softmax-v0", agent, budget=n, env_kwargs={"cols": 65536}, num_envs=batch
        )
        start = time.process_time()
        search.agent.search(search.env, budget=n, seed=0)
        return time.process_time() - start

    ratios = []
    for _ in range(15):
        Ledger.record = count_only
        without = whole()
        Ledger.record = record
        ratios.append(whole() / without)
    print(f"{f'ledger, {agent} search, tabulated: overhead':58s} {100 * (np.median(ratios) - 1):14.1f} %")


def main() -> None:
    parts = {"kernel": kernel, "step": single_steps}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
