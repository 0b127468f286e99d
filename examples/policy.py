"""A policy that designs softmax kernels for shapes it never saw: python policy.py [BUDGET]

It is trained on 70 % of the shipped shapes. Each held-out shape gets a kernel without a sample, and the best
of five that are simulated; shares are of the shape's exact optimum, 0 where a kernel violates a limit.
"""

import sys

import gymnasium
import numpy as np

import archgym

ENV = "archgym/Softmax-v0"
budget = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
shapes = archgym.Contexts.of("shapes", archgym.get_task(ENV))
train, held_out = shapes.split(0.3, seed=0)
policy = archgym.train(ENV, contexts=train, budget=budget, seed=0)

env = gymnasium.make(ENV, contexts=held_out).unwrapped
first, best = [], []
for name, arguments in zip(held_out.names, held_out.arguments, strict=True):
    designs = np.concatenate([policy.space.encode(design) for design in policy.propose(arguments, n=5)])
    found = env.score(designs, context=name)
    share = np.where(found["valid"], np.exp(found["reward"]), 0.0)
    first.append(share[0])
    best.append(share.max())
    print(f"{name:24} {share[0]:.3f} without a sample, {share.max():.3f} as the best of five")
print(f"mean of {len(held_out)} shapes: {np.mean(first):.3f}, {np.mean(best):.3f}")
