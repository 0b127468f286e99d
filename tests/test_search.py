"""`search`: exact budgets, results that carry their whole specification, and wrong input refused before
anything is simulated.
"""

from __future__ import annotations

import json
import pickle
import warnings

import gymnasium
import numpy as np
import pyarrow.parquet
import pytest
from conftest import Bowl, Noise

import archgym
from archgym import (
    Agent,
    AskTellAgent,
    DesignSpace,
    Integer,
    Minimize,
    Objective,
    search,
    search_again,
)
from archgym.errors import ArchGymError

FAST = ["random", "genetic", "annealing", "local_search", "ant_colony"]


def same_rows(a, b):
    assert list(a.history) == list(b.history)
    for name, column in a.history.items():
        if name != "seconds":
            np.testing.assert_array_equal(column, b.history[name], err_msg=name)


@pytest.mark.parametrize("agent", FAST)
def test_the_specification_repeats_the_search_row_for_row_also_from_json(bowl, agent):
    result = search(bowl[0], agent, budget=75, seed=4, env_kwargs={"horizon": 2}, num_envs=7)
    assert result.samples == bowl[1].rows == len(result.history["reward"]) == 75
    again = search_again(json.loads(json.dumps(result.specification)))
    same_rows(result, again)
    assert again.specification == result.specification and again.best_design == result.best_design


def test_the_specification_keeps_options_of_the_objective_presets_and_replaced_objectives():
    tight = {"cols": 4096, "tolerance": 1e-9}
    for kwargs in (
        tight,
        {"preset": "l1", "tolerance": 1e-9},
        {"preset": "l1", "objective": {"minimize": ["time_s"], "reference": {"time_s": 1e-5}}},
        {"cols": 4096, "tabulated": False},
    ):
        result = search("archgym/Softmax-v0", "random", budget=40, seed=0, env_kwargs=kwargs)
        same_rows(result, search_again(json.loads(json.dumps(result.specification))))
    loose = search("archgym/Softmax-v0", "random", budget=40, seed=0, env_kwargs={"cols": 4096})
    strict = search("archgym/Softmax-v0", "random", budget=40, seed=0, env_kwargs=tight)
    assert not np.array_equal(loose.history["valid"], strict.history["valid"])


def test_hyperparameters_are_part_of_the_specification(bowl):
    result = search(bowl[0], "genetic", budget=60, agent_kwargs={"population": 16, "mutation": 2.0})
    said = result.specification["agent"]
    assert (
        said["name"] == "genetic"
        and said["hyperparameters"]["population"] == 16
        and said["hyperparameters"]["mutation"] == 2.0
    )
    assert result.specification["num_envs"] == 16
    same_rows(result, search_again(result.specification))
    other = json.loads(json.dumps(result.specification))
    other["agent"]["version"] += 1
    with pytest.raises(ArchGymError, match="version"):
        search_again(other)


def test_declared_noise_is_repeated_under_the_same_seed(register):
    env_id, _ = register(Noise())
    one, two, other = (search(env_id, "random", budget=30, seed=s) for s in (0, 0, 1))
    same_rows(one, two)
    assert not np.array_equal(one.history["cost_j"], other.history["cost_j"])


def test_agents_are_given_by_name_class_instance_or_reference(bowl):
    from archgym.agents.genetic import Genetic

    kwargs = {"budget": 40, "seed": 0}
    result = search(bowl[0], "genetic", **kwargs)
    for agent in (Genetic, Genetic(), "archgym.agents.genetic:Genetic"):
        again = search(bowl[0], agent, **kwargs)
        same_rows(result, again)
        assert again.specification["agent"]["name"] == "genetic"


class Descending(AskTellAgent):
    """Asks for designs from the last ordinal downwards; keeps what it is told."""

    hyperparameters = DesignSpace([])
    version = 3

    def start(self, space, *, budget, rng):
        self.space, self.next, self.told = space, space.size, []

    def ask(self, n):
        m = min(n, 2)
        self.next -= m
        return self.space.from_ordinal(np.arange(self.next, self.next + m) % self.space.size)

    def tell(self, indices, rewards, metrics, feasible):
        self.told.append((indices.copy(), rewards.copy(), dict(metrics), feasible.copy()))


def test_an_unregistered_agent_is_named_by_its_module_and_runs_again(bowl):
    result = search(bowl[0], Descending, budget=9, num_envs=5)
    assert result.specification["agent"] == {
        "name": "test_search:Descending",
        "version": 3,
        "hyperparameters": {},
    }
    same_rows(result, search_again(result.specification))


def test_tell_receives_whole_steps_in_asked_order_without_report_only_metrics(bowl):
    agent = Descending()
    result = search(bowl[0], agent, budget=12, num_envs=5, env_kwargs={"horizon": 3})
    assert agent.objective == Bowl.default_objective and [m.name for m in agent.metrics] == [
        "cost_j",
        "area_mm2",
    ]
    assert [len(told[0]) for told in agent.told] == [5, 5]  # the batch that was cut is not told
    indices, rewards, _, feasible = (
        np.concatenate([np.asarray(told[i]) for told in agent.told]) if i != 2 else None for i in range(4)
    )
    assert np.array_equal(result.history["reward"][:10], rewards) and np.array_equal(
        result.history["feasible"][:10], feasible
    )
    assert np.array_equal(Bowl.space.encode({n: result.history[n][:10] for n in Bowl.space.names}), indices)
    assert all(list(told[2]) == ["cost_j", "area_mm2"] for told in agent.told)


def test_an_agent_that_asks_for_too_many_is_refused(bowl):
    class TooMany(Descending):
        def ask(self, n):
            return self.space.from_ordinal(np.arange(n + 1))

    with pytest.raises(ArchGymError, match="ask"):
        search(bowl[0], TooMany, budget=5)


def test_best_is_the_first_best_valid_design(register):
    env_id, _ = register(Bowl())
    result = search(env_id, "exhaustive", budget=Bowl.space.size)
    h = result.history
    best = np.where(h["valid"], h["reward"], -np.inf).argmax()
    assert result.best_reward == h["reward"][best] == result.best_so_far[-1]
    assert result.best_design == {n: h[n][best] for n in Bowl.space.names}
    assert result.best_metrics == {n: h[n][best] for n in ("cost_j", "area_mm2", "secret")}
    assert not any(
        isinstance(v, np.generic) for v in [*result.best_design.values(), *result.best_metrics.values()]
    )
    assert result.unique == Bowl.space.size / 2 and result.cache_hits == 0


def test_without_a_valid_design_there_is_no_best(register):
    env_id, _ = register(Bowl(), {"minimize": ["cost_j"], "at_most": {"area_mm2": 0.5}})
    result = search(env_id, "random", budget=20)
    assert (
        result.best_design
        is result.best_metrics
        is result.best_reward
        is result.regret
        is result.percentile
        is None
    )
    assert (result.best_so_far == -np.inf).all()


def test_failures_are_results(register):
    class Fragile(Bowl):
        def evaluate(self, designs, rng=None):
            if (designs["x"] == 2).any():
                raise RuntimeError("the tool crashed")
            return super().evaluate(designs)

    env_id, _ = register(Fragile())
    result = search(env_id, "random", budget=64, num_envs=16)
    x = result.history["x"]
    assert {f.sample for f in result.failures} == set(np.flatnonzero(x == 2).tolist()) != set()
    assert all("the tool crashed" in f.reason for f in result.failures)


def test_parquet_holds_the_history_and_the_specification(bowl, tmp_path):
    import pyarrow.parquet

    result = search(bowl[0], "random", budget=50, seed=1)
    path = result.to_parquet(tmp_path / "run.parquet")
    table = pyarrow.parquet.read_table(path)
    assert json.loads(table.schema.metadata[b"archgym"]) == result.specification
    for name, column in result.history.items():
        np.testing.assert_array_equal(table[name].to_numpy(zero_copy_only=False), column, err_msg=name)
    assert [p.name for p in tmp_path.iterdir()] == ["run.parquet"]
    same_rows(result, search_again(json.loads(table.schema.metadata[b"archgym"])))


def test_mixed_parameter_values_survive_parquet(register, tmp_path):
    class Optional(Bowl):
        space = DesignSpace([archgym.Categorical("x", [None, "fast", "slow"])])

        def evaluate(self, designs, rng=None):
            n = len(designs["x"])
            return {
                "cost_j": np.ones(n),
                "area_mm2": np.ones(n),
                "secret": np.ones(n),
                "feasible": np.ones(n, bool),
            }

        def canonical(self, indices):
            return indices

    import pyarrow.parquet

    env_id, _ = register(Optional())
    result = search(env_id, "random", budget=20)
    path = result.to_parquet(tmp_path / "run.parquet")
    assert pyarrow.parquet.read_table(path)["x"].to_pylist() == result.history["x"].tolist()


@pytest.mark.parametrize("where", ["missing/run.parquet", "folder", "file/run.parquet"])
def test_an_unwritable_path_is_refused_and_leaves_nothing(bowl, tmp_path, where):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArchGymError, match="cannot write"):
        search(bowl[0], "random", budget=5).to_parquet(tmp_path / where)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "file").read_text() == "kept"


def test_a_failing_write_leaves_the_old_file(bowl, tmp_path, monkeypatch):
    import pyarrow.parquet

    result = search(bowl[0], "random", budget=5)
    path = result.to_parquet(tmp_path / "run.parquet")
    before = path.read_bytes()

    def full(table, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyarrow.parquet, "write_table", full)
    with pytest.raises(ArchGymError, match="the disk is full"):
        result.to_parquet(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_to_pandas_has_a_column_each(bowl):
    pytest.importorskip("pandas")
    result = search(bowl[0], "random", budget=6)
    frame = result.to_pandas()
    assert list(frame.columns) == list(result.history) and len(frame) == 6


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"budget": 0}, "budget"),
        ({"budget": -5}, "budget"),
        ({"budget": 2.5}, "budget"),
        ({"budget": True}, "budget"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"num_envs": 0}, "num_envs"),
        ({"agent": "genetc"}, "did you mean 'genetic'"),
        ({"agent": "archgym.agents.genetic:Genetik"}, "Genetik"),
        ({"agent": "no_such_module:Agent"}, "no_such_module"),
        ({"agent": 3}, "3"),
        ({"agent": dict}, "dict"),
        ({"agent": archgym.Agent}, "subclass of archgym.Agent"),
        ({"agent": ":"}, "expected module:name"),
        ({"agent_kwargs": [1]}, "expected agent_kwargs as a dictionary"),
        ({"env_kwargs": "a"}, "expected env_kwargs as a dictionary"),
        ({"env_kwargs": {1: 2}}, "expected env_kwargs as a dictionary"),
        ({"cache": 5}, "expected the path of a file"),
        ({"front": "cost_j"}, "expected the names of at least two metrics"),
        ({"front": 5}, "expected the names of at least two metrics"),
        ({"agent": "genetic", "agent_kwargs": {"populatoin": 3}}, "did you mean 'population'"),
        ({"agent": "genetic", "agent_kwargs": {"tournament": 10**6}}, "tournament"),
        ({"agent": Descending(), "agent_kwargs": {"a": 1}}, "made already"),
        ({"env_kwargs": {"horizn": 2}}, "did you mean 'horizon'"),
        ({"env_kwargs": {"objective": {"minimize": ["cost"]}}}, "did you mean 'cost_j'"),
        ({"env_kwargs": {"autoreset_mode": "NextStep"}}, "autoreset_mode"),
    ],
)
def test_wrong_input_is_refused_and_nothing_is_simulated(bowl, call, says):
    arguments = {"agent": "random", "budget": 5, "seed": 0} | call
    with pytest.raises(ArchGymError, match=says):
        search(bowl[0], arguments.pop("agent"), **arguments)
    assert bowl[1].rows == 0


@pytest.mark.parametrize(
    "change",
    [{"env": None}, {"agent": 3}, {"env": {"id": "tests/Bowl-v0"}}, {"agent": {"name": "random"}}, None],
)
def test_what_is_no_specification_is_refused(bowl, change):
    specification = search(bowl[0], "random", budget=5).specification
    with pytest.raises(ArchGymError, match="expected a search's specification"):
        search_again(None if change is None else {**specification, **change})


def test_an_unknown_environment_is_refused_with_the_nearest_ids():
    with pytest.raises(ArchGymError, match="did you mean 'archgym/Softmax-v0'"):
        search("archgym/Sofmax-v0", "random", budget=5)


def test_rewards_that_are_mostly_clipped_are_warned_of(register):
    env_id, _ = register(Bowl(), Objective(Minimize("cost_j"), reference={"cost_j": 1e9}))
    with pytest.warns(UserWarning, match="clipped.*reference"):
        search(env_id, "random", budget=20)
    env_id, _ = register(Bowl())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(env_id, "random", budget=20)


def test_clipped_are_the_rewards_that_the_agent_was_given():
    """The sum of the two logarithms is not cut, the one of macs is: an agent that follows reward vectors
    sees no difference there.
    """
    objective = {"maximize": ["valid_accuracy"], "minimize": ["macs"], "weights": {"macs": 0.5}}
    for agent, blind in (("nsga2", True), ("random", False)):
        found = archgym.Search(
            "archgym/NasCell-v0",
            agent,
            budget=40,
            env_kwargs={"objective": objective},
            front=["valid_accuracy", "macs"],
        )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = found.run()
        macs = result.history["macs"][result.history["valid"]]
        assert (macs >= np.exp(10)).sum() > 20
        assert found.clipped == (blind and (macs >= np.exp(10)).sum())
        assert blind == any("clipped" in str(warning.message) for warning in caught)


# --- searches that end early ---


class Stopping(Descending):
    """Raises after 7 steps."""

    error: type[BaseException] = ZeroDivisionError

    def tell(self, indices, rewards, metrics, feasible):
        super().tell(indices, rewards, metrics, feasible)
        if len(self.told) == 7:
            raise self.error("no more")


class Interrupted(Stopping):
    error = KeyboardInterrupt


class Unavailable(Stopping):
    error = archgym.SimulatorUnavailable


@pytest.mark.parametrize("agent", [Stopping, Interrupted, Unavailable])
def test_whatever_ends_a_search_hands_over_what_was_simulated(bowl, agent, tmp_path):
    whole = search(bowl[0], Descending, budget=200, num_envs=20)
    found = archgym.Search(bowl[0], agent, budget=200, num_envs=20)
    with pytest.raises(agent.error) as raised:
        found.run()
    assert "140 of 200 samples were taken" in "".join(raised.value.__notes__)
    assert found.env.closed
    for partial in (found.result(), raised.value.partial):
        assert (
            partial.samples == 140
            and partial.history["reward"].tolist() == whole.history["reward"][:140].tolist()
        )
        assert partial.best_reward == whole.best_so_far[139] and partial.best_design is not None
        assert pyarrow.parquet.read_table(partial.to_parquet(tmp_path / "part.parquet")).num_rows == 140
    with pytest.raises(agent.error) as raised:
        search(bowl[0], agent, budget=200)
    assert pickle.loads(pickle.dumps(raised.value)).partial.samples == 7, (
        "it comes back from a pool of processes"
    )


def test_an_objective_that_raises_and_a_simulator_that_cannot_say_its_optimum_lose_nothing(register):
    class Callback(Objective):
        calls = 0

        def __call__(self, metrics, feasible):
            self.calls += 1
            if self.calls > 3:
                raise OSError("the disk is full")
            return super().__call__(metrics, feasible)

    class Broken(Bowl):
        def optimum(self, objective):
            raise archgym.SimulatorUnavailable("it is gone")

    env_id, _ = register(Broken(), Callback(Minimize("cost_j")))
    found = archgym.Search(env_id, "random", budget=10, num_envs=2)
    with (
        pytest.raises(OSError, match="disk is full") as raised,
        pytest.warns(UserWarning, match="optimum cannot be looked up: it is gone"),
    ):
        found.run()
    assert found.result().samples == raised.value.partial.samples == 6 and found.result().optimum is None


def test_the_optimum_is_part_of_an_unfinished_result_and_a_closed_simulator_is_not_asked(register):
    class Closing(Bowl):
        closed = False

        def optimum(self, objective):
            assert not self.closed
            return np.array([2, 2, 2, 0])

        def close(self):
            self.closed = True

    env_id, _ = register(Closing())
    found = archgym.Search(env_id, Stopping, budget=200, num_envs=20)
    with pytest.raises(ZeroDivisionError):
        found.run()
    assert found.result().regret >= 0
    spent = archgym.Search(env_id, "random", budget=5)
    spent.spend()
    spent.env.close()
    assert spent.result().samples == 5 and spent.result().optimum is None


class Greedy(Agent):
    """Takes more, or fewer, samples than it may."""

    version = 1
    hyperparameters = DesignSpace([Integer("samples", 0, 100, default=8)])

    def search(self, env, *, budget, seed):
        env.unwrapped.ledger.budget = None
        env.reset(seed=seed)
        for _ in range(self.samples):
            env.step(env.action_space.sample())


def test_an_agent_that_takes_too_many_samples_or_none_is_refused_and_one_that_stops_early_is_warned_of(bowl):
    for samples, says in ((8, "to take 5 samples, got 8"), (0, "to take 5 samples, got 0")):
        found = archgym.Search(bowl[0], Greedy(samples=samples), budget=5)
        with pytest.raises(ArchGymError, match=says):
            found.run()
        assert found.result().samples == samples
    with pytest.warns(UserWarning, match="stopped early: 3 of 5 samples were taken"):
        assert search(bowl[0], Greedy(samples=3), budget=5).samples == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert search(bowl[0], "exhaustive", budget=300).samples == 300, "144 designs, and then once more"


@pytest.mark.parametrize("agent", FAST)
def test_a_metric_of_0_at_the_optimum_costs_no_sample(register, agent):
    class Stalls(Bowl):
        def evaluate(self, designs, rng=None):
            columns = super().evaluate(designs)
            return {**columns, "cost_j": columns["cost_j"] - 1}

    env_id, simulator = register(Stalls(), Objective(Minimize("cost_j"), reference={"cost_j": 4.0}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # rewards that are infinite hide no difference, as clipped ones do
        result = search(env_id, agent, budget=300, seed=0)
    assert result.samples == simulator.rows == 300 and not result.failures
    assert (result.history["reward"] == 10).sum() == (
        result.history["cost_j"] == 0
    ).sum() > 0 and result.best_metrics["cost_j"] == 0


def test_an_environment_in_place_of_its_id_is_refused_with_the_id(bowl):
    for env in (gymnasium.make(bowl[0]), gymnasium.make_vec(bowl[0], num_envs=2)):
        with pytest.raises(ArchGymError, match=f"expected an environment's id, .*pass its id, '{bowl[0]}'"):
            search(env, "random", budget=5)
    with pytest.raises(ArchGymError, match=r"expected an environment's id, .*got None"):
        search(None, "random", budget=5)


@pytest.mark.parametrize("declared", [None, {"rate": 0.1}, [Integer("a", 0, 1)]])
def test_hyperparameters_that_are_no_design_space_are_refused(bowl, declared):
    from archgym.testing import check_agent

    class Undeclared(Descending):
        hyperparameters = declared

    for call in (lambda: search(bowl[0], Undeclared, budget=5), lambda: check_agent(Undeclared)):
        with pytest.raises(
            ArchGymError, match=r"Undeclared.hyperparameters to be a DesignSpace.*write DesignSpace\("
        ):
            call()


def test_what_an_agent_prefers_is_checked_as_what_is_asked_for(bowl):
    class Two(Descending):
        preferred_num_envs = 2.0

    class NumPys(Descending):
        preferred_num_envs = np.int64(2)

    with pytest.raises(
        ArchGymError, match=r"expected Two.preferred_num_envs as a whole number >= 1, got 2.0"
    ):
        search(bowl[0], Two, budget=5)
    assert search(bowl[0], NumPys, budget=5).specification["num_envs"] == 2

    class Unversioned(Descending):
        version = None

    with pytest.raises(ArchGymError, match=r"expected Unversioned.version as a whole number"):
        search(bowl[0], Unversioned, budget=5)


def test_the_simulator_is_closed_after_the_result_and_also_when_the_agent_fails(register):
    class Closing(Bowl):
        closed = False

        def evaluate(self, designs, rng=None):
            assert not self.closed
            return super().evaluate(designs)

        def optimum(self, objective):
            return np.array([2, 2, 2, 0])

        def close(self):
            self.closed = True

    env_id, simulator = register(Closing())
    assert search(env_id, "random", budget=5).regret >= 0 and simulator.closed

    class Failing(Descending):
        def tell(self, indices, rewards, metrics, feasible):
            raise ZeroDivisionError

    env_id, simulator = register(Closing())
    with pytest.raises(ZeroDivisionError):
        search(env_id, Failing, budget=5)
    assert simulator.closed


def test_regret_and_percentile_are_those_of_brute_force():
    result = search(
        "archgym/NKLandscape-v0", "random", budget=30, seed=0, env_kwargs={"n": 6, "k": 2, "alleles": 3}
    )
    env = archgym.ArchEnv("archgym/NKLandscape-v0", n=6, k=2, alleles=3)
    every = np.concatenate(list(env.simulator.space.enumerate()))
    best = np.log(env.simulator.evaluate_indices(every)["fitness"] / 0.5).max()
    assert result.regret == pytest.approx(best - result.best_reward, abs=1e-12) and result.regret >= 0

    result = search("archgym/Softmax-v0", "random", budget=30, seed=0)
    env = archgym.ArchEnv("archgym/Softmax-v0")
    every = np.concatenate(list(env.simulator.space.enumerate()))
    every = np.unique(env.simulator.canonical(every), axis=0)
    columns = env.simulator.evaluate_indices(every)
    rewards = env.objective(columns, columns["feasible"])
    good = rewards.reward[rewards.valid]
    assert result.regret == pytest.approx(good.max() - result.best_reward)
    assert result.percentile == pytest.approx(100 * np.mean(good <= result.best_reward), abs=0.1)


class Measuring(Bowl):
    """Costs that differ from call to call."""

    deterministic = False

    def __init__(self):
        super().__init__()
        self.batches = []

    def evaluate(self, designs, rng=None):
        columns = super().evaluate(designs)
        self.batches.append(len(designs["x"]))
        noise = np.random.default_rng(len(self.batches)).uniform(1, 1.2, len(designs["x"]))
        return {**columns, "cost_j": columns["cost_j"] * noise}


def test_the_best_designs_of_a_measured_search_are_measured_again_together_and_uncounted(register):
    env_id, simulator = register(Measuring())
    result = search(env_id, "random", budget=60, seed=1, num_envs=20)
    assert result.samples == 60 and simulator.batches == [20, 20, 20, 5]
    rows = [incumbent.sample for incumbent in result.incumbents]
    designs = {(i.design["x"], i.design["size"], i.design["isa"]) for i in result.incumbents}
    assert len(rows) == len(designs) == 5  # `flag` has no effect: what differs in nothing else is one design
    ranked = np.argsort(-np.where(result.history["valid"], result.history["reward"], -np.inf), kind="stable")
    assert ranked[0] in rows
    for incumbent in result.incumbents:
        assert incumbent.reward == result.history["reward"][incumbent.sample]
        assert incumbent.metrics["cost_j"] == result.history["cost_j"][incumbent.sample]
        assert incumbent.remeasured_metrics["cost_j"] != incumbent.metrics["cost_j"]
    again = [incumbent.remeasured_reward for incumbent in result.incumbents if incumbent.valid]
    assert again == sorted(again, reverse=True)


def test_a_measured_search_without_a_valid_design_measures_nothing_again(register):
    env_id, simulator = register(Measuring(), Objective(Minimize("cost_j"), archgym.AtMost("area_mm2", 0.1)))
    assert search(env_id, "random", budget=10, num_envs=10).incumbents == ()
    assert simulator.batches == [10]


# --- what `tell` receives ---


class Counting(Descending):
    """Counts the valid designs that it is told."""

    valid = 0

    def tell(self, indices, rewards, metrics, feasible, valid=None):
        super().tell(indices, rewards, metrics, feasible)
        self.valid += int(valid.sum())


def test_tell_receives_the_valid_rows_where_it_takes_them(bowl):
    agent = Counting()
    result = search(bowl[0], agent, budget=72)  # the last 72 designs cover both sides of the limit
    assert 0 < agent.valid == result.history["valid"].sum() < result.history["feasible"].sum()
