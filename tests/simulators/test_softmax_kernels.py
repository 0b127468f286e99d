"""Every softmax kernel against SciPy in float64: rows of any length at any address, and every kind of number
in them.

180 libraries: all algorithms, instruction sets, unrolls and accumulators, with prefetching and non-temporal
stores in turn. ARCHGYM_TEST_ALL_KERNELS=1 takes the whole product, 1080 libraries.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import product

import numpy as np
import pytest
import scipy.special

from archgym.errors import ArchGymError
from archgym.simulators.compiler import CompilerError
from archgym.simulators.softmax import SoftmaxCostModel
from archgym.simulators.softmax.machine import kernels as module
from archgym.simulators.softmax.machine.cpu import instruction_sets
from archgym.simulators.softmax.machine.kernels import (
    LANES,
    Kernel,
    Kernels,
    kernel_compiler,
    why_unsupported,
)
from archgym.simulators.softmax.model import ALGORITHMS

ALL = os.environ.get("ARCHGYM_TEST_ALL_KERNELS") == "1"
UNROLLED = [
    (unroll, accumulators)
    for unroll, accumulators in product([1, 2, 4, 8], repeat=2)
    if accumulators <= unroll
]
STORED = list(product([0, 256, 1024], [False, True]))  # prefetch, nontemporal
LOOPS = list(product(ALGORITHMS, instruction_sets(), UNROLLED))
TILE = 256  # floats, the smallest: rows of several tiles stay short
GUARD = np.float32(-1.0)  # around what kernels may write
LARGEST = np.finfo(np.float32).max


def designs_of(algorithm, isa, unrolled):
    """One design, or all six, per loop; the ten loops of an algorithm and an instruction set see every way
    to store.
    """
    unroll, accumulators = unrolled
    turn = UNROLLED.index(unrolled) + list(ALGORITHMS).index(algorithm)
    return [
        {
            "algorithm": algorithm,
            "isa": isa,
            "unroll": unroll,
            "accumulators": accumulators,
            "prefetch": prefetch,
            "nontemporal": nontemporal,
            "tile": TILE,
            "threads": 1,
        }
        for prefetch, nontemporal in (STORED if ALL else [STORED[turn % len(STORED)]])
    ]


DESIGN = designs_of("two_pass", "scalar", (4, 2))[0]


@pytest.fixture(scope="module")
def kernels(compiled):
    try:
        return Kernels(kernel_compiler(compiled))
    except CompilerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=LOOPS, ids=lambda loop: "{}-{}-{}-{}".format(*loop[:2], *loop[2]))
def designs(request, kernels):
    """The designs of one loop, compiled."""
    designs = designs_of(*request.param)
    assert kernels.build([Kernel.from_design(design) for design in designs]) == {}
    return designs


@pytest.fixture(scope="module")
def design(designs):
    return designs[0]


# --- inputs, made once for all kernels of a shape, and what their softmax is ---


def softmax(x):
    """float64 [..., cols]"""
    with np.errstate(all="ignore"):
        return scipy.special.softmax(x.astype(np.float64), axis=-1)


def normal(*shape, seed=0, scale=4.0):
    return np.random.default_rng([seed, *shape]).normal(0, scale, shape).astype(np.float32)


def step_of(design):
    """Elements of one step of a kernel's loop."""
    return design["unroll"] * LANES[design["isa"]]


def lengths(step):
    """Rows without a whole step, of whole steps, with a rest, and of several tiles."""
    return sorted({1, 2, step, step + 1, 3 * step - 1, 3 * TILE + 5})


@cache
def table(rows_of, *arguments):
    """Inputs float32 [rows, cols] and their softmax."""
    x = np.array(rows_of(*arguments), np.float32)
    return x, softmax(x)


def check(kernels, design, x, expected):
    """The softmax of x [rows, cols] is as expected, and nothing is written around it. Returns it."""
    margin = 21  # not a multiple of any vector
    room = np.full(x.size + 2 * margin, GUARD)
    y = room[margin:-margin].reshape(x.shape)
    kernels.run(design, x, y)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-37, err_msg=str(design))
    assert (room[:margin] == GUARD).all() and (room[-margin:] == GUARD).all(), design
    return y


def aligned(size):
    """float32 [size] that begins a cache line."""
    room = np.empty(size + 16, np.float32)
    start = -room.ctypes.data % 64 // 4
    return room[start : start + size]


@cache
def scattered_rows(step):
    """Rows of every length up to two steps, and of some tiles, each at two pairs of addresses; NaN lies
    between those of x.

    Returns a buffer with the rows of x, what a buffer of y then holds, and where each row begins in both:
    [(x, y, length)].
    """
    every = [*range(1, 2 * step + 1), TILE - 1, TILE, TILE + 1, 2 * TILE, 3 * TILE + 5]
    offsets = (
        [(n, 0, 0) for n in every]
        + [(n, n % 16, 11 * n % 16) for n in every]
        + [(step + 40, 1, i) for i in range(16)]
    )
    blocks = [(n + 48) // 16 * 16 for n, _, _ in offsets]
    starts = np.cumsum([16, *blocks])
    places = [(start + i, start + j, n) for start, (n, i, j) in zip(starts, offsets, strict=False)]
    x, expected = aligned(starts[-1] + 16), np.full(starts[-1] + 16, float(GUARD))
    x[:] = np.nan
    for i, j, n in places:
        x[i : i + n] = normal(n, seed=i)
        expected[j : j + n] = softmax(x[i : i + n])
    return x, expected, places


def test_rows_of_every_length_at_every_address(kernels, designs):
    x, expected, places = scattered_rows(step_of(designs[0]))
    y = aligned(len(x))
    for design in designs:
        y[:] = GUARD
        for i, j, n in places:
            kernels.run(design, x[None, i : i + n], y[None, j : j + n])
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-37, err_msg=str(design))


def test_the_output_may_be_the_input(kernels, designs):
    for design, cols in product(designs, lengths(step_of(designs[0]))):
        x, expected = table(normal, 3, cols)
        y = x.copy()
        kernels.run(design, y, y)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-37, err_msg=str(design))


def with_minus_infinity(cols, width, unroll, accumulators):
    """Rows with -inf among the rest, in all but one place, in a first vector, tile or half, in or beside
    the first accumulator; nowhere.
    """
    place = np.arange(cols)
    lane = place // width % unroll % accumulators
    masks = [
        *(np.random.default_rng(cols).random((3, cols)) < [[0.1], [0.5], [0.9]]),
        *(place != i for i in {0, cols // 2, cols - 1}),
        *(place < n for n in (1, width, width * unroll, TILE, TILE + 1, 2 * TILE, cols // 2)),
        *(place >= n for n in (1, width, width * unroll, TILE, cols // 2, cols - cols % (width * unroll))),
        *(place % width == i for i in (0, width - 1)),
        *(place // TILE == i for i in (1, 2)),
        *((lane == 0), (lane != 0), (place % 2 == 0), (place < 0)),
    ]
    return np.where([mask for mask in masks if not mask.all()], -np.inf, normal(cols))


def test_minus_infinity_has_no_probability(kernels, designs):
    for design, cols in product(designs, lengths(step_of(designs[0]))):
        x, expected = table(
            with_minus_infinity, cols, LANES[design["isa"]], design["unroll"], design["accumulators"]
        )
        assert np.isfinite(expected).all()
        assert (check(kernels, design, x, expected)[x == -np.inf] == 0).all(), design


def with_nothing_to_divide_by(cols):
    """Rows with one NaN or +inf, first, in the middle or last; of nothing but an infinity; every other row
    is sound.
    """
    rows = normal(23, cols)
    for row, (value, place) in zip(
        rows[::2], product([np.nan, np.inf, -np.nan], [0, cols // 2, cols - 1]), strict=False
    ):
        row[place] = value
    rows[18:23:2] = [[-np.inf], [np.inf], [np.nan]]
    rows[22, : cols // 2] = -np.inf
    return rows


def test_nan_and_plus_infinity_spoil_their_row_and_no_other_and_so_does_nothing_but_minus_infinity(
    kernels, designs
):
    for design, cols in product(designs, lengths(step_of(designs[0]))):
        x, expected = table(with_nothing_to_divide_by, cols)
        assert np.isnan(expected[::2]).all() and np.isfinite(expected[1::2]).all()
        check(kernels, design, x, expected)


def all_equal(cols):
    return np.repeat(
        [[0.0], [1.0], [1e4], [-1e4], [3e38], [-3e38], [LARGEST], [-LARGEST], [1e-40]], cols, axis=1
    )


def test_equal_elements_share_equally(kernels, designs):
    for design, cols in product(designs, lengths(step_of(designs[0]))):
        y = check(kernels, design, *table(all_equal, cols))
        rounding = (
            cols / LANES[design["isa"]] / design["accumulators"] * 2**-24
            if design["algorithm"] == "two_pass"
            else 0
        )  # others add ones
        np.testing.assert_allclose(y, 1 / cols, rtol=1e-6 + rounding, err_msg=str(design))


def far_apart(cols):
    """Rows that no single power of 2 holds, to the largest numbers and to both sides of what two_pass can
    do without a maximum.
    """
    rng = np.random.default_rng(cols)
    limit = 32768 * np.log(2)
    uniform = rng.uniform(-1, 1, cols)
    return [
        1e4 * uniform,
        rng.choice([-1e4, 0, 1e4], cols),
        *(centre + 300 * uniform for centre in (limit, -limit)),
        *(centre + 10 * uniform for centre in (4e4, -5e4, 1.2e5, -1e6)),
        *(centre + 30 * uniform for centre in (limit - 60, limit + 60, -limit - 60, 60 - limit)),
        *(sign * limit - 100 * np.arange(cols) for sign in (-1, 1)),
        rng.choice([-limit - 90, 0, limit + 90], cols),
        np.where(uniform < 0, size := np.float32(1e30), normal(cols)),
        np.where(uniform < 0, -size, normal(cols)),
        rng.choice([-size, size, 1.0], cols),
        rng.choice([-LARGEST, LARGEST], cols),
        np.linspace(-90, 0, cols),
        np.linspace(100, -100, cols),
        1e-38 * uniform,
    ]


def test_elements_far_apart_and_far_from_zero(kernels, designs):
    for design, cols in product(designs, lengths(step_of(designs[0]))):
        x, expected = table(far_apart, cols)
        assert np.isfinite(expected).all()
        check(kernels, design, x, expected)


HALVES = [
    *(
        (30_000, 0),
        (0, 30_000),
        (-30_000, 0),
        (0, -30_000),
        (30_000, -30_000),
        (30_000, 30_010),
        (-30_010, -30_000),
    ),
    *((22_700, 22_725), (22_725, 22_700), (-22_700, -22_725), (1e30, 0), (0, -1e30), (0, 0)),
    *((-np.inf, 0), (0, -np.inf), (-np.inf, 30_000), (-30_000, -np.inf), (-np.inf, -np.inf)),
    *((np.nan, 0), (0, np.nan), (-np.inf, np.nan), (np.inf, 0), (0, np.inf), (30_000, np.nan)),
]


def two_halves(cols, halves):
    first = (cols + 1) // 2
    return [normal(cols, scale=1.0) + np.repeat(halves, [first, cols - first])]


def test_two_threads_share_rows_or_the_columns_of_one_row(kernels, designs):
    for design, cols in product(designs, lengths(step_of(designs[0]))):
        for rows in (1, 2, 5):
            check(kernels, design | {"threads": 2}, *table(normal, rows, cols))


def test_two_threads_agree_on_one_row_however_different_their_halves(kernels, designs):
    for design, cols, halves in product(designs, (2, 2 * step_of(designs[0]) + 3, 3 * TILE + 5), HALVES):
        check(kernels, design | {"threads": 2}, *table(two_halves, cols, halves))


def around_the_limit(cols):
    """Most of the sum lies in the first half, which two_pass adds up without a maximum; the other half
    needs one.
    """
    row, second = np.full(cols, 22_712.0), (cols + 1) // 2
    row[second:] = -1e4
    row[second] = 22_714.0
    return [row, row[::-1]]


def test_two_threads_agree_though_one_needs_the_maximum_and_the_other_does_not(kernels, designs):
    for design, row in product(designs, (0, 1)):
        x, expected = table(around_the_limit, 3 * TILE + 6)
        check(kernels, design | {"threads": 2}, x[row : row + 1], expected[row : row + 1])


def test_two_threads_spoil_only_the_rows_with_nan(kernels, designs):
    for design in designs:
        check(kernels, design | {"threads": 2}, *table(with_nothing_to_divide_by, 3 * TILE + 5))


# --- the sum ---


@pytest.mark.parametrize(
    ("algorithm", "isa", "accumulators"), list(product(ALGORITHMS, instruction_sets(), [1, 8]))
)
def test_the_sum_is_as_accurate_as_the_cost_model_says_to_a_factor_of_10(
    kernels, algorithm, isa, accumulators
):
    design = designs_of(algorithm, isa, (8, accumulators))[0] | {"tile": 4096}
    x, y = normal(1, 2**20), np.empty((1, 2**20), np.float32)
    kernels.run(design, x, y)
    error, predicted = (
        abs(y.sum(dtype=np.float64) - 1),
        SoftmaxCostModel(rows=1, cols=2**20).evaluate(design)["sum_error"][0],
    )
    print(
        f"{algorithm} {isa} {accumulators}: |sum(y) - 1| = {error:.2g}, model {predicted:.2g}, ratio "
        f"{error / predicted:.2g}"
    )
    assert error <= 10 * predicted


# --- what Python sees ---


@pytest.mark.parametrize("which", ["x", "y"])
@pytest.mark.parametrize(
    "array",
    [
        np.empty((0, 5), np.float32),
        np.empty((2, 0), np.float32),
        np.empty((2, 5)),
        np.empty((2, 5), np.int32),
        np.empty((2, 5), ">f4"),
        np.empty(5, np.float32),
        np.empty((1, 2, 5), np.float32),
        np.empty((2, 10), np.float32)[:, ::2],
        np.empty((5, 2), np.float32).T,
        np.empty((2, 6), np.float32),
    ],
    ids=lambda array: f"{array.dtype.str}-{array.shape}-{array.strides}",
)
def test_arrays_of_other_kinds_are_refused(kernels, which, array):
    arrays = {"x": np.empty((2, 5), np.float32), "y": np.empty((2, 5), np.float32)} | {which: array}
    if not array.size:
        arrays = {"x": array, "y": array}
    with pytest.raises(ArchGymError, match=r"float32 array \[rows, cols\]"):
        kernels.run(DESIGN, **arrays)
    with pytest.raises(ArchGymError):
        kernels.measure(DESIGN, **arrays, calls=1)


def test_an_output_that_must_not_be_written_is_refused(kernels):
    x, y = np.zeros((2, 5), np.float32), np.zeros((2, 5), np.float32)
    y.flags.writeable = False
    with pytest.raises(ArchGymError):
        kernels.run(DESIGN, x, y)
    assert not y.any()


@pytest.mark.parametrize("which", ["x", "y"])
def test_addresses_between_floats_are_refused(kernels, which):
    between = np.frombuffer(bytearray(41), np.float32, 10, offset=1).reshape(2, 5)
    with pytest.raises(ArchGymError):  # scalar code, which would not crash
        kernels.run(
            DESIGN,
            **{"x": np.zeros((2, 5), np.float32), "y": np.zeros((2, 5), np.float32)} | {which: between},
        )


def test_calls_from_many_python_threads_at_once(kernels):
    isas = instruction_sets()
    designs = [
        designs_of(name, isas[i % len(isas)], (4, 2))[0] | {"threads": 2} for i, name in enumerate(ALGORITHMS)
    ]
    assert kernels.build([Kernel.from_design(design) for design in designs]) == {}
    together = threading.Barrier(len(designs))

    def call(i):
        inputs = [normal(rows, cols, seed=i) for rows, cols in [(1, 1001), (5, 333), (1, 2), (2, 2000)]]
        work = [(x, softmax(x)) for x in inputs]
        together.wait(60)
        for _ in range(10):
            for x, expected in work:
                check(kernels, designs[i], x, expected)

    with ThreadPoolExecutor(len(designs)) as pool:
        list(pool.map(call, range(len(designs))))


FORKS = """
import os, signal, sys, threading, traceback
from pathlib import Path
import numpy as np
from archgym.simulators.softmax.machine.kernels import Kernels, kernel_compiler

kernels = Kernels(kernel_compiler(Path(sys.argv[1])))
design = eval(sys.argv[2])

def right():
    for rows in (1, 3):
        x = np.random.default_rng(os.getpid()).normal(size=(rows, 1001)).astype(np.float32)
        y = np.empty_like(x)
        for _ in range(20):
            kernels.run(design, x, y)
        assert np.allclose(y, np.exp(x) / np.exp(x).sum(axis=1, keepdims=True), rtol=1e-4)
        assert kernels.measure(design, x, y, calls=2).seconds > 0
    return True

def fork(work):
    child = os.fork()
    if not child:
        signal.alarm(30)
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    return child

def ended_well(child):
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        print("a child ended with", code, file=sys.stderr)
    return code == 0

def after_two_threads():
    assert right()
    children = [fork(right), fork(lambda: right() and ended_well(fork(right)))]
    assert right()
    assert all([ended_well(child) for child in children])
    assert right() and ended_well(fork(right))

def during_a_call():
    x = np.zeros((2, 200_000), np.float32)
    y = np.empty_like(x)
    over = threading.Event()
    other = threading.Thread(target=lambda: [kernels.run(design, x, y) for _ in iter(over.is_set, True)])
    other.start()
    try:
        assert all(ended_well(fork(right)) for _ in range(5))
    finally:
        over.set()
        other.join()

globals()[sys.argv[3]]()
print("all right")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("when", ["after_two_threads", "during_a_call"])
def test_forks_use_two_threads_of_their_own(kernels, when):
    words = [sys.executable, "-c", FORKS, kernels.compiler.folder, repr(DESIGN | {"threads": 2}), when]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "all right", done.stderr


@pytest.mark.parametrize("threads", [1, 2])
def test_measuring_runs_the_kernel_and_takes_time(kernels, threads):
    x = normal(2, 5000)
    y = np.empty_like(x)
    for calls, warmups in ((1, 0), (10, 2)):
        timing = kernels.measure(DESIGN | {"threads": threads}, x, y, calls=calls, warmups=warmups)
        assert timing.seconds > 0 and timing.wall_seconds >= 0
        assert isinstance(timing.switches, int) and timing.switches >= 0
    np.testing.assert_allclose(y, softmax(x), rtol=1e-5, atol=1e-37)


def test_a_kernel_that_cannot_be_compiled_does_not_stop_the_rest(kernels):
    sound, broken = Kernel.from_design(DESIGN), Kernel.from_design(DESIGN | {"unroll": -1})
    reasons = kernels.build([broken, sound, broken])
    assert reasons.keys() == {broken} and "ended with exit code" in reasons[broken]
    with pytest.raises(CompilerError, match="ended with exit code"):
        kernels.run(DESIGN | {"unroll": -1}, *np.zeros((2, 1, 5), np.float32))


# --- what cannot be run here ---


def test_designs_that_this_machine_can_run_are_possible(monkeypatch):
    monkeypatch.setattr(module, "instruction_sets", lambda: ("scalar", "avx2", "avx512"))
    monkeypatch.setattr(module, "processors", lambda: (0, 3))
    monkeypatch.setattr(module, "X86", True)
    designs = [design for loop in LOOPS for design in designs_of(*loop)]
    assert {why_unsupported(design | {"threads": threads}) for design in designs for threads in (1, 2)} == {
        None
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accumulators": 8}, "accumulators (8) must not exceed unroll (4)"),
        ({"isa": "avx512"}, "this processor has no avx512"),
        ({"threads": 2}, "2 threads need 2 processors, and this process may use 1"),
        ({"nontemporal": True}, "non-temporal stores are written for x86 only"),
    ],
)
def test_impossible_designs_say_why(monkeypatch, changes, reason):
    monkeypatch.setattr(module, "instruction_sets", lambda: ("scalar", "avx2"))
    monkeypatch.setattr(module, "processors", lambda: (5,))
    monkeypatch.setattr(module, "X86", False)
    design = DESIGN | {"nontemporal": False}
    assert why_unsupported(design) is None
    assert why_unsupported(design | changes) == reason
