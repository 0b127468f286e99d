"""An environment of a service is the served one: same spaces, same rows, same end, and nothing beside."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check_env

import archgym
import archgym.remote
from archgym import ArchGymError, BudgetExhausted, Categorical, DesignSpace, Integer, Metric, Real, Simulator
from archgym.evaluator import measure_again
from archgym.optimum import known_optimum, to_enumerate
from archgym.pareto import exact_front
from archgym.study.design import Study
from archgym.study.run import execute
from archgym.testing import check_env

pytest_plugins = ["remote_fixtures"]

ID = "archgym.remote:archgym/Remote-v0"


class Reals(Simulator):
    """Real, integer and mixed parameters, conditions, failures with a reason."""

    space = DesignSpace(
        [
            Real("rate", 1e-4, 1.0, log=True, levels=37),
            Real("share", -0.3, 0.7, levels=11),
            Integer("depth", -4, 11, step=3),
            Categorical("kind", ["a", None, 2, 0.1, True]),
            Real("inner", 0.1, 0.3, levels=7, default=0.2, when={"kind": ["a", 0.1], "depth": [-4, 2]}),
        ]
    )
    metrics = (Metric("error", "1", "lower"), Metric("size_b", "B", "lower"))
    default_objective = archgym.Objective(
        archgym.Minimize("error"), archgym.AtMost("size_b", 3e5), reference={"error": 0.3}
    )

    def evaluate(self, designs, rng=None):
        error = np.abs(np.log(designs["rate"]) + 3.1) * np.exp(designs["share"]) + 0.1 * designs["inner"]
        too_large = (designs["share"] > 0.6) & (designs["depth"] > 5)
        return {
            "error": np.where(designs["share"] < -0.25, np.nan, error / 3),
            "size_b": 1e5 * (designs["depth"] + 5.1) / 7,
            "feasible": np.ones(len(error), bool),
            "failure": np.where(too_large, "does not fit", ""),
        }


def compare(remote, local):
    """Equal histories, bit for bit, but for what takes time here."""
    apart = {"seconds", "secret", "test_accuracy"}  # report-only metrics stay with the service
    apart |= {"cost"} if local.cost_unit != "samples" else set()
    shared = set(local.history) - apart
    assert set(remote.history) - {"seconds", "cost"} == shared - {"cost"}
    for name in sorted(shared):
        np.testing.assert_array_equal(remote.history[name], local.history[name], err_msg=name)
    assert remote.failures == local.failures and remote.best_design == local.best_design


@pytest.mark.parametrize(
    ("env", "agent", "arguments"),
    [
        ("archgym/LogicSynthesis-v0", "genetic", {}),
        ("archgym/Accelerator-v0", "annealing", {"workload": "mobilenet_v2"}),
        ("archgym/PlainCnn-v0", "local_search", {}),
        ("archgym/SoC-v0", "random", {}),
        (Reals, "tpe", {}),
    ],
)
def test_a_search_over_the_wire_has_the_rows_of_a_local_one(real, register, env, agent, arguments):
    env = register(env)[0] if env is Reals else env
    served = real(env, budget=60, arguments=arguments)
    remote = archgym.search(ID, agent, budget=60, seed=3, env_kwargs={"url": served.url})
    local = archgym.search(env, agent, budget=60, seed=3, env_kwargs=arguments)
    compare(remote, local)
    (history,) = served.histories()
    assert len(history["sample"]) == 60 and history["reward"] == local.history["reward"].tolist()
    assert history["valid"] == local.history["valid"].tolist()
    assert remote.optimum is None and remote.bound is None


def test_stable_baselines_learns_on_it_as_on_the_local_one(real):
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    served = real("archgym/NKLandscape-v0", arguments={"n": 4, "k": 0})
    rewards = []
    for env in (
        archgym.remote.make(served.url),
        gymnasium.make("archgym/NKLandscape-v0", n=4, k=0),
    ):
        model = stable_baselines3.PPO("MlpPolicy", env, n_steps=32, batch_size=32, learning_rate=0.02, seed=0)
        model.learn(256)
        ledger = env.unwrapped.ledger
        rewards.append(ledger.column("reward").copy())
        assert ledger.samples == 256
        assert rewards[-1][-64:].mean() > rewards[-1][:64].mean() + 0.2  # of random designs
    np.testing.assert_array_equal(*rewards)


def test_our_ppo_beats_random_designs_over_the_wire(real):
    served = real("archgym/NKLandscape-v0", budget=600, arguments={"n": 6, "k": 0})
    found = {
        agent: archgym.search(ID, agent, budget=600, seed=0, env_kwargs={"url": served.url})
        for agent in ("ppo", "random")
    }
    assert found["ppo"].history["reward"][-150:].mean() > found["random"].history["reward"].mean() + 0.1
    local = archgym.search("archgym/NKLandscape-v0", "ppo", budget=600, seed=0, env_kwargs={"n": 6, "k": 0})
    compare(found["ppo"], local)


@pytest.mark.filterwarnings("ignore:.*We recommend you to use a symmetric.*")
@pytest.mark.parametrize("horizon", [1, 3])
def test_both_checkers_pass(real, bowl, horizon):
    served = real(bowl[0], arguments={"horizon": horizon})
    env = archgym.remote.make(served.url)
    assert env.unwrapped.evaluator.horizon == horizon
    gymnasium_check_env(env.unwrapped, skip_render_check=True)
    check_env(env)
    check_env(ID, url=served.url)


@pytest.mark.parametrize("width", [1, 7])
def test_the_budget_ends_at_the_same_sample(real, bowl, width):
    served = real(bowl[0], budget=25)
    envs = archgym.remote.make_vec(served.url, width)
    local = gymnasium.make_vec(bowl[0], num_envs=width)
    local.unwrapped.ledger.budget = 25
    for each in (envs, local):
        each.reset(seed=0)
        each.action_space.seed(0)
        with pytest.raises(BudgetExhausted):
            while True:
                each.step(each.action_space.sample())
    ledger = envs.unwrapped.ledger
    assert ledger.samples == local.unwrapped.ledger.samples == 25
    np.testing.assert_array_equal(ledger.column("reward"), local.unwrapped.ledger.column("reward"))
    assert len(served.histories()[0]["sample"]) == 25
    ledger.budget = None  # the service keeps its own
    with pytest.raises(BudgetExhausted, match="allows 0 more samples"):
        envs.step(envs.action_space.sample())
    with pytest.raises(ArchGymError, match=r"at most 25 samples.* got 26; lower it"):
        archgym.search(ID, "random", budget=26, env_kwargs={"url": served.url})


def test_looking_takes_no_sample_and_no_session(lossy, bowl):
    service = lossy(bowl[0])
    env = archgym.remote.make(service.url)
    evaluator, simulator = env.unwrapped.evaluator, env.unwrapped.simulator
    env.reset(seed=0)
    assert known_optimum(simulator, evaluator.objective) is None
    assert to_enumerate(simulator, evaluator.objective) is None
    assert evaluator.reference_cost == 1
    design = np.zeros((1, 4), np.int64)
    for act in (
        lambda: archgym.find_optimum(simulator, evaluator.objective),
        lambda: archgym.find_optimum(archgym.Cached(simulator), evaluator.objective),
        lambda: exact_front(simulator, evaluator.objective, simulator.metrics[:2]),
        lambda: archgym.Tabulated(simulator),
        lambda: env.unwrapped.score(design),
        lambda: env.step(np.array([99, 0, 0, 0])),
    ):
        with pytest.raises(ArchGymError):
            act()
    copy.deepcopy(env.unwrapped.evaluator.simulator)
    assert not service.served.histories() and service.samples == 0
    env.step(design[0])
    assert measure_again(evaluator) == ()
    assert len(service.served.histories()) == service.samples == 1


def test_a_measured_task_is_not_measured_again(lossy, register):
    class Measured(Reals):
        deterministic = False

    env, _ = register(Measured)
    service = lossy(env)
    result = archgym.search(ID, "random", budget=9, env_kwargs={"url": service.url})
    assert service.samples == 9 and result.incumbents == ()


def test_lost_answers_and_refused_requests_count_once(lossy, bowl):
    service = lossy(bowl[0], budget=40, max_batch=4)
    service.faults = ["lose", "drop", None, "refuse", "lose", "lose", None, "limit"]
    remote = archgym.search(
        ID, "genetic", budget=40, seed=1, env_kwargs={"url": service.url, "timeout_s": 20.0}
    )
    compare(remote, archgym.search(bowl[0], "genetic", budget=40, seed=1))
    assert service.samples == 40 and not service.faults
    sent = [headers["Idempotency-Key"] for _, path, headers in service.requests if path.endswith("evaluate")]
    assert len(sent) == 10 + 6 and len(set(sent)) == 10  # batches of at most four: of 16, 16 and 8


def test_a_restart_of_the_service_is_bridged(real, bowl, tmp_path):
    folder = tmp_path / "kept"
    first = real(bowl[0], budget=20, folder=folder)
    env = archgym.remote.make(first.url, timeout_s=30.0)
    env.action_space.seed(0)

    def play(n):
        for _ in range(n):
            env.reset()
            env.step(env.action_space.sample())

    play(10)
    first.stop()
    second = real(bowl[0], budget=20, folder=folder, port=first.port)
    play(10)
    assert second.histories()[0]["reward"] == env.unwrapped.ledger.column("reward").tolist()


def test_a_session_goes_on_elsewhere_with_its_ticket_alone(real, bowl):
    served = real(bowl[0], budget=20)
    env = archgym.remote.make_vec(served.url, 8)
    env.reset()
    env.step(env.action_space.sample())
    ticket = archgym.remote.ticket(env)
    again = archgym.remote.make(served.url, **ticket)
    assert again.unwrapped.ledger.budget == 12
    again.reset()
    again.step(again.action_space.sample())
    assert len(served.histories()) == 1 and len(served.histories()[0]["sample"]) == 9
    with pytest.raises(ArchGymError, match="pass session= and session_token="):
        archgym.remote.make(served.url, session=ticket["session"])
    with pytest.raises(ArchGymError, match="HTTP 404"):
        archgym.remote.make(served.url, session="other", session_token="wrong")
    other = "import pickle, sys, archgym; simulator = pickle.loads(sys.stdin.buffer.read())\n"
    other += (
        "simulator.evaluate_indices(simulator.space.sample(1, __import__('numpy').random.default_rng(0)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", other], input=pickle.dumps(env.unwrapped.simulator), capture_output=True
    )
    assert b"ServiceError: expected the token of session" in ended.stderr


def test_a_token_is_in_nothing_that_is_kept_or_told(real, bowl, monkeypatch):
    secret = "open-sesame-0123456789"
    served = real(bowl[0], budget=30, token=secret)
    with pytest.raises(ArchGymError, match=r"401.*pass token=.*or set ARCHGYM_TOKEN"):
        archgym.remote.make(served.url)
    env = archgym.remote.make(served.url, token=secret)
    env.reset()
    env.step(env.action_space.sample())
    ticket = archgym.remote.ticket(env)
    result = archgym.search(ID, "random", budget=5, env_kwargs={"url": served.url})
    simulator = env.unwrapped.simulator
    kept = [
        pickle.dumps(simulator),
        pickle.dumps(result),
        json.dumps(result.specification).encode(),
        json.dumps(env.unwrapped.evaluator.specification()).encode(),
        env.unwrapped.spec.to_json().encode(),
        repr(vars(simulator)).encode(),
    ]
    assert not [each for each in kept if secret.encode() in each or ticket["session_token"].encode() in each]
    for name in ("token", "session_token"):
        for make in (
            lambda name=name: gymnasium.make(ID, url=served.url, **{name: secret}),
            lambda name=name: archgym.search(
                ID, "random", budget=5, env_kwargs={"url": served.url, name: secret}
            ),
        ):
            with pytest.raises(ArchGymError, match="no token among the environment's arguments") as error:
                make()
            assert secret not in repr(error.value)
    with pytest.raises(ArchGymError) as error:
        archgym.remote.make(f"http://me:{secret}@127.0.0.1:1")
    assert secret not in str(error.value)


def test_a_token_comes_from_the_environment_and_goes_nowhere_else(lossy, bowl, monkeypatch):
    monkeypatch.setenv("ARCHGYM_TOKEN", "from-the-variable")
    service = lossy(bowl[0])
    archgym.remote.make(service.url)
    assert service.requests[-1][2]["Authorization"] == "Bearer from-the-variable"
    service.answers["/task"] = (403, b'{"error": "no from-the-variable\\nhere\\u001b[2J"}')
    with pytest.raises(ArchGymError) as error:
        archgym.remote.make(service.url)
    assert "from-the-variable" not in str(error.value) and "\n" not in str(error.value)
    assert "got HTTP 403: no *** here\\x1b[2J" in str(error.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, b"<html>"), "HTTP 200: 6 bytes that are no answer of archgym; check the address"),
        ((302, b""), "HTTP 302"),
        ((200, b"[]"), "no answer of archgym"),
        ((200, b"{}"), "expected the task of an archgym service"),
        ((200, b'{"format": 2}'), "install the service's archgym"),
        ((500, b'{"error": "the server failed"}'), "HTTP 500: the server failed"),
    ],
)
def test_another_answer_is_one_line_that_says_what_to_do(lossy, bowl, answer, message):
    service = lossy(bowl[0])
    service.answers["/task"] = answer
    with pytest.raises(archgym.SimulatorUnavailable) as error:
        archgym.remote.make(service.url)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_redirection_is_not_followed_with_the_token(lossy, bowl, monkeypatch):
    monkeypatch.setenv("ARCHGYM_TOKEN", "from-the-variable")
    here, elsewhere = lossy(bowl[0]), lossy(bowl[0])
    here.answers["/task"], here.headers["Location"] = (307, b""), f"{elsewhere.url}/task"
    with pytest.raises(archgym.SimulatorUnavailable, match="HTTP 307"):
        archgym.remote.make(here.url)
    assert not elsewhere.requests


def test_a_service_cannot_make_the_client_import_what_it_likes(lossy, bowl):
    service = lossy(bowl[0])
    told = service.served.task.describe()
    told["space"]["parameters"][2]["values"][0] = {"$": "enum", "class": "antigravity:X", "of": "A"}
    service.answers["/task"] = (200, json.dumps(told).encode())
    with pytest.raises(ArchGymError, match="got one of kind 'enum'"):
        archgym.remote.make(service.url)
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("place", ["parameters", "metrics"])
def test_a_service_cannot_send_names_that_control_a_terminal(lossy, bowl, place):
    service = lossy(bowl[0])
    told = service.served.task.describe()
    (told["space"] if place == "parameters" else told)[place][0]["name"] = "x\x1b[2J"
    service.answers["/task"] = (200, json.dumps(told).encode())
    with pytest.raises(ArchGymError, match="expected printable names") as error:
        archgym.remote.make(service.url)
    assert "\x1b" not in str(error.value)


def test_an_absent_service_ends_a_search_and_fails_no_design(lossy, bowl):
    with pytest.raises(archgym.SimulatorUnavailable, match=r"within 0.2 s, got no connection.*check that"):
        archgym.remote.make("http://127.0.0.1:9", timeout_s=0.2)
    service = lossy(bowl[0])
    service.faults = [None, *["drop"] * 50]
    with pytest.raises(archgym.SimulatorUnavailable) as error:
        archgym.search(
            ID, "random", budget=40, num_envs=10, env_kwargs={"url": service.url, "timeout_s": 0.2}
        )
    assert error.value.partial.samples == 10 and not error.value.partial.failures
    service.faults = []
    for told in (b"{}", b'{"left": null, "feasible": [true], "metrics": {"cost_j": [1], "area_mm2": [1]}}'):
        env = archgym.remote.make_vec(service.url, 2)
        service.answers[f"/sessions/{archgym.remote.ticket(env)['session']}/evaluate"] = (200, told)
        env.reset()
        with pytest.raises(archgym.SimulatorUnavailable, match="expected metrics of 2 designs"):
            env.step(env.action_space.sample())
        assert env.unwrapped.ledger.samples == 0


@pytest.mark.parametrize(
    "url", ["", None, "localhost:8000", "ftp://host", "http://", "http://a:b", "http://h/?q"]
)
def test_another_address_is_refused(url):
    with pytest.raises(ArchGymError, match=r"expected (url as the|an) address"):
        archgym.remote.make(url)


def test_contexts_and_seeds_go_to_the_session(real):
    served = real("archgym/NKLandscape-v0", arguments={"n": 5, "contexts": {"seed": [1, 2]}})
    with pytest.raises(ArchGymError, match="pass context=, one of"):
        archgym.remote.make(served.url)
    with pytest.raises(ArchGymError, match="unknown context 'seed=3'"):
        archgym.remote.make(served.url, context="seed=3")
    given = {
        "url": served.url,
        "context": "seed=2",
        "seed": 7,
        "agent": "mine",
        "hyperparameters": {"x": [1]},
    }
    remote = archgym.search(ID, "random", budget=10, seed=0, env_kwargs=given)
    compare(
        remote, archgym.search("archgym/NKLandscape-v0", "random", budget=10, env_kwargs={"n": 5, "seed": 2})
    )
    with pytest.raises(ArchGymError, match=r"HTTP 409.*leave the seed out"):
        archgym.search(ID, "random", budget=10, seed=0, env_kwargs=given)
    assert remote.specification["env"]["simulator"]["task"]["context"] == "seed=2"


def test_studies_and_commands_take_it(real, bowl, program, tmp_path):
    served = real(bowl[0], budget=12)
    text = f"""
[study]
name = "remote"
budget = 12
[[env]]
id = "{ID}"
kwargs = {{ url = "{served.url}" }}
[[agent]]
name = "random"
seeds = 2
"""
    runs = list(Study(text).runs())
    for run in runs:
        _, result = execute(run.specification)
        assert result["status"] == "done" and result["samples"] == 12
    local = archgym.search(bowl[0], "random", budget=12, seed=1)
    assert served.histories()[1]["reward"] == local.history["reward"].tolist()
    out = tmp_path / "search.parquet"
    ended = program("search", ID, "random", "--budget", 12, "--set", f"url={served.url}", "--out", out)
    assert ended.returncode == 0, ended.stderr
    assert len(served.histories()) == 3 and out.exists()
    described = program("describe", ID, "--set", f"url={served.url}")
    assert described.returncode == 0 and "isa" in described.stdout, described.stderr
    assert len(served.histories()) == 3
