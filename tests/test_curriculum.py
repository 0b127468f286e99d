"""Curriculum and RandomHalting: rewards and ends by hand-computed sequences, over whatever lies below."""

import copy
import pickle
import warnings
from math import inf

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from gymnasium.wrappers import TimeLimit
from hypothesis import given
from hypothesis import strategies as st

import archgym
from archgym import (
    ArchGymError,
    AtMost,
    Categorical,
    Curriculum,
    DesignSpace,
    Maximize,
    Metric,
    Minimize,
    Objective,
    PrefixDesign,
    RandomHalting,
    SequentialDesign,
    Simulator,
    Target,
)
from archgym.env import ArchEnv
from archgym.registry import Task
from archgym.simulator_wrappers import Noisy

STOP = 0
LEVELS = (10.0, 8.0, 6.0, 5.0, 4.5, 4.0, 2.0, 20.0)  # energy after move 0 (nothing), 1, 2, ...
BROKEN, HEAVY = 8, 9  # an infeasible move, and one that violates the constraint


class Ladder(Simulator):
    """The energy of a design is that of its last move."""

    space = DesignSpace(
        [
            Categorical(
                f"move{n}", list(range(10)), when={f"move{n - 1}": list(range(1, 10))} if n > 1 else {}
            )
            for n in range(1, 5)
        ]
    )
    metrics = (
        Metric("energy", "hartree", "lower"),
        Metric("fidelity", "1", "higher"),
        Metric("gates"),
        Metric("hidden", "1", "lower", report_only=True),
    )
    default_objective = Objective(Minimize("energy"), AtMost("gates", 100.0))
    states_optimum = True

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def evaluate_indices(self, indices, rng=None):
        moves = self.space.canonical(np.asarray(indices))
        last = np.array([row[row != STOP][-1] if (row != STOP).any() else 0 for row in moves])
        energy = self.scale * np.array([LEVELS[move] if move < 8 else 1.0 for move in last])
        return {
            "energy": energy,
            "fidelity": 30 - energy,
            "gates": np.where(last == HEAVY, 1000.0, (moves != STOP).sum(axis=1)),
            "hidden": energy,
            "feasible": last != BROKEN,
        }

    def optimum(self, objective):
        return np.array([6, 0, 0, 0]) if self.states_optimum else None

    def masks(self, indices, p):
        masks = self.space.masks(indices, p)
        masks[:, BROKEN] = False
        return masks

    def state_features(self, indices):
        return (np.asarray(indices) != STOP).sum(axis=1, keepdims=True).astype(np.float32)


class Open(Ladder):
    states_optimum = False


def ladder(simulator=Ladder, horizon=4, **kwargs):
    return ArchEnv(Task("test/Ladder-v0", simulator), horizon=horizon, **kwargs)


def prefixes(*args, **kwargs):
    return PrefixDesign(ladder(*args, **kwargs))


def play(env, moves, **reset):
    """Rewards of an episode, its last info, and whether its steps ended there."""
    env.reset(**reset)
    rewards, over = [], False
    for move in moves:
        assert not over
        _, reward, over, truncated, info = env.step(move)
        assert not truncated and isinstance(reward, float)
        rewards.append(reward)
    return rewards, info["curriculum"], over


# --- rewards of an episode ---


def test_progress_is_the_share_of_what_is_left_to_the_bound():
    env = Curriculum(prefixes(), 2.0)  # the optimum of the simulator is the bound, 2
    rewards, said, over = play(env, [1, 2, 7, 6])  # energies 8, 6, 20, 2
    assert rewards == [0.0, (8 - 6) / (8 - 2), -1.0, 5.0] and over
    assert said == {"threshold": 2.0, "best": 2.0, "success": True, "episodes": 1}
    env = Curriculum(prefixes(), 2.0, bound=0.0, start=10.0, bonus=7)
    rewards, said, over = play(env, [1, 3, 4, 3])  # 10 | 8, 5, 4.5, 5
    assert rewards == [pytest.approx(share) for share in (0.2, 3 / 8, 0.5 / 5, -7)] and over
    assert said["best"] == 4.5 and not said["success"]


def test_without_a_bound_progress_is_in_the_metrics_unit():
    env = Curriculum(prefixes(Open), 0.0, start=5.0)
    assert play(env, [4, 5, 1, 3])[0] == [0.5, 0.5, -1.0, -5.0]  # 5 | 4.5, 4, 8, 5
    assert play(env, [7, 6, STOP])[0] == [-1.0, 1.0, -5.0]  # 5 | 20, 2


def test_a_bound_that_is_reached_or_passed_leaves_rewards_finite():
    env = Curriculum(prefixes(), 0.0, bound=4.5)
    assert play(env, [4, 4, 5])[0] == [0.0, 0.0, 1.0]  # 4.5, 4.5, 4
    rewards, *_ = play(env, [5, 6, 4])  # 4, 2, 4.5
    assert rewards == [0.0, 1.0, -1.0]  # |4 - 4.5| = .5 < 2; |2 - 4.5| = 2.5


def test_success_ends_the_episode_and_the_next_one_begins_anew():
    env = Curriculum(prefixes(), 5.0)
    assert play(env, [1, 3])[0] == [0.0, 5.0]  # 5 reaches 5
    with pytest.raises(ArchGymError, match="the episode is over"):
        env.step(1)
    assert env.unwrapped.ledger.samples == 2
    observation, _ = env.reset()
    assert observation[-1] == 0 and play(env, [2])[0] == [0.0]


def test_designs_that_are_not_valid_reach_nothing_and_are_no_progress():
    env = Curriculum(prefixes(), 5.0)
    rewards, said, over = play(env, [1, HEAVY, 2])  # 8, 1 with too many gates, 6
    assert rewards == [0.0, -1.0, 2 / 6] and not over and said["best"] == 6.0
    rewards, said, over = play(env, [1, BROKEN])
    assert rewards == [0.0, -5.0] and over and not said["success"]


def test_a_metric_of_which_higher_is_better_is_the_same_with_other_signs():
    lower = Curriculum(prefixes(Open), 5.0, metric="energy", start=10.0, amortisation=1.0, patience=2)
    higher = Curriculum(prefixes(Open), 25.0, metric="fidelity", start=20.0, amortisation=1.0, patience=2)
    for moves in ([1, 3], [2, 2, 2, 4], [1, 1, 1, 1], [7, 1, 2, 2], [1, 4]):
        (one, said, _), (other, turned, _) = play(lower, moves), play(higher, moves)
        assert one == other
        assert turned == {**said, "threshold": 30 - said["threshold"], "best": 30 - said["best"]}


# --- where the threshold goes ---


def thresholds(env, episodes):
    """The threshold before each episode, and after the last."""
    seen = []
    for moves in episodes:
        seen.append(env.reset()[1]["curriculum"]["threshold"])
        play(env, moves)
    return [*seen, env.reset()[1]["curriculum"]["threshold"]]


FAIL, GOOD = [1, 1, 1, 1], [4]  # energies 8 and 4.5


def test_successes_take_the_amortisation_back_and_shifts_renew_it():
    env = Curriculum(prefixes(), 9.0, amortisation=1.0, shrinks=4, greedy_shift=3)
    # 8 reaches 9 twice; the third and the sixth episode shift to 4.5 + 1, the last after a failure
    after = thresholds(env, [[1], [1], GOOD, GOOD, GOOD, FAIL, GOOD])
    assert after == [9.0, 8.75, 8.5, 5.5, 5.25, 5.0, 5.5, 5.25]
    env = Curriculum(prefixes(), 9.0, amortisation=1.0, shrinks=2, successes=2, greedy_shift=100)
    assert thresholds(env, [[1]] * 6) == [9.0, 9.0, 8.5, 8.5, 8.0, 8.0, 8.0]  # two parts at most


def test_after_the_last_shrink_the_threshold_is_the_best_itself_and_repeating_it_succeeds():
    env = Curriculum(prefixes(), amortisation=0.1, shrinks=3, greedy_shift=1000)
    thresholds(env, [[4, STOP], *[GOOD] * 4])
    rewards, said, _ = play(env, GOOD)
    assert rewards == [5.0] and said["threshold"] == 4.5 == said["best"]


def test_failures_in_a_row_renew_the_amortisation():
    env = Curriculum(prefixes(), 5.0, amortisation=1.0, shrinks=2, greedy_shift=1000, patience=3)
    after = thresholds(env, [GOOD, FAIL, FAIL, GOOD, FAIL, FAIL, FAIL, GOOD])
    #            5: success -> 4.5; two failures; success -> 4; three failures -> 4.5 + 1; success -> 5
    assert after == [5.0, 4.5, 4.5, 4.5, 4.0, 4.0, 4.0, 5.5, 5.0]


def test_without_a_start_the_first_episode_with_a_valid_design_sets_the_threshold():
    env = Curriculum(prefixes(), amortisation=0.5)
    after = thresholds(env, [[BROKEN], [1, 2, HEAVY, STOP], [2]])
    assert after == [-inf, -inf, 6.5, 6.45]


def test_a_threshold_out_of_reach_stays_without_a_valid_design():
    env = Curriculum(prefixes(), 3.0, greedy_shift=1, patience=1, amortisation=1.0)
    assert thresholds(env, [[BROKEN], [HEAVY, STOP], FAIL]) == [3.0, 3.0, 3.0, 9.0]


def test_an_episode_that_is_left_counts_as_failed_unless_a_seed_starts_all_again():
    env = Curriculum(prefixes(), 5.0, amortisation=1.0, patience=2, greedy_shift=1000)
    assert thresholds(env, [[1], [2]]) == [5.0, 5.0, 7.0]
    assert [env.reset()[1]["curriculum"]["threshold"] for _ in range(3)] == [7.0] * 3  # nothing was tried
    assert env.reset(seed=0)[1]["curriculum"] == {
        "threshold": 5.0,
        "best": inf,
        "success": False,
        "episodes": 0,
    }


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_the_threshold_stays_between_the_best_and_the_amortisation_above_it(
    episodes, shrinks, successes, shift, patience
):
    """After the first shift, at the best of the episodes before; and pickled copies go the same way."""
    options = {"shrinks": shrinks, "successes": successes, "greedy_shift": shift, "patience": patience}
    env = Curriculum(prefixes(), amortisation=0.7, **options)
    env.reset(seed=0)
    for moves in episodes:
        twin = pickle.loads(pickle.dumps(env))
        histories = []
        for each in (env, twin):
            _, info = each.reset()
            history, over = [info["curriculum"]], False
            for move in moves:
                if not over:
                    _, reward, over, _, info = each.step(move)
                    history.append((reward, over, info["curriculum"]))
            histories.append(history)
        assert histories[0] == histories[1]
        said = env.reset()[1]["curriculum"]
        assert said["threshold"] == -inf or said["threshold"] <= LEVELS[7] + 0.7
        if shift == 1 and said["best"] < inf:
            assert said["threshold"] == said["best"] + 0.7


def test_each_context_has_a_threshold_and_a_bound_of_its_own():
    env = Curriculum(prefixes(contexts=[{"scale": 1.0}, {"scale": 2.0}]), amortisation=1.0)
    play(env, FAIL, options={"context": 0})
    play(env, [3, 1, 1, 1], options={"context": 1})
    for context, threshold, rewards in ((0, 9.0, [0.0, 5.0]), (1, 11.0, [0.0, (40 - 16) / (40 - 4)])):
        _, info = env.reset(options={"context": context})
        assert info["curriculum"]["threshold"] == threshold
        assert [env.step(move)[1] for move in (7, 1)] == rewards  # energies 20 and 8, times the scale


# --- what lies below and above ---


def test_the_ledger_and_its_results_are_those_without_wrappers():
    plain, wrapped = prefixes(), Curriculum(RandomHalting(prefixes(), low=4), 0.0)
    plain.reset(seed=0), wrapped.reset(seed=0)
    for move in (1, 3, 2, 7):
        *_, info = plain.step(move)
        *_, said = wrapped.step(move)
        assert {name: said[name] for name in ("design", "metrics", "valid", "reward")} == {
            name: info[name] for name in ("design", "metrics", "valid", "reward")
        }
    one, other = archgym.infos.core(plain).ledger, archgym.infos.core(wrapped).ledger
    assert other.samples == 4
    for column in ("indices", "values", "reward", "valid"):
        np.testing.assert_array_equal(one.column(column), other.column(column))


@pytest.mark.parametrize("wrap", [Curriculum, RandomHalting, lambda env: Curriculum(RandomHalting(env))])
def test_masks_pass_through(wrap):
    env = wrap(prefixes())
    _, info = env.reset(seed=0)
    assert not env.action_masks()[BROKEN] and env.action_masks().sum() == 9 == info["action_mask"].sum()
    assert (env.action_masks() == env.env.action_masks()).all()
    unmasked = wrap(ladder())
    assert not hasattr(unmasked, "action_masks") and not unmasked.has_wrapper_attr("action_masks")


def test_only_complete_designs_of_the_sequential_view_are_judged():
    env = Curriculum(SequentialDesign(ladder(horizon=3), skip_inactive=False), 5.0)
    whole = [(1, 0, 0, 0), (2, 0, 0, 0), (1, 3, 0, 0)]
    rewards, said, over = play(env, [move for design in whole for move in design])
    assert rewards == [*[0.0] * 7, 2 / 6, *[0.0] * 3, 5.0]
    assert over and said["success"] and env.unwrapped.ledger.samples == 3
    env = Curriculum(SequentialDesign(ladder(horizon=1)), 5.0)
    assert play(env, [1, 2, 1, 1])[0] == [0.0, 0.0, 0.0, -5.0]
    assert play(env, [1, STOP])[0][-1] == -5.0 and play(env, [3, STOP])[0][-1] == 5.0


@pytest.mark.parametrize("view", [PrefixDesign, SequentialDesign])
def test_they_work_below_the_views_too(view):
    env = view(Curriculum(RandomHalting(ladder(), low=2, high=2), 5.0))
    _, info = env.reset(seed=0)
    assert info["halting_step"] == 2 and info["curriculum"]["threshold"] == 5.0
    rewards, over = [], False
    while not over:
        _, reward, over, _, info = env.step(2)
        rewards.append(reward)
    designs = env.unwrapped.ledger.samples
    assert designs == 2 and rewards[-1] == -5.0 and not any(rewards[:-1])
    env.reset()
    rewards = []
    for move in (3, 3, 3, 3)[: 1 if view is PrefixDesign else 4]:
        _, reward, over, _, info = env.step(move)
    assert over and reward == 5.0 and info["curriculum"]["success"]


class Countdown(gymnasium.Env):
    """An environment of no package: the state falls by the action."""

    observation_space = gymnasium.spaces.Box(-100, 100, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = 10.0
        return np.array([self.state], np.float32), {"state": self.state}

    def step(self, action):
        self.state -= float(action)
        return np.array([self.state], np.float32), 99.0, False, False, {"state": self.state}


def test_environments_of_other_packages():
    env = Curriculum(TimeLimit(Countdown(), 4), 6.0, metric="state", bound=0.0, start=10.0)
    env.reset(seed=0)
    assert [env.step(2)[1:4] for _ in range(2)] == [(0.2, False, False), (5.0, True, False)]
    env.reset()
    assert [env.step(1)[1:4] for _ in range(4)][-1] == (5.0, True, True)  # success and time's end
    env.reset()
    assert [env.step(0)[1:4] for _ in range(4)][-1] == (-5.0, False, True)
    with pytest.raises(ArchGymError, match=r"expected metric=.* for Countdown"):
        Curriculum(Countdown(), 6.0)
    with pytest.raises(ArchGymError, match=r"states its steps, got Countdown; pass n= and high="):
        RandomHalting(Countdown())
    env = RandomHalting(Countdown(), 3, high=5)
    lengths = []
    for seed in range(30):
        _, info = env.reset(seed=seed)
        steps = 1
        while not env.step(1)[2]:
            steps += 1
        assert steps == info["halting_step"]
        lengths.append(steps)
    assert {1, 5} < set(lengths) <= {1, 2, 3, 4, 5}


# --- random halting ---


def test_lengths_are_drawn_from_the_clipped_negative_binomial_under_the_seed():
    env = RandomHalting(prefixes(), n=6, p=0.6, low=2, high=4)
    lengths = np.array([env.reset(seed=seed)[1]["halting_step"] for seed in range(400)])
    # P(X = k) = C(n + k - 1, k) p^n (1 - p)^k
    below = 0.6**6 * (1 + 6 * 0.4 + 21 * 0.4**2)
    three = 0.6**6 * 56 * 0.4**3
    shares = [(lengths == length).mean() for length in (2, 3, 4)]
    assert np.abs(np.subtract(shares, [below, three, 1 - below - three])).max() < 0.07
    assert (lengths == [env.reset(seed=seed)[1]["halting_step"] for seed in range(400)]).all()
    env.reset(seed=7)
    later = [env.reset()[1]["halting_step"] for _ in range(20)]
    env.reset(seed=7)
    twin = copy.deepcopy(env)
    assert later == [twin.reset()[1]["halting_step"] for _ in range(20)] and len(set(later)) > 1


def test_the_last_drawn_step_terminates_the_episode():
    env = RandomHalting(prefixes())
    lengths = set()
    for seed in range(40):
        _, info = env.reset(seed=seed)
        for step in range(1, info["halting_step"] + 1):
            _, _, terminated, truncated, said = env.step(1)
            assert not truncated and terminated == (step == info["halting_step"])
        assert said["design"] == {f"move{n}": 1 if n <= step else 0 for n in range(1, min(step + 1, 4) + 1)}
        with pytest.raises(ArchGymError, match="the episode is over"):
            env.step(1)
        lengths.add(step)
    assert lengths == {1, 2, 3, 4}
    env.reset(seed=0)
    assert env.step(STOP)[2]  # the design's own end is still one
    with pytest.raises(ArchGymError, match="the episode is over"):
        env.step(1)


def test_a_halted_episode_failed_where_the_curriculum_is_above():
    above, below = Curriculum(RandomHalting(prefixes(), high=1), 5.0), None
    assert play(above, [1])[0] == [-5.0]
    below = RandomHalting(Curriculum(prefixes(), 5.0), high=1)
    below.reset()
    assert below.step(1)[1:3] == (0.0, True)
    assert below.reset()[1]["curriculum"]["episodes"] == 1


# --- libraries, and what is refused ---


@pytest.mark.parametrize(
    "wrap",
    [
        Curriculum,
        lambda env: Curriculum(env, 20.0, amortisation=1.0),
        RandomHalting,
        lambda env: Curriculum(RandomHalting(env)),
        lambda env: RandomHalting(Curriculum(env)),
    ],
)
def test_gymnasiums_checker_passes_and_specifications_make_the_stack_again(wrap):
    env = wrap(PrefixDesign(gymnasium.make("archgym/LogicSynthesis-v0", circuit="random-7", horizon=6)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of wrappers that are checked on purpose
        gymnasium_check_env(env, skip_render_check=True)
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    results = []
    for each in (env, again):
        each.reset(seed=3)
        _, reward, terminated, _, info = each.step(3)
        results.append((reward, terminated, info["design"], info.get("curriculum")))
    assert results[0] == results[1] and type(again) is type(env)


@pytest.mark.parametrize(
    ("package", "name", "arguments"),
    [
        (
            "sb3_contrib",
            "MaskablePPO",
            {"n_steps": 128, "batch_size": 128, "learning_rate": 0.01, "gamma": 1.0},
        ),
        ("stable_baselines3", "PPO", {"n_steps": 64, "batch_size": 64}),
        ("stable_baselines3", "DQN", {"learning_starts": 32}),
    ],
)
def test_stable_baselines_learn_on_the_stack(package, name, arguments):
    library = pytest.importorskip(package)
    env = Curriculum(RandomHalting(prefixes(), n=8), 5.0, amortisation=1.0)
    model = getattr(library, name)("MlpPolicy", env, seed=0, device="cpu", **arguments)
    model.learn(1024 if name == "MaskablePPO" else 128)
    ledger = env.unwrapped.ledger
    assert ledger.samples >= 128
    if name == "MaskablePPO":
        assert ledger.column("feasible").all()
        energy = ledger.column("values")[:, 0]
        assert energy[-100:].mean() < energy[:100].mean() - 1  # successes are worth learning


def test_the_bound_of_a_table_is_its_exact_optimum():
    env = Curriculum(
        PrefixDesign(gymnasium.make("archgym/LogicSynthesis-v0", circuit="max-4x8", horizon=6)), 0
    )
    env.reset(seed=0)
    before = env.step(1)[-1]["metrics"]["and_gates"]
    _, reward, _, _, info = env.step(2)
    assert reward == pytest.approx((before - info["metrics"]["and_gates"]) / (before - 169)) and reward


def test_circuits_of_gates_have_the_ground_energy_as_their_bound():
    made = gymnasium.make("archgym/QuantumCircuit-v0", preset="H2-3", slots=6, horizon=6)
    env = Curriculum(RandomHalting(PrefixDesign(made), low=6), 1.6e-3, amortisation=1e-3)
    rng = np.random.default_rng(0)
    checked = False
    for seed in (None, None, None):
        _, info = env.reset(seed=seed)
        before, over = None, False
        while not over:
            action = rng.choice(np.flatnonzero(info["action_mask"]))
            _, reward, over, _, info = env.step(action)
            error = info["metrics"]["error_hartree"]
            if not over and before is not None and info["valid"]:
                assert reward == pytest.approx(np.clip((before - error) / before, -1, 1), abs=1e-5)
                checked |= reward > 0.05
            before = error if info["valid"] else before
        assert abs(reward) == 5 and info["curriculum"]["success"] == (error <= 1.6e-3)
    assert checked and env.unwrapped.ledger.column("valid").any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": "low"}, "expected a finite number as threshold, got 'low'"),
        ({"threshold": np.nan}, "expected a finite number as threshold"),
        ({"bound": inf}, "expected a finite number as bound"),
        ({"start": True}, "expected a finite number as start"),
        ({"amortisation": -1.0}, "expected a finite number of at least 0 as amortisation, got -1.0"),
        ({"bonus": -5}, "expected a finite number of at least 0 as bonus"),
        ({"shrinks": 0}, "expected shrinks as a whole number >= 1, got 0"),
        ({"successes": 0.5}, "successes"),
        ({"greedy_shift": 0}, "greedy_shift"),
        ({"patience": 0}, "patience"),
        ({"metric": "enrgy"}, "unknown metric 'enrgy'; did you mean 'energy'"),
        ({"metric": "hidden"}, "unknown metric 'hidden'"),
        ({"metric": "gates"}, "expected a metric with a direction, got 'gates'"),
    ],
)
def test_curricula_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(ArchGymError, match=message):
        Curriculum(prefixes(), **arguments)


def test_goals_and_their_directions():
    assert Curriculum(prefixes(objective=Objective(Maximize("gates"))))._sign == -1
    with pytest.raises(ArchGymError, match="the target of 'energy'; name a metric: energy, fidelity"):
        Curriculum(prefixes(objective=Objective(Target("energy", 3.0))))
    assert (
        Curriculum(prefixes(objective=Objective(Target("energy", 3.0))), metric="energy").metric == "energy"
    )


@pytest.mark.parametrize(
    "env",
    [
        lambda: prefixes(objective=Objective(Minimize("energy"), Minimize("gates"))),
        lambda: PrefixDesign(ArchEnv(Task("test/Noisy-v0", lambda: Noisy(Ladder(), 0.0)), horizon=4)),
        lambda: prefixes(Open),
    ],
)
def test_no_bound_is_taken_from_what_does_not_state_one(env):
    env = Curriculum(env(), 0.0, metric="energy")
    assert play(env, [4, 5])[0] == [0.0, 0.5]  # 4.5, 4: in the metric's unit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "expected n as a whole number >= 1"),
        ({"p": 0.0}, r"expected a probability p in \(0, 1\], got 0.0"),
        ({"p": 1.5}, "probability"),
        ({"low": 0}, "expected low as a whole number >= 1"),
        ({"low": 3, "high": 2}, "expected low <= high, got low=3 and high=2"),
    ],
)
def test_halting_that_means_nothing_is_refused(arguments, message):
    with pytest.raises(ArchGymError, match=message):
        RandomHalting(prefixes(), **arguments)


def test_partial_designs_are_not_halted():
    for wrap in (lambda env: env, Curriculum, gymnasium.wrappers.RecordEpisodeStatistics):
        with pytest.raises(ArchGymError, match=r"got SequentialDesign, .* use PrefixDesign, or halt below"):
            RandomHalting(wrap(SequentialDesign(ladder())))
    with pytest.raises(ArchGymError, match="of several steps, got one; make it with a longer horizon"):
        RandomHalting(ladder(horizon=1))
