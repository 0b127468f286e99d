"""Transfer: equal shares of the budget, votes as their equation has them, and designs that carry over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import archgym
from archgym import AtMost, Categorical, DesignSpace, Integer, Metric, Minimize, Objective, Simulator
from archgym._search import Search
from archgym.agents.contextual_transfer import (
    ContextualTransfer,
    TransferPolicy,
    best_length,
    similarities,
    turns,
)
from archgym.contexts.policy import Policy
from archgym.testing import check_agent


class Moving(Simulator):
    """256 designs whose best x is `target`; `flag` has a meaning beyond a target of 8 only."""

    space = DesignSpace([Integer("x", 1, 16), Integer("y", 0, 7), Categorical("flag", [False, True])])
    metrics = (Metric("cost", "1", "lower"), Metric("area", "1", "lower"))
    default_objective = Objective(Minimize("cost"), AtMost("area", 21.0))

    def __init__(self, target: int = 4):
        self.target = target

    def evaluate(self, designs, rng=None):
        x, y = designs["x"], designs["y"]
        wrong = (self.target > 8) & ~designs["flag"]
        cost = 1.0 + (x - self.target) ** 2 + (y - 5) ** 2 + 3 * wrong
        return {"cost": cost, "area": x + y + 0.0, "feasible": np.ones(len(x), bool)}

    def canonical(self, indices):
        return indices if self.target > 8 else indices * np.array([1, 1, 0])


@pytest.fixture
def moving(register):
    return register(Moving)[0]


def trained(env, targets, budget, seed=0, **options) -> TransferPolicy:
    return archgym.train(
        env,
        contexts={"target": targets},
        budget=budget,
        seed=seed,
        agent=ContextualTransfer,
        agent_kwargs=options,
    )


def cost(policy, target, n=1) -> list[float]:
    proposed = policy.propose({"target": target}, n)
    columns = {name: np.array([design[name] for design in proposed]) for name in policy.space.names}
    return Moving(target).evaluate(columns)["cost"].tolist()


def test_the_contract():
    check_agent(ContextualTransfer, reach_budget=600)


# --- whose turn it is ---


@given(st.integers(1, 12), st.integers(0, 60), st.integers(1, 9))
def test_turns_are_shared_out_exactly_and_a_block_searches_side_by_side(contexts, budget, width):
    counts = budget // contexts + (np.arange(contexts) < budget % contexts)
    steps = turns(counts, width)
    assert steps.shape[1:] == (width,) and steps.size - budget == -budget % width
    np.testing.assert_array_equal(np.bincount(steps.ravel()[:budget], minlength=contexts), counts)
    for c in range(contexts):  # present without a gap, from its first step to its last
        present = np.flatnonzero((steps == c).any(axis=1))
        assert len(present) == 0 or len(present) == np.ptp(present) + 1
    if contexts <= width:
        assert all((steps[0] == c).any() for c in range(contexts) if budget >= width)


@pytest.mark.parametrize("searcher", ["tpe", "bo"])
@pytest.mark.parametrize("width", [None, 1, 3])
def test_every_context_has_an_equal_share_of_an_exact_budget(moving, searcher, width):
    run = Search(
        moving,
        ContextualTransfer,
        budget=53,
        env_kwargs={"contexts": {"target": [2, 4, 6, 8, 10]}},
        agent_kwargs={"searcher": searcher},
        num_envs=width,
    )
    result = run.run()
    counts = np.bincount(result.history["context"])
    assert counts.sum() == 53 and counts.tolist() == [11, 11, 11, 10, 10]


def test_fewer_samples_than_contexts_still_make_a_policy(moving):
    policy = trained(moving, [2, 4, 6, 8, 10], 3)
    assert len({tuple(design.items()) for design in policy.propose({"target": 5}, 256)}) == 256


# --- votes ---


def by_hand(moving, features, designs, shares, length) -> TransferPolicy:
    env = Search(moving, "random", budget=1, env_kwargs={"contexts": {"target": [2, 4, 8]}}).env
    return TransferPolicy(
        *TransferPolicy.describes(env.evaluator),
        features=np.array(features, np.float32),
        designs=np.array(designs),
        shares=np.array(shares, np.float32),
        length=np.array(length),
    )


def test_designs_are_ranked_by_votes_weighted_by_similarity(moving):
    features, shares = [[-1.0], [0.0], [2.0]], [[1.0, 0.0, 0.6], [0.0, 1.0, 0.7], [0.9, 0.0, 0.0]]
    designs = [[0, 0, 0], [1, 1, 0], [2, 2, 0]]
    policy = by_hand(moving, features, designs, shares, 0.5)
    for f in (-1.5, -0.6, -0.3, 0.4, 1.0, 3.0):
        weights = [np.exp(-((f - known) ** 2) / (2 * 0.5**2)) for (known,) in features]
        scores = [sum(w * row[d] for w, row in zip(weights, shares, strict=True)) for d in range(3)]
        ranked = policy.rank(np.array([f], np.float32), 3)
        assert ranked.tolist() == [designs[d] for d in np.argsort(scores)[::-1]], f


def test_far_from_every_context_the_nearest_one_decides(moving):
    policy = by_hand(moving, [[0.0], [1.0]], [[0, 0, 0], [1, 1, 0]], [[1.0, 0.0], [0.0, 1.0]], 0.01)
    assert policy.rank(np.array([10.0], np.float32), 1).tolist() == [[1, 1, 0]]
    assert policy.rank(np.array([-10.0], np.float32), 1).tolist() == [[0, 0, 0]]
    assert similarities(np.array([[9.0]]), np.array([[0.0], [1.0]]), 0.01).tolist() == [[0.0, 1.0]]


def test_the_length_is_that_with_which_other_runs_would_have_proposed_best():
    features = np.arange(6.0)[:, None]
    # near contexts agree, and a design that is fair everywhere has most votes if all count alike
    shares = np.full((6, 4), np.nan)
    shares[:, 0] = 0.5
    shares[:2, 1] = shares[2:4, 2] = shares[4:, 3] = 1.0
    shares[2:, 1] = shares[:2, 2] = shares[4:, 2] = shares[:4, 3] = 0.0
    assert best_length(features, shares) == 1.0, "the shortest, 1 x the distance of neighbours"
    scattered = np.full((6, 7), np.nan)
    scattered[:, 6] = 0.7  # fair everywhere
    for c in range(6):  # best in one context, bad beside it, half as good further away
        distance = np.abs(np.arange(6) - c)
        scattered[:, c] = np.where(distance == 0, 1.0, np.where(distance == 1, 0.0, 0.5))
    assert best_length(features, scattered) > 1.0
    assert (
        best_length(np.zeros((1, 0)), np.ones((1, 3)))
        == best_length(np.zeros((2, 0)), np.ones((2, 3)))
        == 1.0
    )


def test_designs_of_one_meaning_in_a_context_share_its_votes(moving):
    policy = trained(moving, [2, 3, 12, 13], 4 * 60)
    learned = policy.arrays()
    assert learned["shares"].max() == 1.0
    by_design = {
        tuple(d): column for d, column in zip(learned["designs"].tolist(), learned["shares"].T, strict=True)
    }
    twins = [(d, (*d[:2], 1)) for d in by_design if d[2] == 0 and (*d[:2], 1) in by_design]
    assert twins and all(by_design[a][:2].tolist() == by_design[b][:2].tolist() for a, b in twins)
    assert any(by_design[a][2:].tolist() != by_design[b][2:].tolist() for a, b in twins)


def test_designs_that_violate_a_constraint_have_no_vote(moving):
    policy = trained(moving, [14, 15, 16], 3 * 80)
    learned = policy.arrays()
    area = learned["designs"][:, 0] + 1 + learned["designs"][:, 1]
    assert not learned["shares"][:, area > 21].any()


# --- what carries over ---


def test_designs_for_contexts_between_the_trained_ones_are_near_their_optima(moving):
    targets, held_out = [1, 2, 4, 5, 7, 8], [3, 6]
    policy = trained(moving, targets, 6 * 50)
    for target in held_out:
        assert min(cost(policy, target, 5)) <= 2.0, "a neighbour of the optimum, whose cost is 1"
    for target in targets:
        assert cost(policy, target)[0] <= 2.0


def test_landscapes_that_have_nothing_in_common_teach_nothing():
    kwargs = {"n": 6, "k": 3, "alleles": 2}
    contexts = [{**kwargs, "seed": seed} for seed in range(1, 33)]
    policy = archgym.train(
        "archgym/NKLandscape-v0", contexts=contexts, budget=32 * 30, agent=ContextualTransfer
    )
    ranks = []
    for seed in range(33, 73):
        evaluator = Search(
            "archgym/NKLandscape-v0", "random", budget=1, env_kwargs={**kwargs, "seed": seed}
        ).env.evaluator
        rewards = evaluator.score(policy.space.from_ordinal(np.arange(64)))["reward"]
        chosen = evaluator.score(policy.rank(policy.features_of({**kwargs, "seed": seed}), 1))["reward"]
        ranks.append((rewards < chosen).mean())
    assert abs(np.mean(ranks) - 0.5) < 0.15


def test_a_search_that_starts_from_the_policy_is_ahead_with_few_samples(moving):
    policy = trained(moving, [2, 4, 6, 8, 10, 12], 6 * 40)
    found = {}
    for start in (policy, None):
        results = [
            archgym.search(moving, "tpe", budget=12, seed=s, env_kwargs={"target": t}, start=start)
            for s in range(4)
            for t in (3, 7, 11)
        ]
        found[start is None] = np.mean([result.best_reward for result in results])
    assert found[False] > found[True] + 0.3


# --- files ---


def test_the_same_seed_writes_the_same_bytes(moving, tmp_path):
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        trained(moving, [2, 4, 8], 90, seed=seed).save(tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_a_policy_from_a_file_proposes_the_same_designs(moving, tmp_path):
    policy = trained(moving, [2, 4, 8], 90)
    loaded = Policy.load(policy.save(tmp_path / "policy"))
    assert type(loaded) is TransferPolicy and loaded.about == policy.about
    for target in (3, 6, 12):
        assert loaded.propose({"target": target}, 7) == policy.propose({"target": target}, 7)
