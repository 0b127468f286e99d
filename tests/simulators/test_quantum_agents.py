"""Circuits built gate by gate: masks, random halting and the moving threshold in one stack."""

import gymnasium
import numpy as np
import pytest

from archgym import Curriculum, PrefixDesign, RandomHalting

SLOTS = 12  # of the preset H2-3


def stack():
    env = gymnasium.make("archgym/QuantumCircuit-v0", preset="H2-3", horizon=SLOTS)
    return Curriculum(RandomHalting(PrefixDesign(env)), bound=0.0, amortisation=1e-2)


def test_a_masked_learner_adds_a_gate_per_step_and_none_in_vain():
    contrib = pytest.importorskip("sb3_contrib")
    env = stack()
    model = contrib.MaskablePPO("MlpPolicy", env, n_steps=60, batch_size=60, seed=0, device="cpu")
    model.learn(180)
    ledger, gates = env.unwrapped.ledger, env.unwrapped.simulator.gates
    designs = ledger.column("indices")
    lengths = (designs > 0).sum(axis=1)
    assert ledger.samples == 180 and lengths[0] == 1 and lengths.max() <= SLOTS
    for k in range(1, len(designs)):
        assert lengths[k] in (1, lengths[k - 1] + 1)
        if lengths[k] > 1:
            before = designs[k, : lengths[k] - 1]
            assert (before == designs[k - 1, : lengths[k] - 1]).all()
            assert not gates.redundant(before[None])[0, designs[k, lengths[k] - 1]]


def test_episodes_end_at_the_threshold_of_the_energy_or_when_halted():
    env, rng = stack(), np.random.default_rng(0)
    successes = []
    for episode in range(40):
        _, info = env.reset(seed=0 if episode == 0 else None)
        limit, steps, over = info["halting_step"], 0, False
        while not over:
            _, reward, over, _, info = env.step(int(rng.choice(np.flatnonzero(info["action_mask"]))))
            steps += 1
        error, curriculum = info["metrics"]["error_hartree"], info["curriculum"]
        assert curriculum["success"] == (info["valid"] and error <= curriculum["threshold"])
        assert curriculum["success"] or steps == limit
        assert reward == (5 if curriculum["success"] else -5)
        successes.append(curriculum["success"])
    assert {True, False} == set(successes)
    best = env.unwrapped.ledger.best
    assert curriculum["best"] == env.unwrapped.ledger.column("values")[best, 1]
