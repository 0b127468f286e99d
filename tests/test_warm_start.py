"""`search(start=...)`: given designs are the first samples, whatever the agent, and agents learn from them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet
import pytest
from conftest import NEEDS
from typer.testing import CliRunner

import archgym
from archgym import AskTellAgent, DesignSpace, Search, search, search_again
from archgym.agent import Agent
from archgym.cli import app
from archgym.contexts.policy import Policy
from archgym.errors import ArchGymError, MissingDependency
from archgym.registry import get_agent

NK = {"n": 6, "k": 1, "alleles": 3}
ENV = "archgym/NKLandscape-v0"


def is_ask_tell(name: str) -> bool:
    return issubclass(get_agent(name), AskTellAgent)


ASK_TELL = [name for name in archgym.list_agents() if is_ask_tell(name)]
every_agent = pytest.mark.parametrize("agent", ASK_TELL)


def run(agent, budget, start, seed=0, **options):
    needs = NEEDS.get(agent) if isinstance(agent, str) else None
    given = {"env_kwargs": NK, "agent_kwargs": needs, **options}
    try:
        return search(ENV, agent, budget=budget, seed=seed, start=start, **given)
    except MissingDependency as error:
        pytest.skip(str(error))


def rows_of(result) -> np.ndarray:
    return result.space.encode({name: result.history[name] for name in result.space.names})


def random_designs(n, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, (n, 6))


def ranked(**kwargs) -> tuple[np.ndarray, np.ndarray]:
    """All designs of a landscape, best first, and their rewards."""
    evaluator = Search(ENV, "random", budget=1, env_kwargs=kwargs or NK).env.evaluator
    designs = evaluator.simulator.space.from_ordinal(np.arange(evaluator.simulator.space.size))
    rewards = evaluator.score(designs)["reward"]
    order = np.argsort(-rewards, kind="stable")
    return designs[order], rewards[order]


# --- every agent that asks and tells ---


@every_agent
def test_the_first_samples_are_the_designs_and_the_budget_is_exact(agent):
    start = random_designs(7)
    for width in (None, 1, 4):
        result = run(agent, 17, start, num_envs=width)
        assert result.samples == 17
        np.testing.assert_array_equal(rows_of(result)[:7], start)


@every_agent
def test_the_same_seed_gives_the_same_rows_and_the_specification_repeats_them(agent):
    start = random_designs(5)
    first, again, other = (run(agent, 20, start, seed=seed, num_envs=3) for seed in (1, 1, 2))
    np.testing.assert_array_equal(rows_of(first), rows_of(again))
    if agent not in ("exhaustive", "qmc", "language_model"):  # the script sees no seed
        assert (rows_of(first)[5:] != rows_of(other)[5:]).any()
    specification = json.loads(json.dumps(first.specification))
    assert specification["start"] == start.tolist()
    repeated = search_again(specification)
    np.testing.assert_array_equal(rows_of(repeated), rows_of(first))
    assert repeated.specification == first.specification


@every_agent
def test_a_budget_below_the_number_of_designs_takes_the_first_of_them(agent):
    start = random_designs(9)
    for width in (1, 4, 16):
        result = run(agent, 6, start, num_envs=width)
        np.testing.assert_array_equal(rows_of(result), start[:6])


@every_agent
def test_equal_designs_are_evaluated_and_counted_each_time(agent):
    start = np.repeat(random_designs(2), 6, axis=0)
    result = run(agent, 25, start, num_envs=5)
    assert result.samples == 25
    np.testing.assert_array_equal(rows_of(result)[:12], start)


@every_agent
def test_more_designs_than_any_population_take_part(agent):
    result = run(agent, 130, random_designs(120), num_envs=8)
    assert result.samples == 130 and len(np.unique(rows_of(result)[120:], axis=0)) > 1


@every_agent
def test_a_search_that_starts_at_the_optimum_has_it_from_the_first_sample_on(agent):
    designs, rewards = ranked()
    result = run(agent, 20, designs[:1])
    assert (result.best_so_far == rewards[0]).all() and result.regret == pytest.approx(0, abs=1e-12)


@every_agent
def test_only_infeasible_designs_stop_no_agent(bowl, agent):
    start = [{"x": 6, "size": 8, "isa": isa, "flag": False} for isa in ("scalar", "avx2", "avx512")]
    try:
        result = search(bowl[0], agent, budget=16, start=start, num_envs=2, agent_kwargs=NEEDS.get(agent))
    except MissingDependency as error:
        pytest.skip(str(error))
    assert (
        result.samples == 16 and not result.history["feasible"][:3].any() and result.history["feasible"].any()
    )


LEARN = [name for name in ASK_TELL if name not in ("random", "qmc", "exhaustive", "gp")]


@pytest.fixture(scope="module")
def landscape():
    kwargs = {"n": 10, "k": 1, "alleles": 3}
    return kwargs, ranked(**kwargs)[0]


@pytest.mark.parametrize("agent", LEARN)
def test_good_designs_to_start_from_make_the_best_of_few_samples_better(agent, landscape):
    kwargs, designs = landscape
    found = {True: [], False: []}
    for seed in range(8):
        good = np.random.default_rng(seed).choice(designs[60:120], 5, replace=False)  # the best 0.1 to 0.2 %
        for given in (True, False):
            result = run(agent, 40, good if given else None, seed=seed, env_kwargs=kwargs)
            found[given].append(result.best_reward)
    assert np.mean(found[True]) > np.mean(found[False])


# --- what agents make of them ---


def rewarded(agent, start, budget, seed=0):
    """Designs asked after the given ones, in a search one design wide."""
    return rows_of(run(agent, budget, start, seed=seed, num_envs=1))[len(start) :]


def test_a_local_search_climbs_from_the_best_design():
    designs, _ = ranked()
    asked = rewarded("local_search", designs[[300, 40, 200]], 15)
    assert ((asked != designs[40]).sum(axis=1) <= 2).all() and ((asked[:1] != designs[40]).sum() == 1)


def test_cmaes_centres_on_the_best_design():
    designs, _ = ranked()
    asked = np.concatenate([rewarded("cmaes", designs[[300, 40, 200]], 19, seed) for seed in range(20)])
    assert (np.abs(asked - designs[40]) <= 1).mean() > 0.85
    assert abs(asked.mean(axis=0) - designs[40]).max() < 0.6


@pytest.mark.parametrize("agent", ["genetic", "aging_evolution", "nsga2", "annealing"])
def test_a_population_of_given_designs_breeds_at_once(agent):
    """Equal designs fill the population: what is asked next differs from them in few parameters."""
    start = np.tile(random_designs(1), (64, 1))
    asked = rewarded(agent, start, 70)
    assert ((asked != start[0]).sum(axis=1) <= 3).all()


@pytest.mark.parametrize("agent", ["tpe", "bo", "predictor", "nsga2", "portfolio"])
def test_agents_that_repeat_no_design_repeat_none_of_the_given(agent):
    start = np.concatenate([random_designs(1), np.eye(6, dtype=int)])
    asked = rewarded(agent, start, 60)
    assert not {tuple(row) for row in asked} & {tuple(row) for row in start}


@pytest.mark.parametrize("agent", ["reinforce", "ant_colony"])
def test_a_distribution_moves_to_the_better_of_the_given_designs(agent):
    designs, _ = ranked()
    start = np.concatenate([designs[:4], designs[-20:]])
    asked = np.concatenate([rewarded(agent, start, 44, seed) for seed in range(5)])
    assert (asked == designs[0]).mean() > 0.45, "a third by chance"


def test_optuna_has_a_finished_trial_for_each_given_design():
    agent = get_agent("gp")()
    result = run(agent, 5, random_designs(3), num_envs=2)
    trials = [tuple(trial.params.values()) for trial in agent.study.trials if trial.state.is_finished()]
    assert sorted(trials) == sorted(map(tuple, rows_of(result)[:4].tolist()))


class Watched(AskTellAgent):
    """Asks for zeros; remembers calls."""

    hyperparameters = DesignSpace([])
    version = 1

    def start(self, space, *, budget, rng):
        self.space, self.calls = space, []

    def ask(self, n):
        self.calls.append(("ask", n))
        return np.zeros((min(n, 2), len(self.space)), int)

    def tell(self, indices, rewards, metrics, feasible):
        assert len(indices) == len(rewards) == len(feasible) == len(metrics["fitness"])
        self.calls.append(("tell", len(indices)))


@pytest.mark.parametrize(
    "given, calls",
    [
        (3, [("ask", 1), ("tell", 4)]),
        (4, [("tell", 4)]),
        (9, [("ask", 3), ("ask", 1), ("tell", 12)]),
    ],
)
def test_an_agent_learns_from_all_given_designs_at_once_and_fills_up_their_last_step(given, calls):
    agent = Watched()
    start = 1 + np.random.default_rng(0).integers(0, 2, (given, 6))
    result = run(agent, 30, start, num_envs=4)
    assert agent.calls[: len(calls)] == calls
    filled = rows_of(result)[: -(-given // 4) * 4]
    np.testing.assert_array_equal(filled[:given], start)
    assert not filled[given:].any()


# --- what may be given ---


def test_designs_by_name_and_by_index_are_the_same(bowl):
    designs = [
        {"flag": True, "x": 2, "size": 4, "isa": "avx2"},
        {"x": 1, "size": 1, "isa": "scalar", "flag": False},
    ]
    indices = np.array([[1, 2, 1, 1], [0, 0, 0, 0]], np.uint8)
    by_name, by_index = (search(bowl[0], "tpe", budget=20, start=start) for start in (designs, indices))
    assert by_name.specification == by_index.specification
    assert by_name.specification["start"] == indices.tolist()
    np.testing.assert_array_equal(rows_of(by_name), rows_of(by_index))
    assert {name: by_name.history[name][0] for name in by_name.space.names} == designs[0]


def test_without_start_the_specification_has_no_word_of_it(bowl):
    assert "start" not in search(bowl[0], "random", budget=3).specification
    assert search(bowl[0], "random", budget=3, start=[[0, 0, 0, 0]]).specification["start"] == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    "start, message",
    [
        ([], "K >= 1"),
        (np.zeros((0, 4), int), "K >= 1"),
        ([0, 0, 0, 0], "indices"),
        (np.zeros((2, 3), int), r"\[K, 4\]"),
        (np.zeros((2, 4)), "integer indices"),
        ("best", "mappings of parameters"),
        ([[0, 4, 0, 0]], "0..3 for parameter 'size', got 4"),
        ([[0, 0, -1, 0]], "'isa', got -1"),
        ([{"x": 9, "size": 1, "isa": "scalar", "flag": False}], "9 is not a value of parameter 'x'"),
        ([{"x": 1, "size": 1, "isa": "scalar"}], "'flag'"),
        ([{"x": 1, "size": 1, "isa": "scalar", "flag": False, "sise": 2}], "sise"),
    ],
)
def test_wrong_designs_are_refused_before_anything_is_simulated(bowl, start, message):
    with pytest.raises(ArchGymError, match=message):
        search(bowl[0], "genetic", budget=20, start=start)
    assert bowl[1].rows == 0


class Alone(Agent):
    hyperparameters = DesignSpace([])
    version = 1

    def search(self, env, *, budget, seed):
        raise AssertionError


@pytest.mark.parametrize("agent", [Alone, "ppo"])
def test_an_agent_that_takes_no_designs_is_refused_before_anything_is_simulated(bowl, agent):
    with pytest.raises(ArchGymError, match="expected an agent that starts from given designs"):
        search(bowl[0], agent, budget=20, start=[[0, 0, 0, 0]])
    assert bowl[1].rows == 0


def test_given_designs_are_in_the_front_of_a_search_for_several_metrics(bowl):
    start = [{"x": 3, "size": 4, "isa": "avx512", "flag": False}]
    for agent in ("nsga2", "bo"):
        result = search(bowl[0], agent, budget=25, start=start, front=["cost_j", "area_mm2"])
        assert 0 in np.flatnonzero(result.history["valid"])[result.front.rows], "the optimum of one metric"
        np.testing.assert_array_equal(rows_of(search_again(result.specification)), rows_of(result))


class FromZero(Policy):
    """Ranks designs by ordinal."""

    def rank(self, features, n):
        self.asked = features
        return self.space.from_ordinal(np.arange(n))

    def arrays(self):
        return {}

    @classmethod
    def from_arrays(cls, env, space, arrays):
        return cls(env, space)


def from_zero(contexts) -> FromZero:
    env = Search(ENV, "random", budget=1, env_kwargs={"contexts": contexts}).env
    return FromZero(*FromZero.describes(env.evaluator))


def test_of_a_policy_its_five_best_proposals_for_this_task_are_given():
    policy = from_zero([{**NK, "seed": 1}, {**NK, "seed": 4}])
    result = run("genetic", 30, policy, env_kwargs={**NK, "seed": 8})
    assert result.specification["start"] == result.space.from_ordinal(np.arange(5)).tolist()
    np.testing.assert_array_equal(rows_of(result)[:5], result.space.from_ordinal(np.arange(5)))
    assert policy.asked == pytest.approx([2.0]), "log2 of the seed; those of the training are at -1 and 1"
    small = run(
        "genetic", 9, from_zero([{"n": 2, "k": 1, "alleles": 2}]), env_kwargs={"n": 2, "k": 1, "alleles": 2}
    )
    assert small.specification["start"] == [[0, 0], [0, 1], [1, 0], [1, 1]], "a space of four designs"


def test_a_policy_for_another_space_or_for_no_single_task_is_refused():
    policy = from_zero([NK])
    with pytest.raises(ArchGymError, match=r"expected a policy with the design space .*x3.*got"):
        run("genetic", 30, policy, env_kwargs={**NK, "n": 4})
    with pytest.raises(ArchGymError, match="leave contexts out"):
        run("genetic", 30, policy, env_kwargs={"contexts": [NK, {**NK, "seed": 1}]})


def command(*arguments: object):
    settings = [each for name, value in NK.items() for each in ("--set", f"{name}={value}")]
    return CliRunner().invoke(app, ["search", ENV, *map(str, arguments), "--budget", "9", *settings])


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_the_program_starts_from_a_file_of_designs(tmp_path, suffix):
    designs, rewards = ranked()
    file, out = tmp_path / f"designs.{suffix}", tmp_path / "run.parquet"
    rows = [dict(zip((f"x{i}" for i in range(6)), row, strict=True)) for row in designs[:2].tolist()]
    if suffix == "json":
        file.write_text(json.dumps(rows))
    else:
        lines = [["fitness", *rows[0]], *([0.5, *row.values()] for row in rows)]
        file.write_text("\n".join(",".join(map(str, line)) for line in lines))
    assert command("tpe", "--start", file, "--out", out).exit_code == 0
    table = pyarrow.parquet.read_table(out)
    assert [
        list(row.values()) for row in table.select([f"x{i}" for i in range(6)]).to_pylist()[:2]
    ] == designs[:2].tolist()
    several = command("random", "genetic", "--start", file)
    assert several.exit_code == 0 and several.output.count(f"{rewards[0]:.4g}") >= 2


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("designs.json", "[", "is not a file of designs"),
        ("designs.json", '[{"x0": 1}]', "'x1'"),
        ("designs.csv", "x0,x1\n0,1\n", "expected a column for every parameter, got none for 'x2'"),
        ("policy", "PK", "is not a policy"),
    ],
)
def test_the_program_refuses_other_files(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    result = command("tpe", "--start", tmp_path / name)
    assert result.exit_code != 0 and message in " ".join(result.stderr.split())
