"""PrefixDesign: every prefix of a design is a sample; and costs of what earlier samples have not done."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from hypothesis import given
from hypothesis import strategies as st

import archgym
from archgym import (
    ArchGymError,
    Categorical,
    DesignSpace,
    Maximize,
    Metric,
    Objective,
    PrefixDesign,
    Simulator,
    Tabulated,
    finished,
)
from archgym.env import ArchEnv, ArchVectorEnv
from archgym.errors import BudgetExhausted
from archgym.objective import R
from archgym.registry import Task
from archgym.simulator_wrappers import Cached, Noisy
from archgym.testing import check_env
from archgym.wrappers.vector import PrefixDesign as VectorPrefixDesign

MOVES = ("stop", "up", "down", "double")
STOP, UP, DOWN, DOUBLE = range(4)


class Steps(Simulator):
    """A level that starts at 1 and moves up, down or to its double, but not below 1. Each new prefix costs 1,
    each sample 1 / 8.
    """

    space = DesignSpace(
        [
            Categorical(f"move{n}", MOVES, when={f"move{n - 1}": MOVES[1:]} if n > 1 else {})
            for n in range(1, 4)
        ]
    )
    metrics = (Metric("level", better="higher"),)
    default_objective = Objective(Maximize("level"))

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def level(self, row):
        level = 1
        for move in row:
            level = {STOP: level, UP: level + 1, DOWN: level - 1, DOUBLE: 2 * level}[move]
            if level < 1:
                return 0
        return level

    def levels(self, indices):
        return np.array([self.level(row) for row in self.space.canonical(np.asarray(indices)).tolist()])

    def evaluate_indices(self, indices, rng=None):
        levels = self.levels(indices)
        return {"level": self.scale * levels, "feasible": levels > 0}

    def masks(self, indices, p):
        masks = self.space.masks(indices, p)
        rows = np.where(np.arange(3) < p, indices, STOP)
        masks[self.levels(rows) == 1, DOWN] = False
        return masks

    def state_features(self, indices):
        levels = self.levels(indices)
        return np.stack([levels * self.scale, 10.0**levels], axis=1)

    def prefixes(self, row):
        return [tuple(row[:n]) for n in range(1, len(row) + 1) if row[n - 1]]

    def cost_of(self, indices):
        return 1 / 8 + (self.space.canonical(indices) != STOP).sum(axis=1)

    def cost_after(self, indices, before):
        seen = {prefix for row in np.asarray(before).tolist() for prefix in self.prefixes(row)}
        costs = []
        for row in np.asarray(indices).tolist():
            new = set(self.prefixes(row)) - seen
            costs.append(1 / 8 + len(new))
            seen |= new
        return np.array(costs)


TASK = Task("test/Steps-v0", Steps)


@pytest.fixture
def env():
    return PrefixDesign(ArchEnv(TASK, horizon=3))


@given(st.lists(st.integers(0, 3), min_size=3, max_size=3))
def test_each_step_evaluates_the_prefix_and_rewards_sum_to_the_best(moves):
    env, plain = PrefixDesign(ArchEnv(TASK, horizon=3)), ArchEnv(TASK)
    observation, info = env.reset(seed=0)
    np.testing.assert_allclose(observation, [0, 0, 1, 1, 10])
    total, best, over, taken = 0.0, -np.inf, False, 0
    while not over:
        taken += 1
        prefix = np.array([*moves[:taken], *[STOP] * (3 - taken)])
        observation, reward, over, truncated, info = env.step(moves[taken - 1])
        plain.reset(seed=0)
        same = plain.step(prefix)[-1]
        assert not truncated and {name: info[name] for name in same} == same
        level = Steps().level(prefix)
        features = [level, min(10.0**level, R)]
        np.testing.assert_allclose(observation, [np.log(max(level, 1)), level > 0, 1 - taken / 3, *features])
        total, best = total + reward, max(best, same["reward"])
        ended = moves[taken - 1] == STOP or level == 0 or taken == 3
        assert over == ended and env.unwrapped.ledger.samples == taken
        assert env.observation_space.contains(observation)
    assert total == pytest.approx(best)
    with pytest.raises(ArchGymError, match="the episode is over"):
        env.step(0)


def test_masks_are_those_of_the_simulator(env):
    _, info = env.reset(seed=0)
    assert env.action_masks().tolist() == [True, True, False, True] == info["action_mask"].tolist()
    *_, info = env.step(UP)
    assert env.action_masks().all() and info["action_mask"].dtype == np.int8


def test_a_new_episode_starts_from_nothing(env):
    first = env.reset(seed=0)[0]
    env.step(DOUBLE)
    assert (env.reset()[0] == first).all()
    env.step(DOUBLE)
    assert env.unwrapped.ledger.column("indices").tolist() == [[DOUBLE, 0, 0]] * 2


def test_features_are_those_of_the_episodes_context():
    contexts = [{"scale": 1.0}, {"scale": 4.0}]
    env = PrefixDesign(ArchEnv(TASK, horizon=3, contexts=contexts))
    for context, scale in enumerate((1.0, 4.0)):
        observation, _ = env.reset(options={"context": context})
        assert observation[-2] == scale
        assert env.step(UP)[0][-2] == 2 * scale


@pytest.mark.parametrize("wrap", [lambda made: made, Tabulated, lambda made: Noisy(made, 0.0)])
def test_checkers_pass_on_it(wrap):
    made = ArchEnv(Task("test/Wrapped-v0", lambda: wrap(Steps())), horizon=3)
    check_env(made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a wrapper that is checked on purpose
        gymnasium_check_env(PrefixDesign(made), skip_render_check=True)


def test_the_checker_looks_at_prefixes():
    class Endless(Steps):
        def state_features(self, indices):
            return np.full((len(indices), 2), np.nan)

    with pytest.raises(AssertionError):
        check_env(ArchEnv(Task("test/Endless-v0", Endless), horizon=3))


def test_environments_that_have_no_prefixes_are_refused(env):
    with pytest.raises(ArchGymError, match="expected a horizon of one step per parameter, 3, got 1; make"):
        PrefixDesign(ArchEnv(TASK))
    with pytest.raises(
        ArchGymError, match="got NKLandscape, which has no features of a prefix; define state"
    ):
        PrefixDesign(gymnasium.make("archgym/NKLandscape-v0", n=5, horizon=5))
    env.reset(seed=0)
    for wrong in (4, -1, 0.5, [0, 1]):
        with pytest.raises(ArchGymError, match=r"expected one whole index in 0\.\.3 as an action"):
            env.step(wrong)
    assert env.unwrapped.ledger.samples == 0


def test_a_masked_policy_makes_possible_moves_and_learns():
    contrib = pytest.importorskip("sb3_contrib")
    env = PrefixDesign(ArchEnv(TASK, horizon=3))
    model = contrib.MaskablePPO(
        "MlpPolicy", env, n_steps=96, batch_size=96, seed=0, device="cpu", learning_rate=0.01, gamma=1.0
    )
    model.learn(1500)
    assert env.unwrapped.ledger.column("feasible").all()
    observation, _ = env.reset(seed=0)
    over = False
    while not over:
        action, _ = model.predict(observation, action_masks=env.action_masks(), deterministic=True)
        observation, _, over, _, info = env.step(int(action))
    assert info["metrics"]["level"] == 8


# --- the vector form ---


@given(st.integers(0, 10_000), st.integers(1, 5), st.booleans())
def test_rows_of_the_vector_form_equal_single_steps(seed, num_envs, several):
    rng = np.random.default_rng(seed)
    kwargs = {"contexts": [{"scale": 1.0}, {"scale": 4.0}]} if several else {}
    vector = VectorPrefixDesign(ArchVectorEnv(TASK, num_envs, horizon=3, **kwargs))
    singles = [PrefixDesign(ArchEnv(TASK, horizon=3, **kwargs)) for _ in range(num_envs)]

    def begin(single, row, info):
        return single.reset(options={"context": int(info["context"][row])} if several else None)

    observations, info = vector.reset(seed=seed)
    for row, single in enumerate(singles):
        observation, said = begin(single, row, info)
        assert np.array_equal(observations[row], observation)
    ends = set()
    for step in range(8):
        # mostly moves that go on, so that rows come apart
        actions = np.where(rng.random(num_envs) < 0.3, rng.integers(4, size=num_envs), UP)
        observations, rewards, terminated, truncated, info = vector.step(actions)
        done = finished(info)
        assert vector.observation_space.contains(observations) and observations.dtype == np.float32
        assert np.array_equal(info["action_mask"], vector.action_masks())
        for row, single in enumerate(singles):
            observation, reward, over, _, said = single.step(int(actions[row]))
            assert (rewards[row], terminated[row], truncated[row]) == (reward, over, False)
            assert (done["reward"][row], done["feasible"][row]) == (said["reward"], said["feasible"])
            for name, value in said["design"].items():
                assert done["design"][name][row] == value
            if over:
                ends.add(step)
                assert info["_final_obs"][row] and info["_final_info"][row]
                assert np.array_equal(info["final_obs"][row], observation)
                observation, said = begin(single, row, info)
            else:
                assert not info.get("_final_obs", np.zeros(num_envs))[row]
                assert info["reward"][row] == said["reward"]
            assert np.array_equal(observations[row], observation)
            assert np.array_equal(info["action_mask"][row], said["action_mask"])
    assert ends
    counted = vector.unwrapped.ledger
    assert counted.samples == 8 * num_envs
    for row, single in enumerate(singles):
        mine = counted.column("indices").reshape(8, num_envs, 3)[:, row]
        np.testing.assert_array_equal(mine, single.unwrapped.ledger.column("indices"))


def test_rows_of_the_vector_form_can_be_reset_alone():
    vector = VectorPrefixDesign(ArchVectorEnv(TASK, 2, horizon=3))
    vector.reset(seed=0)
    before = vector.step(np.array([UP, DOUBLE]))[0]
    after, info = vector.reset(options={"reset_mask": np.array([True, False])})
    np.testing.assert_allclose(after[0], [0, 0, 1, 1, 10])
    assert (after[1] == before[1]).all() and info["action_mask"][:, DOWN].tolist() == [0, 1]
    vector.step(np.array([DOUBLE, DOWN]))
    assert vector.unwrapped.ledger.column("indices").tolist()[2:] == [[DOUBLE, 0, 0], [DOUBLE, DOWN, 0]]


def test_the_vector_form_refuses_what_the_single_one_does_and_other_autoresets():
    with pytest.raises(ArchGymError, match="expected a horizon of one step per parameter, 3, got 1; make"):
        VectorPrefixDesign(ArchVectorEnv(TASK, 2))
    with pytest.raises(ArchGymError, match="got NKLandscape, which has no features of a prefix"):
        VectorPrefixDesign(gymnasium.make_vec("archgym/NKLandscape-v0", 2, n=5, horizon=5))
    with pytest.raises(ArchGymError, match="SameStep"):
        VectorPrefixDesign(ArchVectorEnv(TASK, 2, horizon=3, autoreset_mode="NextStep"))
    vector = VectorPrefixDesign(ArchVectorEnv(TASK, 2, horizon=3))
    vector.reset(seed=0)
    for wrong in ([4, 0], [-1, 0], [0.5, 0.5], [0], 0):
        with pytest.raises(ArchGymError, match=r"whole index in 0\.\.3 per environment"):
            vector.step(np.array(wrong))
    assert vector.unwrapped.ledger.samples == 0


# --- costs of what earlier samples have not done ---


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.floats(0, 25), st.integers(0, 99))
def test_budgets_count_what_no_earlier_sample_has_done(sizes, budget, seed):
    env, rng = ArchVectorEnv(TASK, num_envs=1), np.random.default_rng(seed)
    env.ledger.cost_budget = budget
    paid, seen, taken = 0.0, set(), 0
    for size in sizes:
        designs = Steps.space.sample(size, rng)
        fits = 0
        for row in designs.tolist():
            new = set(Steps().prefixes(row)) - seen
            if paid + 1 / 8 + len(new) > budget:
                break
            fits, paid, seen = fits + 1, paid + 1 / 8 + len(new), seen | new
        taken += fits
        if fits < size:
            with pytest.raises(BudgetExhausted):
                env.evaluator.evaluate(designs, size)
        else:
            env.evaluator.evaluate(designs, size)
        assert env.ledger.cost == paid and env.ledger.samples == taken
        if fits < size:
            break
    column = env.ledger.column("cost")
    assert len(column) == taken and (not taken or column[-1] == paid)


def test_contexts_do_not_share_what_they_have_done():
    env = ArchEnv(TASK, contexts=[{"scale": 1.0}, {"scale": 4.0}])
    paid = []
    for context in (0, 1, 0, 1):
        env.reset(options={"context": context})
        env.step(np.array([UP, UP, STOP]))
        paid.append(env.ledger.cost)
    assert paid == env.ledger.column("cost").tolist() == [2.125, 4.25, 4.375, 4.5]


def test_simulator_wrappers_pass_on_costs_masks_and_features(tmp_path):
    designs = Steps.space.sample(30, np.random.default_rng(0))
    plain = Steps()
    for wrapped in (Tabulated(Steps()), Noisy(Steps()), Cached(Steps(), tmp_path / "cache")):
        expected = plain.cost_after(designs[10:], designs[:10])
        assert (wrapped.cost_after(designs[10:], designs[:10]) == expected).all()
        assert (wrapped.masks(designs, 2) == plain.masks(designs, 2)).all()
        assert (wrapped.state_features(designs) == plain.state_features(designs)).all()


def test_other_simulators_have_the_spaces_masks_and_their_own_costs():
    simulator = archgym.ArchEnv("archgym/NKLandscape-v0", n=5).simulator
    designs = simulator.space.sample(9, np.random.default_rng(0))
    assert (simulator.masks(designs, 3) == simulator.space.masks(designs, 3)).all()
    assert (simulator.cost_after(designs, designs) == simulator.cost_of(designs)).all()
    assert simulator.state_features(designs) is None
