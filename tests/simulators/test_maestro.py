"""MAESTRO's runtimes in closed form: against steps in space and time counted one by one, and cases worked
out by hand.
"""

import accelerator_reference as reference
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.simulators.accelerator import maestro

SIZES = {"pes": 256, "k": 64, "c": 64, "r": 3, "s": 3, "e": 8, "f": 8}
sizes = st.integers(1, 200)


@given(
    dataflow=st.sampled_from(maestro.DATAFLOWS),
    pes=st.integers(64, 1100),
    k=sizes,
    c=sizes,
    r=st.integers(1, 7),
    s=st.integers(1, 7),
    e=sizes,
    f=sizes,
)
def test_runtime_is_that_of_the_steps_counted_one_by_one(dataflow, pes, k, c, r, s, e, f):
    assert maestro.runtime(dataflow, pes, k, c, r, s, e, f) == reference.maestro(
        dataflow, pes, k, c, r, s, e, f
    )


@pytest.mark.parametrize(
    ("dataflow", "runtime"),
    [  # 130 PEs; 9 filters, 70 channels, kernel 3 x 2, output 20 x 10
        ("nvdla", 20 * 10 * 5 * 2 * 7 + 1),  # 2 filters at a time, 64 channels
        ("shidiannao", 9 * 70 * 2 * 2 * 7 + 1),  # 16 x 8 pixels
        ("eyeriss", 5 * 18 * 10 * 1 * (2 * 4 * 2 + 1) + 1),  # 43 output rows
    ],
)
def test_a_case_worked_out_by_hand(dataflow, runtime):
    assert maestro.runtime(dataflow, 130, 9, 70, 3, 2, 20, 10) == runtime


def test_eyeriss_takes_no_more_channels_than_there_are():
    assert maestro.runtime("eyeriss", 63, 2, 3, 7, 7, 9, 1) == 2 * 3 * 7 + 1 + 1


@pytest.mark.parametrize("dataflow", maestro.DATAFLOWS)
def test_arguments_broadcast(dataflow):
    pes, k = np.array([[64], [256]]), np.array([1, 64, 100])
    runtime = maestro.runtime(dataflow, **{**SIZES, "pes": pes, "k": k})
    assert runtime.shape == (2, 3)
    assert runtime.dtype == np.int64
    for i, j in np.ndindex(2, 3):
        assert runtime[i, j] == maestro.runtime(dataflow, **{**SIZES, "pes": int(pes[i, 0]), "k": int(k[j])})


@pytest.mark.parametrize(("dataflow", "least"), [("nvdla", 64), ("shidiannao", 8), ("eyeriss", 3)])
def test_fewer_pes_than_a_template_needs_are_refused_with_how_many_it_needs(dataflow, least):
    assert maestro.runtime(dataflow, **{**SIZES, "pes": least}) > 0
    with pytest.raises(
        ArchGymError, match=f"the {dataflow} template needs at least {least} PEs, not {least - 1}"
    ):
        maestro.runtime(dataflow, **{**SIZES, "pes": least - 1})


@pytest.mark.parametrize("value", [0, -1, 3.0, "3", None, True])
@pytest.mark.parametrize("name", SIZES)
def test_a_size_that_is_not_a_positive_integer_is_refused_by_name(name, value):
    with pytest.raises(ArchGymError, match=f"^{name} must be a positive integer"):
        maestro.runtime("nvdla", **{**SIZES, name: value})


@pytest.mark.parametrize("dataflow", ["NVDLA", "ws", "", None])
def test_an_unknown_dataflow_is_refused(dataflow):
    with pytest.raises(ArchGymError, match="unknown dataflow template"):
        maestro.runtime(dataflow, **SIZES)
