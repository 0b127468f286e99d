"""A study from Python, and the report of its lottery: python small_study.py [BUDGET] [FOLDER]

Needs pip install "archgym[report]". Run it again: what is stored is not run again.
"""

import sys
from pathlib import Path

from archgym.lottery.analysis import analyse
from archgym.lottery.load import load_tasks
from archgym.lottery.report import write_report
from archgym.study.design import Study
from archgym.study.runner import run_study
from archgym.study.store import Store

STUDY = """
env = [{{ id = "archgym/NKLandscape-v0", kwargs = {{ n = 12, k = 3 }} }}]
agent = [
    {{ name = "random" }},
    {{ name = "local_search", configurations = 3 }},
    {{ name = "genetic", configurations = 3 }},
]
study = {{ name = "small", budget = {budget}, seeds = 5 }}
"""

if __name__ == "__main__":  # workers import this file
    budget, folder = (sys.argv[1:] + ["300", "results/small"][len(sys.argv) - 1 :])[:2]
    study, store = Study(STUDY.format(budget=budget)), Store(folder)
    run_study(study, store, workers=2)
    analysis = analyse(load_tasks(study, store))
    print(*analysis.conclusions, sep="\n")
    print(write_report(analysis, Path(folder), title=study.name, provenance={"Study": study.name}))
