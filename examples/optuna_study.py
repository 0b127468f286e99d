"""An Optuna study of an archgym task: python optuna_study.py [TRIALS]

The environment's space becomes Optuna's suggestions; all of its samplers, pruners and dashboards then work.
"""

import sys

import gymnasium
import optuna

import archgym  # noqa: F401  (registers the environments)

env = gymnasium.make("archgym/Softmax-v0").unwrapped
space = env.simulator.space
env.reset(seed=0)


def objective(trial):
    action = [trial.suggest_int(name, 0, int(n) - 1) for name, n in zip(space.names, space.nvec, strict=True)]
    _, reward, _, _, info = env.step(action)
    trial.set_user_attr("design", {name: str(value) for name, value in info["design"].items()})
    env.reset()
    return reward


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
study.optimize(objective, n_trials=int(sys.argv[1]) if sys.argv[1:] else 300)
print(study.best_trial.user_attrs["design"], f"reward {study.best_value:.3f}")
