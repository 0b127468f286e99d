"""Measured softmax kernels: the environment's second backend, what can go wrong on a user's machine, and
`softmax` on arrays.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from dataclasses import replace

import gymnasium
import numpy as np
import psutil
import pytest
from gymnasium.utils.env_checker import check_env
from scipy.special import softmax as scipy_softmax

import archgym
from archgym.errors import ArchGymError
from archgym.simulator import evaluate_safely
from archgym.simulator_wrappers.parallel import Isolated
from archgym.simulators.compiler import CompilerError
from archgym.simulators.softmax import (
    Calibration,
    MeasuredSoftmax,
    SoftmaxCostModel,
    best_design,
    function,
    softmax,
)
from archgym.simulators.softmax.machine import cpu, kernels, timing
from archgym.simulators.softmax.machine.cpu import instruction_sets, processors
from archgym.simulators.softmax.machine.kernels import Kernels, aligned, kernel_compiler

try:
    COMPILER = kernel_compiler().command[0]
except CompilerError as error:
    pytest.skip(f"no C compiler: {error}", allow_module_level=True)

SPACE = MeasuredSoftmax.space
DESIGN = {
    "algorithm": "two_pass",
    "isa": "scalar",
    "unroll": 1,
    "accumulators": 1,
    "prefetch": 0,
    "nontemporal": False,
    "tile": 256,
    "threads": 1,
}


def indices(*changes):
    """Designs [B, 8] as indices, each the plain one with changes."""
    designs = [{**DESIGN, **each} for each in changes]
    return SPACE.encode({name: np.array([design[name] for design in designs]) for name in SPACE.names})


@pytest.fixture
def compiler_script(tmp_path, monkeypatch):
    """Makes $CC a script: compiler_script("case ... esac") runs that first, then the real compiler."""

    def make(text):
        script = tmp_path / "cc"
        script.write_text(f'#!/bin/sh\n{text}\nexec {COMPILER} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IEXEC)
        monkeypatch.setenv("CC", str(script))
        monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "home"))

    return make


def when(option, action):
    return f'for word in "$@"; do if [ "$word" = "{option}" ]; then {action}; fi; done'


# --- the simulator ---


def test_a_measured_design_has_every_metric_of_the_model_and_what_is_known_of_the_measurement():
    simulator = MeasuredSoftmax(rows=2, cols=1000)
    columns = simulator.evaluate_indices(indices({}, {"algorithm": "three_pass_reload"}))
    assert {metric.name for metric in SoftmaxCostModel.metrics} < set(columns)
    assert columns["feasible"].all()
    np.testing.assert_allclose(columns["time_per_element_ns"], 1e9 * columns["time_s"] / 2000)
    np.testing.assert_allclose(
        columns["bandwidth_gb_s"], 1e-9 * columns["memory_traffic_bytes"] / columns["time_s"]
    )
    assert columns["memory_traffic_bytes"].tolist() == [4 * 2000 * 3, 4 * 2000 * 5]
    assert columns["passes"].tolist() == [2, 3]
    assert (
        (columns["time_s"] > 0).all()
        and (columns["noise"] >= 0).all()
        and (columns["relative_time"] > 0).all()
    )
    assert set(columns["unreliable"].tolist()) <= {0.0, 1.0}
    assert (columns["sum_error"] < 1e-5).all()
    assert [metric.name for metric in simulator.metrics if metric.report_only] == [
        "relative_time",
        "noise",
        "unreliable",
    ]


def test_what_cannot_be_run_here_is_infeasible_not_absent_and_not_a_failure(monkeypatch):
    monkeypatch.setattr(kernels, "instruction_sets", lambda: ("scalar",))
    monkeypatch.setattr(timing, "instruction_sets", lambda: ("scalar",))
    monkeypatch.setattr(kernels, "processors", lambda: processors()[:1])
    simulator = MeasuredSoftmax(cols=300)
    assert simulator.space.size == SoftmaxCostModel.space.size
    columns = simulator.evaluate_indices(
        indices({"isa": "avx512"}, {"isa": "avx2"}, {"accumulators": 2}, {"threads": 2}, {})
    )
    assert columns["feasible"].tolist() == [False, False, False, False, True]
    assert np.isnan(columns["time_s"][:4]).all()
    assert "failure" not in columns


def test_designs_that_are_the_same_thing_have_the_representatives_of_the_model():
    every = np.concatenate(list(SPACE.enumerate()))
    measured, model = MeasuredSoftmax(cols=2000), SoftmaxCostModel(cols=2000)
    np.testing.assert_array_equal(measured.canonical(every), model.canonical(every))


def test_results_of_another_machine_or_compiler_are_not_taken_for_this_ones(monkeypatch):
    simulator = MeasuredSoftmax(cols=300)
    here = simulator.specification
    simulator.compiler = replace(simulator.compiler, version="cc 99")
    assert simulator.specification != here
    monkeypatch.setattr("archgym.simulators.softmax.measured.processor", lambda: "another processor")
    assert MeasuredSoftmax(cols=300).specification != here


@pytest.mark.parametrize("arguments", [{"cols": 0}, {"rows": -1}, {"cols": 2.5}, {"cols": True}])
def test_a_workload_is_two_positive_integers(arguments):
    with pytest.raises(ArchGymError, match="as a whole number >= 1"):
        MeasuredSoftmax(**arguments)


# --- the environment and its searches ---


def test_the_environment_has_the_same_space_objective_and_observations_as_the_model():
    measured = gymnasium.make("archgym/Softmax-v0", backend="measured", cols=1000).unwrapped
    model = gymnasium.make("archgym/Softmax-v0", cols=1000).unwrapped
    assert measured.action_space == model.action_space
    assert measured.observation_space == model.observation_space
    assert measured.objective == model.objective
    assert not measured.simulator.deterministic
    measured.close()


def test_gymnasiums_check_accepts_the_environment():
    env = gymnasium.make("archgym/Softmax-v0", backend="measured", cols=500)
    # Gymnasium's own, since each of archgym's many designs would be compiled
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_a_search_measures_in_one_worker_and_its_best_designs_again(tmp_path):
    arguments = dict(
        budget=12,
        seed=3,
        num_envs=6,
        env_kwargs={"backend": "measured", "cols": 1000},
        cache=tmp_path / "cache.db",
    )
    result = archgym.search("archgym/Softmax-v0", "random", **arguments)
    assert result.samples == 12 and not result.failures
    assert 1 <= len(result.incumbents) <= 5
    assert result.incumbents[0].valid and result.incumbents[0].remeasured_metrics["time_s"] > 0
    rewards = [incumbent.remeasured_reward for incumbent in result.incumbents]
    assert rewards == sorted(rewards, reverse=True)
    assert max(incumbent.reward for incumbent in result.incumbents) == result.best_reward
    assert result.regret is None

    replayed = archgym.search("archgym/Softmax-v0", "random", **arguments)
    assert replayed.cache_hits == 12
    assert replayed.incumbents == result.incumbents
    for name, column in result.history.items():
        if name not in ("seconds", "cached"):
            np.testing.assert_array_equal(replayed.history[name], column)


def test_a_search_with_the_model_measures_nothing_again():
    assert archgym.search("archgym/Softmax-v0", "random", budget=5).incumbents == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "masured"}, "did you mean 'measured'"),
        ({"backend": "measured", "calibration": "xeon-2mb-l2"}, "goes with backend='model'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ArchGymError, match=message):
        gymnasium.make("archgym/Softmax-v0", **arguments)


# --- what can go wrong ---


def test_without_a_compiler_the_error_names_the_cost_model(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", str(tmp_path / "no-such-compiler"))
    with pytest.raises(ArchGymError, match="backend='model', needs none"):
        gymnasium.make("archgym/Softmax-v0", backend="measured")


def test_a_design_that_does_not_compile_fails_with_the_compilers_words_and_the_others_go_on(compiler_script):
    compiler_script(when("-DUNROLL=2", "echo 'error: out of registers' >&2; exit 1"))
    outcome = evaluate_safely(MeasuredSoftmax(cols=500), indices({}, {"unroll": 2}, {"unroll": 4}))
    assert outcome.feasible.tolist() == [True, False, True]
    assert list(outcome.failures) == [1] and "out of registers" in outcome.failures[1]


def test_a_compiler_that_hangs_costs_its_time_out_and_the_search_goes_on(compiler_script):
    compiler_script(when("-DUNROLL=2", "sleep 1000"))
    simulator = MeasuredSoftmax(cols=500)
    simulator.compiler = replace(simulator.compiler, timeout_s=2.0)
    outcome = evaluate_safely(simulator, indices({}, {"unroll": 2}))
    assert outcome.feasible.tolist() == [True, False]
    assert "killed after 2 s" in outcome.failures[1]
    assert not [p for p in psutil.Process().children(recursive=True) if "1000" in p.cmdline()]


@pytest.mark.parametrize(
    ("crash", "words"),
    [("__builtin_trap();", "SIGILL"), ("raise(SIGSEGV);", "SIGSEGV"), ("for (;;) pause();", "timed out")],
)
def test_a_kernel_that_crashes_or_hangs_costs_its_sample_and_the_search_goes_on(
    compiler_script, tmp_path, crash, words
):
    header = tmp_path / "crash.h"
    header.write_text(
        "#include <signal.h>\n#include <unistd.h>\nstatic void __attribute__((constructor)) crash(void) { "
        + crash
        + " }\n"
    )
    compiler_script(when("-DUNROLL=2", f'exec {COMPILER} -include {header} "$@"'))
    # compiled before anything is timed out
    evaluate_safely(MeasuredSoftmax(cols=500), indices({}, {"unroll": 4}))
    simulator = Isolated(
        MeasuredSoftmax(cols=500), timeout_s=2.0 if words == "timed out" else 4.0, rows_at_once=8
    )
    try:
        outcome = evaluate_safely(simulator, indices({}, {"unroll": 2}, {"unroll": 4}))
        assert outcome.feasible.tolist() == [True, False, True]
        assert words in outcome.failures[1]
    finally:
        simulator.close()


def test_a_kernel_that_computes_something_else_is_not_timed(compiler_script, tmp_path):
    header = tmp_path / "wrong.h"
    header.write_text("#include <math.h>\n#define exp(x) exp(0.9 * (x))\n")
    compiler_script(when("-DALGORITHM_TILED_RELOAD", f'exec {COMPILER} -include {header} "$@"'))
    outcome = evaluate_safely(MeasuredSoftmax(cols=5000), indices({"algorithm": "tiled_reload"}, {}))
    assert outcome.feasible.tolist() == [False, True]
    assert "wrong results" in outcome.failures[0]


def test_a_worker_that_is_killed_is_replaced_and_the_search_ends():
    killed = threading.Event()

    def kill_a_worker():
        deadline = time.monotonic() + 60
        while not killed.is_set() and time.monotonic() < deadline:
            for child in psutil.Process().children():
                if "spawn_main" in " ".join(child.cmdline()):
                    os.kill(child.pid, signal.SIGKILL)
                    killed.set()
            time.sleep(0.2)

    search = archgym.Search(
        "archgym/Softmax-v0",
        "random",
        budget=16,
        num_envs=8,
        env_kwargs={"backend": "measured", "cols": 1000},
    )
    killer = threading.Thread(target=kill_a_worker)
    search.env.reset()
    search.env.step(np.zeros((8, 8), np.int64))  # the worker is there
    killer.start()
    killer.join()
    search.ledger.budget = 24
    result = search.run()
    assert killed.is_set() and result.samples == 24 and not result.failures


def test_a_folder_that_cannot_be_written_is_said_and_the_search_goes_on(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARCHGYM_HOME", str(tmp_path / "file" / "home"))
    with pytest.warns(UserWarning, match="cannot write to .* set ARCHGYM_HOME"):
        simulator = MeasuredSoftmax(cols=500)
    assert simulator.evaluate_indices(indices({}))["feasible"].all()


# --- timing ---


def test_designs_are_measured_beside_the_reference_which_is_one_of_them():
    work = Kernels(kernel_compiler())
    reference = timing.reference_design()
    x, y = aligned((1, 4096)), aligned((1, 4096))
    x[:], y[:] = np.random.default_rng(0).standard_normal((1, 4096)), 0
    measured = timing.Timer(work, x, y, np.random.default_rng(0)).measure([reference, {**DESIGN}])
    assert (
        measured.seconds.shape
        == measured.noise.shape
        == measured.ratio.shape
        == measured.unreliable.shape
        == (2,)
    )
    assert (measured.seconds > 0).all() and (measured.noise >= 0).all()
    assert measured.ratio[1] / measured.ratio[0] == pytest.approx(measured.seconds[1] / measured.seconds[0])


def test_when_the_whole_machine_has_become_slow_nothing_is_reliable():
    work = Kernels(kernel_compiler())
    x, y = aligned((1, 4096)), aligned((1, 4096))
    x[:], y[:] = 0, 0
    work.build([kernels.Kernel.from_design(DESIGN)])
    timer = timing.Timer(work, x, y, np.random.default_rng(0))
    timer.fastest_reference_s = 1e-9  # it once was much faster
    assert timer.measure([DESIGN]).unreliable.all()


def test_a_thread_may_use_all_its_processors_again_after_a_measurement():
    before = processors()
    MeasuredSoftmax(cols=500).evaluate_indices(indices({}))
    assert processors() == before


@pytest.mark.parametrize(
    ("seconds", "wall", "switches", "unreliable"),
    [
        ([1.0, 1.01, 1.02], [1.0, 1.0, 1.0], [0, 0, 0], False),
        ([1.0, 1.2, 1.3], [1.0, 1.2, 1.3], [0, 0, 0], True),  # noisy
        ([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1, 2, 0], True),  # taken off its processor most of the time
        ([1.0, 1.0, 1.0], [1.0, 1.8, 1.6], [0, 0, 0], True),  # waiting most of the time
        ([1.0, 1.0, 1.0], [1.0, 1.8, 1.0], [0, 0, 1], True),
        ([1.0, 1.0, 1.0], [1.0, 1.8, 1.0], [0, 0, 0], False),
    ],
)
def test_what_makes_a_measurement_unreliable(seconds, wall, switches, unreliable):
    timings = [kernels.Timing(*each) for each in zip(seconds, wall, switches, strict=True)]
    assert timing._unreliable(timings) is unreliable


# --- softmax(x) ---


@pytest.mark.parametrize("shape", [(7,), (1,), (3, 1000), (2, 3, 5), (1, 70000)])
def test_softmax_is_scipys(shape):
    x = (4 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    before = x.copy()
    y = softmax(x)
    assert y.dtype == np.float32 and y.shape == shape
    np.testing.assert_allclose(y, scipy_softmax(x.astype(float), axis=-1), rtol=3e-5, atol=1e-30)
    np.testing.assert_array_equal(x, before)


def test_softmax_takes_a_searchs_best_design_and_any_order_of_memory():
    x = np.asfortranarray(np.random.default_rng(0).standard_normal((50, 300)).astype(np.float32))
    result = archgym.search("archgym/Softmax-v0", "random", budget=20, env_kwargs={"rows": 50, "cols": 300})
    design = result.best_design | {"isa": "scalar"}
    np.testing.assert_allclose(softmax(x, design), scipy_softmax(x, axis=-1), rtol=3e-5)
    np.testing.assert_allclose(softmax(x[::2, ::3], design), scipy_softmax(x[::2, ::3], axis=-1), rtol=3e-5)


def test_softmax_writes_where_it_is_told_also_in_place():
    x = np.random.default_rng(0).standard_normal((4, 100)).astype(np.float32)
    expected, out = scipy_softmax(x, axis=-1), np.empty_like(x)
    assert softmax(x, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=3e-5)
    assert softmax(x, out=x) is x
    np.testing.assert_allclose(x, expected, rtol=3e-5)
    with pytest.raises(ArchGymError, match="out must be"):
        softmax(x, out=np.empty((4, 100)))


def test_softmax_of_no_rows_is_empty_and_of_empty_rows_refused():
    assert softmax(np.empty((0, 5), np.float32)).shape == (0, 5)
    for shape in ((0,), (3, 0), ()):
        with pytest.raises(ArchGymError, match="at least one element"):
            softmax(np.empty(shape, np.float32))


@pytest.mark.parametrize(
    ("x", "design", "message"),
    [
        (np.zeros(3), None, "works on float32, not float64"),
        ([1, 2, 3], None, "works on float32"),
        (np.zeros(3, np.float32), {**DESIGN, "unroll": 3}, "unroll"),
        (
            np.zeros(3, np.float32),
            {**DESIGN, "accumulators": 8},
            r"accumulators \(8\) must not exceed unroll \(1\)",
        ),
        (np.zeros(3, np.float32), {"algorithm": "online"}, "isa"),
    ],
)
def test_softmax_refuses_what_it_cannot_do(x, design, message):
    with pytest.raises(ArchGymError, match=message):
        softmax(x, design)


def test_the_default_design_can_run_here_and_is_accurate():
    design = best_design(1, 65536)
    assert design["isa"] in instruction_sets() and design["threads"] <= len(processors())
    columns = SoftmaxCostModel(1, 65536).evaluate({name: [value] for name, value in design.items()})
    assert columns["sum_error"][0] <= function.TOLERANCE


def test_this_machines_calibration_is_asked_for_by_name_and_its_absence_says_what_to_do():
    assert not Calibration.host().exists()
    with pytest.raises(ArchGymError, match="archgym calibrate softmax"):
        gymnasium.make("archgym/Softmax-v0", calibration="host")


def test_a_processor_that_says_nothing_has_scalar_code(monkeypatch):
    monkeypatch.setattr(cpu, "flags", frozenset)
    assert instruction_sets() == ("scalar",)
