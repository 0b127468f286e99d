"""README's figure: how fast agents close in on the known optimum, on one unsaturated task, with default
hyperparameters.

python benchmarks/figure.py             # writes docs/figures/agents.svg
"""

from __future__ import annotations

from pathlib import Path

import altair
import numpy as np
import pandas

import archgym

AGENTS = {"random": "random", "genetic": "evolutionary (genetic)", "tpe": "Bayesian (tpe)", "ppo": "RL (ppo)"}
BUDGET, SEEDS = 1000, 10
OUT = Path(__file__).parents[1] / "docs" / "figures" / "agents.svg"


def curve(agent: str) -> pandas.DataFrame:
    """Median and quartiles over seeds of the gap to the optimum, in per cent of the optimum's fitness,
    after each sample.
    """
    runs = []
    for seed in range(SEEDS):
        result = archgym.search(
            "archgym/NKLandscape-v0", agent, budget=BUDGET, seed=seed, env_kwargs={"seed": seed}
        )
        runs.append(100 * -np.expm1(result.best_so_far - result.optimum.best_reward))
    low, median, high = np.quantile(runs, [0.25, 0.5, 0.75], axis=0)
    samples = np.arange(1, BUDGET + 1)
    kept = np.unique(np.geomspace(1, BUDGET, 120).astype(int)) - 1
    return pandas.DataFrame(
        {"agent": AGENTS[agent], "samples": samples, "low": low, "median": median, "high": high}
    ).iloc[kept]


def main() -> None:
    data = pandas.concat([curve(agent) for agent in AGENTS])
    base = altair.Chart(data).encode(
        x=altair.X(
            "samples", scale=altair.Scale(type="log", domain=[1, BUDGET]), title="samples (designs simulated)"
        ),
        color=altair.Color(
            "agent",
            sort=list(AGENTS.values()),
            title=None,
            legend=altair.Legend(
                orient="top", columns=4, columnPadding=20, symbolOpacity=1, symbolType="stroke"
            ),
        ),
    )
    gap = "below the known optimum (% of its fitness)"
    chart = base.mark_area(opacity=0.15).encode(y=altair.Y("low", title=gap), y2="high") + base.mark_line(
        strokeWidth=2
    ).encode(y="median")
    subtitle = [
        "n = 20, k = 2, 4 alleles (1.1e12 designs), default hyperparameters",
        f"median and quartiles over {SEEDS} landscapes",
    ]
    title = altair.TitleParams("Four agents, one step API: NK landscapes", subtitle=subtitle, anchor="start")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    chart.properties(width=560, height=300, title=title, background="white").save(OUT)


if __name__ == "__main__":
    main()
