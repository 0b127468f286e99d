"""The agents written in NumPy, driven by a bare ask-and-tell loop: legal, repeatable, reaching everything,
and true to their papers.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archgym
from archgym.agent import AskTellAgent
from archgym.agents._designs import moved, neighbours, other_values
from archgym.agents.aging_evolution import AgingEvolution
from archgym.agents.annealing import Annealing
from archgym.agents.ant_colony import AntColony
from archgym.agents.exhaustive import Exhaustive
from archgym.agents.genetic import Genetic
from archgym.agents.local_search import LocalSearch
from archgym.agents.mcts import MonteCarloTreeSearch
from archgym.agents.nsga2 import NSGA2
from archgym.agents.qmc import QuasiMonteCarlo
from archgym.agents.random import Random
from archgym.agents.reinforce import Reinforce
from archgym.errors import ArchGymError
from archgym.space import Array, Categorical, DesignSpace, Indices, Integer

LEARNING = [LocalSearch, Annealing, Genetic, AgingEvolution, AntColony, Reinforce, NSGA2]
AGENTS = [Random, QuasiMonteCarlo, Exhaustive, MonteCarloTreeSearch, *LEARNING]
INFEASIBLE = -11.0

agents = pytest.mark.parametrize("agent", AGENTS, ids=lambda a: a.__name__)
learning = pytest.mark.parametrize("agent", LEARNING, ids=lambda a: a.__name__)
WIDE = DesignSpace([Integer(f"p{i}", 0, 15) for i in range(6)])


def test_a_class_says_how_many_designs_it_proposes_at_once():
    class Own(Genetic):
        @property
        def preferred_num_envs(self):
            return 3

    assert Genetic(population=8).preferred_num_envs == 8 and Random().preferred_num_envs == 256
    assert Own().preferred_num_envs == 3, "a property of a user's class still counts"


def test_populations_that_are_not_given_grow_with_the_budget():
    def adapted(agent, budget):
        agent.adapt(budget)
        return agent.configuration["population"], agent.configuration.get("sample_size")

    for agent in (Genetic(), NSGA2()):  # one that is used again forgets its earlier budget
        sizes = [adapted(agent, b)[0] for b in (10_000, 1, 100, 1000, 1024, 4095, 4096)]
        assert sizes == [64, 16, 16, 16, 32, 32, 64]
    assert [adapted(AgingEvolution(), b) for b in (1, 100, 1000, 10**6)] == [
        (20, 6),
        (20, 6),
        (62, 12),
        (100, 16),
    ]
    assert adapted(Genetic(population=64), 100)[0] == 64
    assert adapted(AgingEvolution(population=50), 100) == (50, 16) and adapted(
        AgingEvolution(sample_size=4), 100
    ) == (100, 4)


@pytest.mark.parametrize("agent", ["genetic", "aging_evolution"])
def test_a_specification_has_the_population_that_was_used(agent):
    env, kwargs = "archgym/NKLandscape-v0", {"n": 6, "k": 1, "alleles": 3}
    result = archgym.search(env, agent, budget=90, env_kwargs=kwargs)
    specification = result.specification
    given = {**specification["agent"]["hyperparameters"]}
    assert given["population"] == {"genetic": 16, "aging_evolution": 20}[agent]
    again = archgym.search(env, agent, budget=90, env_kwargs=kwargs, agent_kwargs=given)
    assert again.history["reward"].tolist() == result.history["reward"].tolist()
    assert archgym.search_again(specification).history["reward"].tolist() == result.history["reward"].tolist()
    if agent == "genetic":
        assert specification["num_envs"] == 16, "a batch is a generation"


def space_of(nvec: list[int]) -> DesignSpace:
    """Ordered and categorical parameters by turns."""
    return DesignSpace(
        [
            Integer(f"p{i}", 1, n) if i % 2 else Categorical(f"p{i}", [str(v) for v in range(n)])
            for i, n in enumerate(nvec)
        ]
    )


def bowl(designs: Indices) -> Array:
    """One optimum in the middle of `WIDE`; 0 there."""
    return -np.log(1.0 + ((designs - np.array([7, 6, 5, 7, 6, 5])) ** 2).sum(axis=1))


def with_infeasible(designs: Indices) -> Array:
    """Rewards of any space, a third of it infeasible."""
    total = designs.sum(axis=1)
    return np.where(total % 3 == 2, INFEASIBLE, -np.abs(total - 4.0))


def search(
    agent: AskTellAgent,
    space: DesignSpace,
    reward: Callable[[Indices], Array],
    budget: int,
    seed: int = 0,
    width: int | None = None,
) -> tuple[Indices, Array]:
    """All designs asked and their rewards; the batch that crosses the budget is cut and not told."""
    agent.start(space, budget=budget, rng=np.random.default_rng(seed))
    width = width or agent.preferred_num_envs
    designs, rewards = np.empty((0, len(space)), np.int64), np.empty(0)
    while True:
        batch = agent._ask_all(width)
        assert batch.shape == (width, len(space)) and batch.dtype == np.int64
        assert ((batch >= 0) & (batch < space.nvec)).all()
        told = reward(batch)
        designs, rewards = np.concatenate([designs, batch])[:budget], np.concatenate([rewards, told])[:budget]
        if len(designs) == budget:
            return designs, rewards
        before = batch.copy()
        agent.tell(batch, told, {}, told > INFEASIBLE)
        assert np.array_equal(batch, before), "tell must not write into what it was told"


@agents
@settings(max_examples=25, deadline=None)
@given(nvec=st.lists(st.integers(1, 6), max_size=5), width=st.integers(1, 40), seed=st.integers(0, 9))
def test_proposals_are_legal_in_any_space_at_any_width(agent, nvec, width, seed):
    designs, _ = search(agent(), space_of(nvec), with_infeasible, budget=150, seed=seed, width=width)
    assert len(designs) == 150


@agents
@pytest.mark.parametrize("nvec", [[], [1], [1, 1, 1], [2], [300]])
def test_degenerate_spaces_are_searched_without_a_crash(agent, nvec):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(agent(), space_of(nvec), with_infeasible, budget=400)
        search(agent(), space_of(nvec), lambda d: np.full(len(d), INFEASIBLE), budget=400)


@agents
def test_extreme_hyperparameters_are_searched(agent):
    for end in (0, -1):
        extreme = agent(**{p.name: p.grid.tolist()[end] for p in agent.hyperparameters})
        search(extreme, space_of([3, 1, 5, 4]), with_infeasible, budget=700)


@agents
@pytest.mark.parametrize("width", [None, 7])
def test_the_seed_decides_every_row(agent, width):
    run = [search(agent(), WIDE, bowl, budget=200, seed=s, width=width)[0] for s in (3, 3, 4)]
    assert np.array_equal(run[0], run[1])
    assert np.array_equal(run[0], run[2]) == (agent is Exhaustive)


@learning
@pytest.mark.parametrize("width", [None, 1, 64])
def test_learning_agents_beat_random_search(agent, width):
    def best(name, width):
        return np.median(
            [search(name(), WIDE, bowl, budget=1000, seed=s, width=width)[1].max() for s in range(5)]
        )

    assert best(agent, width) > best(Random, None) + 0.3


@learning
def test_learning_agents_leave_the_infeasible_region(agent):
    def tenth(designs):
        return np.where(designs[:, 0] < 14, INFEASIBLE, bowl(designs))

    _, rewards = search(agent(), WIDE, tenth, budget=1000)
    assert (rewards[-300:] > INFEASIBLE).mean() > 0.5


@agents
def test_every_value_of_every_parameter_is_proposed(agent):
    space = space_of([3, 16, 7, 5])
    designs, _ = search(agent(), space, with_infeasible, budget=1700)
    for p, n in enumerate(space.nvec):
        assert set(designs[:, p]) == set(range(n))


@learning
def test_a_value_is_still_tried_after_the_search_has_settled(agent):
    space = space_of([4, 4, 4])
    designs, _ = search(agent(), space, lambda d: -d.sum(axis=1).astype(float), budget=4000)
    late = designs[2000:]
    assert all(set(late[:, p]) == {0, 1, 2, 3} for p in range(3))


@pytest.mark.parametrize("seed", range(3))
def test_moves_change_exactly_one_free_parameter(seed):
    space, rng = space_of([3, 1, 5, 2, 9]), np.random.default_rng(seed)
    designs = space.sample(500, rng)
    changed = moved(space, designs, rng) != designs
    assert (changed.sum(axis=1) == 1).all() and not changed[:, 1].any() and changed.any(axis=0).sum() == 4


def test_another_value_is_any_other_with_steps_preferred_where_ordered():
    space, rng = space_of([5, 5]), np.random.default_rng(0)
    for start in range(5):
        drawn = [
            Counter(other_values(space, np.full(4000, start), np.full(4000, p), rng).tolist()) for p in (0, 1)
        ]
        assert set(drawn[0]) == set(drawn[1]) == set(range(5)) - {start}
        assert max(drawn[0].values()) < 1200 < max(drawn[1].values())
        assert abs(drawn[1].most_common(1)[0][0] - start) == 1


def test_neighbours_differ_in_one_parameter_and_are_distinct():
    space = space_of([4, 9, 1])
    rows = neighbours(space, np.array([1, 3, 0]), np.random.default_rng(0))
    assert sorted(map(tuple, rows.tolist())) == sorted(
        [(v, 3, 0) for v in (0, 2, 3)] + [(1, v, 0) for v in (1, 2, 4, 5, 7)]
    )


def test_local_search_tries_all_neighbours_of_a_local_optimum_before_it_restarts():
    agent, space = LocalSearch(sample=1), space_of([3, 4])
    designs, _ = search(agent, space, lambda d: -d.sum(axis=1).astype(float), budget=60)
    at = int(np.flatnonzero((designs == 0).all(axis=1))[0])
    assert {tuple(d) for d in designs[at + 1 : at + 5].tolist()} == {(1, 0), (2, 0), (0, 1), (0, 2)}


def test_the_genetic_algorithm_keeps_its_elite():
    agent = Genetic(population=16, elite=3)
    _, rewards = search(agent, WIDE, bowl, budget=16 * 30)
    assert np.array_equal(np.sort(agent.fitness)[-3:], np.sort(rewards[: 16 * 29])[-3:])
    assert len(agent.parents) == 16 + 3


def test_the_genetic_algorithm_never_proposes_a_child_that_copies_its_parents():
    agent = Genetic(population=32, elite=0, mutation=0.001)
    agent.start(WIDE, budget=1000, rng=np.random.default_rng(0))
    same = np.full((32, 6), 5)
    agent.tell(same, np.zeros(32), {}, np.ones(32, bool))
    assert ((agent.ask(32) != 5).sum(axis=1) == 1).all()


@pytest.mark.parametrize("width", [None, 5, 64])
def test_nsga2_repeats_no_design_while_there_are_new_ones(width):
    designs, _ = search(
        NSGA2(mutation=0.1), space_of([4, 5, 1, 6, 2]), with_infeasible, budget=180, width=width
    )
    assert len(np.unique(designs, axis=0)) == 180


def test_nsga2_ranks_valid_designs_before_all_others_and_the_crowded_last():
    agent = NSGA2(population=8)
    agent.start(WIDE, budget=100, rng=np.random.default_rng(0))
    agent.vector_objective = lambda metrics, feasible: metrics["vectors"]
    agent.rewards = np.empty((0, 2))
    vectors = np.array(
        [[0, 9], [1, 5], [1.1, 4.9], [4, 4], [9, 0], [0, 0], [8, 8], [9, 9], [-11, -11], [7, 9.5]]
    )
    designs, valid = np.arange(10)[:, None].repeat(6, axis=1), np.array([True] * 6 + [False] * 4)
    agent.tell(designs, np.zeros(10), {"vectors": vectors}, valid, valid)
    front, rest = agent.members[:5, 0].tolist(), agent.members[5:, 0].tolist()
    assert set(front[:2]) == {0, 4} and front[2] == 3, "the ends of the front, then where it is sparse"
    assert set(front[3:]) == {1, 2} and rest[0] == 5, "a dominated valid design before invalid ones"
    assert set(rest[1:]) == {7, 9}, "of the invalid ones the front"


def test_nsga2_mixes_parents_that_are_alike():
    agent = NSGA2(population=8, swap=0.95)
    agent.start(WIDE, budget=100, rng=np.random.default_rng(0))
    agent.members, agent.rewards = np.arange(8)[:, None].repeat(6, axis=1), np.arange(8.0)[:, None]
    mothers = np.arange(8).repeat(2000)
    fathers = agent._nearest(mothers)
    assert (fathers == mothers).mean() < 0.01
    assert np.abs(fathers - mothers).mean() < 0.75 * np.abs(np.subtract.outer(range(8), range(8))).sum() / 56


def test_aging_evolution_discards_the_oldest_however_good():
    agent = AgingEvolution(population=10, sample_size=2)
    agent.start(WIDE, budget=100, rng=np.random.default_rng(0))
    agent.tell(np.full((1, 6), 7), np.array([9.0]), {}, np.ones(1, bool))
    agent.tell(np.zeros((9, 6), np.int64), np.zeros(9), {}, np.ones(9, bool))
    assert agent.fitness.max() == 9.0
    agent.tell(np.zeros((1, 6), np.int64), np.zeros(1), {}, np.ones(1, bool))
    assert agent.fitness.max() == 0.0 and len(agent.members) == 10


def test_pheromone_gathers_on_the_values_of_the_best():
    agent = AntColony(ants=8, elite=1, evaporation=0.5)
    agent.start(space_of([4, 4]), budget=100, rng=np.random.default_rng(0))
    round_ = np.array([[2, 1], [0, 0], [1, 3], [3, 3], [0, 3], [1, 0], [3, 0], [2, 2]])
    agent.tell(round_, np.arange(8.0)[::-1], {}, np.ones(8, bool))
    trails = agent.trails.reshape(2, 4)
    assert trails.argmax(axis=1).tolist() == [2, 1] and trails.sum(axis=1) == pytest.approx(1.0)
    assert trails[0] == pytest.approx([0.125, 0.125, 0.625, 0.125])


def test_converged_trails_are_levelled_and_the_old_best_forgotten():
    agent, ones = AntColony(ants=4, elite=4, evaporation=0.5), np.ones((4, 6), np.int64)
    agent.start(WIDE, budget=100, rng=np.random.default_rng(0))
    converged = []
    for _ in range(6):
        agent.tell(ones, np.zeros(4), {}, np.ones(4, bool))
        converged.append(agent.trails.max())
    assert max(converged) > 0.8 and converged[-1] < 0.6  # it rose, was levelled, and rises anew
    assert 1 / 16 in converged and len(agent.best) <= 1


def test_greedy_ants_follow_the_strongest_trail():
    agent = AntColony(ants=4, elite=1, greediness=1.0)
    agent.start(WIDE, budget=100, rng=np.random.default_rng(0))
    agent.tell(np.array([[3] * 6, [1] * 6, [1] * 6, [1] * 6]), np.array([1.0, 0, 0, 0]), {}, np.ones(4, bool))
    assert (agent.ask(50) == 3).all()


def test_annealing_accepts_worse_moves_early_and_refuses_them_late():
    agent = Annealing(chains=1, hot=1.0, cold=0.01)
    agent.start(WIDE, budget=4000, rng=np.random.default_rng(0))
    worse: dict[bool, list[bool]] = {True: [], False: []}
    for sample in range(4000):
        batch = agent.ask(1)
        before = agent.designs.copy()
        told = bowl(batch)
        warm, is_worse = sample < agent.warmup, sample >= agent.warmup and told[0] < agent.rewards[0]
        agent.tell(batch, told, {}, np.ones(1, bool))
        if not warm and is_worse and (sample < 1000 or sample > 3000):
            worse[sample < 1000].append(not np.array_equal(agent.designs, before))
    assert np.mean(worse[True]) > 0.2 > 0.05 > np.mean(worse[False])


def test_annealing_scales_its_temperature_with_the_rewards():
    def run(scale):
        return search(Annealing(), WIDE, lambda d: scale * bowl(d), budget=300)[0]

    assert np.array_equal(run(1.0), run(2.0**-10))


def test_reinforce_raises_the_probability_of_what_was_better():
    agent = Reinforce(batch=4)
    agent.start(space_of([2, 2]), budget=100, rng=np.random.default_rng(0))
    agent.tell(
        np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([1.0, 1.0, 0.0, 0.0]), {}, np.ones(4, bool)
    )
    probability = np.exp(agent.log_policy)
    assert probability[0] > 0.5 > probability[1] and probability[2:] == pytest.approx(0.5)


def test_the_entropy_bonus_pulls_a_policy_back_to_uniform():
    agent = Reinforce(batch=2, entropy=1.0)
    agent.start(space_of([3]), budget=100, rng=np.random.default_rng(0))
    agent.logits = np.array([0.0, -3.0, -3.0])
    for _ in range(200):
        agent.tell(np.array([[0], [1]]), np.zeros(2), {}, np.ones(2, bool))
    assert np.exp(agent.log_policy) == pytest.approx(1 / 3, abs=0.01)


@given(nvec=st.lists(st.integers(1, 5), max_size=4), width=st.integers(1, 50))
@settings(max_examples=30, deadline=None)
def test_exhaustive_visits_every_design_once_and_starts_over(nvec, width):
    space = space_of(nvec)
    designs, _ = search(Exhaustive(), space, with_infeasible, budget=2 * space.size, width=width)
    expected = np.concatenate(list(space.enumerate()))
    assert np.array_equal(designs[: space.size], expected) and np.array_equal(designs[space.size :], expected)


def test_exhaustive_walks_spaces_beyond_64_bits():
    designs, _ = search(
        Exhaustive(), DesignSpace([Integer(f"p{i}", 0, 9) for i in range(30)]), with_infeasible, budget=300
    )
    assert designs[-1].tolist() == [0] * 27 + [2, 9, 9]


@pytest.mark.parametrize("width", [1, 3, 64, 100])
def test_sobol_points_are_balanced_in_powers_of_two_at_any_width(width):
    space = DesignSpace([Integer(f"p{i}", 1, 2 ** (1 + i)) for i in range(5)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        designs, _ = search(QuasiMonteCarlo(), space, with_infeasible, budget=128, width=width)
    for p, n in enumerate(space.nvec):
        assert (np.bincount(designs[:, p], minlength=n) == 128 // n).all()


def test_qmc_says_what_to_do_where_the_sobol_sequence_ends():
    class Vast:
        def __len__(self):
            return 21_202

    with pytest.raises(ArchGymError, match=r"21201 dimensions.*'random'"):
        QuasiMonteCarlo().start(Vast(), budget=10, rng=np.random.default_rng(0))
