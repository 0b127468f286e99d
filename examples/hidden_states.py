"""What a controller's hidden state remembers: python hidden_states.py [BUDGET]

Needs pip install "archgym[gp]". A controller with a memory starts each cell from the state in which it has
read a past one (Adam & Lorraine, 2019). The table compares distances between 150 of these states with those
between cells (number of different edges) over all pairs, as Spearman's rank correlation. Without a memory,
the state is the one after the controller has written the cell. Means of 3 seeds.
"""

import sys

import numpy as np
import torch
from scipy.stats import spearmanr

import archgym
from archgym.agents.controller import Controller

AGENTS = {"no memory": (0, 0), "memory": (100, 0), "memory, replay x10": (300, 10)}
CELLS, SEEDS = 150, range(3)
budget = int(sys.argv[1]) if sys.argv[1:] else 1000
pairs = np.triu_indices(CELLS, 1)


@torch.no_grad()
def states(agent, cells):
    """h and c after reading cells, or without a memory after writing them."""
    if agent.memory:
        return agent.read(cells)
    return agent.write(agent.read(cells[:, :0]), cells)[3]


@torch.no_grad()
def measures(agent, cells, rng):
    """Correlations with cells read and written; distance of a written cell from the one read, and others."""
    h, c = states(agent, cells)
    written = agent.write((h, c))[0]

    def correlation(designs):
        different = (designs[:, None] != designs).sum(axis=2)[pairs]
        return spearmanr(torch.cdist(h, h).numpy()[pairs], different).statistic

    own, shuffled = ((cells != other).sum(axis=1).mean() for other in (written, rng.permutation(written)))
    return correlation(cells), correlation(written), own, shuffled


print("                      h against cells read    h against   read to written:")
print("                      own        random       written     own pair  shuffled")
for name, (memory, replay) in AGENTS.items():
    rows = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        agent = Controller(memory=memory, replay=replay)
        result = archgym.search("archgym/NasCell-v0", agent, budget=budget, seed=seed)
        cells = result.space.encode({edge: result.history[edge] for edge in result.space.names})
        read, written, own, shuffled = measures(agent, rng.choice(cells[:300], CELLS), rng)
        read_random = measures(agent, result.space.sample(CELLS, rng), rng)[0]
        rows.append((read, read_random, written, own, shuffled))
    print(
        f"{name:<20}"
        + "".join(f"{x:{w}.2f}" for x, w in zip(np.mean(rows, 0), (6, 11, 13, 13, 11), strict=True))
    )
