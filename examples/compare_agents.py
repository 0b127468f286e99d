"""Compare agents on one task: python compare_agents.py [BUDGET]

Each agent searches with several seeds; the optimum is known, so the comparison uses the true regret.
"""

import sys
from statistics import median

import archgym

ENV, SEEDS = "archgym/Softmax-v0", range(5)
budget = int(sys.argv[1]) if sys.argv[1:] else 1000

print(f"{ENV}, {budget} samples, median of {len(SEEDS)} seeds")
for agent in ("random", "local_search", "genetic", "aging_evolution", "tpe"):
    results = [archgym.search(ENV, agent, budget=budget, seed=seed) for seed in SEEDS]
    regret = median(result.regret for result in results)
    percentile = median(result.percentile for result in results)
    print(f"{agent:<16} regret {regret:.4f}   no worse than {percentile:.2f} % of all designs")
