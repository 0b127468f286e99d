"""Systolic arrays in closed form: against folds counted one by one, arrays simulated PE by PE, and cases
worked out by hand.
"""

import accelerator_reference as reference
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.simulators.accelerator import systolic

dataflows = st.sampled_from(systolic.DATAFLOWS)
lanes = st.integers(1, 12)
sizes = st.integers(1, 40)


def random_matrices(m, n, k, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-9, 9, (m, k)).tolist(), rng.integers(-9, 9, (k, n)).tolist()


@given(dataflow=dataflows, rows=lanes, cols=lanes, m=sizes, n=sizes, k=sizes)
def test_cycles_and_accesses_are_those_of_the_folds_counted_one_by_one(dataflow, rows, cols, m, n, k):
    counted = reference.systolic(dataflow, rows, cols, m, n, k)
    assert (
        systolic.cycles(dataflow, rows, cols, m, n, k),
        *systolic.sram_accesses(dataflow, rows, cols, m, n, k),
    ) == counted


@pytest.mark.parametrize(
    ("rows", "cols", "m", "n", "k"),
    [(3, 4, 5, 4, 3), (4, 2, 1, 1, 2), (1, 1, 3, 1, 1), (5, 5, 9, 3, 4), (2, 7, 6, 7, 2)],
)
def test_a_fold_of_weights_takes_as_long_as_an_array_simulated_pe_by_pe(rows, cols, m, n, k):
    x, w = random_matrices(m, n, k)
    product, cycles = reference.weight_stationary_array(x, w, rows, cols)
    np.testing.assert_array_equal(product, np.array(x) @ np.array(w))
    # SCALE-Sim reports the number of the last cycle, from 0
    assert systolic.cycles("ws", rows, cols, m, n, k) == cycles - 1


@pytest.mark.parametrize(
    ("rows", "cols", "m", "n", "k"), [(3, 4, 4, 5, 3), (4, 2, 1, 1, 2), (1, 1, 1, 3, 1), (5, 5, 3, 9, 4)]
)
def test_a_fold_of_inputs_takes_as_long_as_an_array_simulated_pe_by_pe(rows, cols, m, n, k):
    x, w = random_matrices(m, n, k)
    transposed, cycles = reference.weight_stationary_array(
        np.transpose(w).tolist(), np.transpose(x).tolist(), rows, cols
    )
    np.testing.assert_array_equal(np.transpose(transposed), np.array(x) @ np.array(w))
    assert systolic.cycles("is", rows, cols, m, n, k) == cycles - 1


@pytest.mark.parametrize(
    ("rows", "cols", "m", "n", "k"), [(3, 4, 3, 4, 5), (4, 2, 1, 2, 7), (2, 1, 2, 1, 3), (5, 5, 4, 3, 1)]
)
def test_a_fold_of_outputs_takes_as_long_as_an_array_simulated_pe_by_pe(rows, cols, m, n, k):
    x, w = random_matrices(m, n, k)
    product, cycles = reference.output_stationary_array(x, w, rows, cols)
    np.testing.assert_array_equal(product, np.array(x) @ np.array(w))
    assert systolic.cycles("os", rows, cols, m, n, k) == cycles - 1


@pytest.mark.parametrize(
    ("dataflow", "cycles", "accesses"),
    [  # [10, 6] x [6, 7] on 4 rows and 3 columns
        ("ws", 2 * 3 * (8 + 3 + 10 - 2) - 1, (10 * 6 * 3, 6 * 7, 10 * 7 * 2)),
        ("os", 3 * 3 * (4 + 3 + 6 - 2) - 1, (10 * 6 * 3, 6 * 7 * 3, 10 * 7 + 9 * 7)),
        ("is", 2 * 4 * (8 + 3 + 7 - 2) - 1, (10 * 6, 6 * 7 * 4, 10 * 7 * 2)),
    ],
)
def test_a_case_worked_out_by_hand(dataflow, cycles, accesses):
    assert systolic.cycles(dataflow, 4, 3, 10, 7, 6) == cycles
    assert systolic.sram_accesses(dataflow, 4, 3, 10, 7, 6) == accesses


@given(dataflow=dataflows, rows=lanes, cols=lanes, m=sizes, n=sizes, k=sizes)
def test_no_array_does_more_than_one_multiply_add_per_pe_and_cycle(dataflow, rows, cols, m, n, k):
    cycles = systolic.cycles(dataflow, rows, cols, m, n, k)
    if dataflow == "os" and rows == cols == 1:
        assert cycles == m * n * k - 1  # SCALE-Sim's own form, as documented
    else:
        assert cycles * rows * cols >= m * n * k


@given(dataflow=dataflows, rows=lanes, cols=lanes, m=sizes, n=sizes, k=sizes)
def test_every_word_is_accessed_at_least_once(dataflow, rows, cols, m, n, k):
    ifmap, filters, ofmap = systolic.sram_accesses(dataflow, rows, cols, m, n, k)
    assert ifmap >= m * k
    assert filters >= k * n
    assert ofmap >= m * n


@pytest.mark.parametrize("dataflow", systolic.DATAFLOWS)
def test_arguments_broadcast_and_stay_64_bit_integers(dataflow):
    rows, m = np.array([[4], [8]], np.int32), np.array([1, 2, 3], np.uint8)
    cycles = systolic.cycles(dataflow, rows, 4, m, 5, 2**40)
    assert cycles.shape == (2, 3)
    assert cycles.dtype == np.int64
    for i, j in np.ndindex(2, 3):
        arguments = int(rows[i, 0]), 4, int(m[j]), 5, 2**40
        assert cycles[i, j] == systolic.cycles(dataflow, *arguments)
        for column, value in zip(
            systolic.sram_accesses(dataflow, rows, 4, m, 5, 2**40),
            systolic.sram_accesses(dataflow, *arguments),
            strict=True,
        ):
            assert column.shape == (2, 3)
            assert column[i, j] == value


@pytest.mark.parametrize("call", [systolic.cycles, systolic.sram_accesses])
@pytest.mark.parametrize("value", [0, -3, 1.5, 2.0, "4", None, True, [4, 0], [4, 1.5]])
@pytest.mark.parametrize("name", ["rows", "cols", "m", "n", "k"])
def test_a_size_that_is_not_a_positive_integer_is_refused_by_name(call, name, value):
    with pytest.raises(ArchGymError, match=f"^{name} must be a positive integer"):
        call("ws", **{"rows": 4, "cols": 4, "m": 4, "n": 4, "k": 4, name: value})


@pytest.mark.parametrize("call", [systolic.cycles, systolic.sram_accesses])
@pytest.mark.parametrize("dataflow", ["WS", "systolic_ws", "", None])
def test_an_unknown_dataflow_is_refused_with_those_that_there_are(call, dataflow):
    with pytest.raises(ArchGymError, match="unknown dataflow of a systolic array"):
        call(dataflow, 4, 4, 4, 4, 4)


def test_ceil_div_has_its_old_name_too():
    with pytest.warns(DeprecationWarning, match="ceil_div"):
        assert systolic.up(7, 2) == systolic.ceil_div(7, 2) == 4
