"""Designs of systems on chip by their blocks: rates, energies and areas by name, and designs that are refused."""

from __future__ import annotations

import numpy as np
import pytest
from soc_toys import FAST, WIDE, system, toy

from archgym import ArchGymError
from archgym.simulators.soc.blocks import SystemOnChip, blocks_of, our_name
from archgym.simulators.soc.phases import simulate
from archgym.simulators.soc.workload import load_workload


def test_names_of_blocks_are_their_figures(tmp_path):
    accelerator = {"task": "a", "seconds": 2e-3, "energy_j": 3e-6, "area_mm2": 0.25, "iterations": 12}
    chain = toy(
        tmp_path, {"a": 1e6, "b": 1e6}, [("source", "a", 8), ("a", "b", 8), ("b", "sink", 8)], [accelerator]
    )
    pes = ["A53_pe", "a_IP0_4_6_pe", "A53_pe", "A53_pe"]
    design = system(
        chain,
        pes,
        [1, 2],
        memories=["GMEM_3_4_mem", "LMEM_0_1_mem"],
        memory_bus=[0, 1],
        buses=["LMEM_ic_2_8_ic", "LMEM_ic_1_6_ic"],
        bus_parent=[-1, 0],
        pe_bus=[0, 1, 0, 0],
        task_memory=[0, 1, 1, 1],
    )
    found = blocks_of(chain, [design, design]).rows(slice(1, 2))
    assert found.pe_rate[0].tolist() == pytest.approx([1e9, 4 * 6 * 1e6 / 2e-3, 1e9, 1e9])
    assert found.pe_per_joule[0].tolist() == pytest.approx([1e10, 1e6 / (4 * 3e-6), 1e10, 1e10])
    assert found.pe_area_mm2[0].tolist() == pytest.approx([0, 4 * 0.25, 0.5, 0])  # only the ends: no area
    assert found.pe_bus[0].tolist() == [0, 1, 0, 0]
    assert found.memory_rate[0].tolist() == [32 * 4e8, 4 * 1e8]
    assert found.memory_dram[0].tolist() == [True, False]
    assert found.bus_rate[0].tolist() == [16 * 8e8, 8 * 6e8]
    assert found.order[0].tolist() == [0, 1, 2, 3]


def test_designs_of_different_sizes_share_columns(tmp_path):
    chain = toy(tmp_path, {"a": 1e6}, [("source", "a", 1e6), ("a", "sink", 10)])
    small = system(chain, ["A53_pe"], [0])
    large = system(
        chain,
        ["A53_pe"] * 3,
        [2],
        memories=[FAST] * 2,
        memory_bus=[0, 1],
        buses=[WIDE] * 2,
        bus_parent=[-1, 0],
        pe_bus=[0, 0, 1],
    )
    alone, among = (simulate(chain, blocks_of(chain, each)) for each in ([small], [large, small]))
    assert {k: v[0] for k, v in alone.items()} == {k: v[1] for k, v in among.items()}


def test_names_of_farsi_are_ours():
    found = [our_name(task) for task in ("souurce", "FIR_left_fxp_cloned", "dummy_last", "siink")]
    assert found == ["source", "FIR_left", "dummy_last", "sink"]


# --- designs that are refused ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pe_bus": [0, 1, 7]}, "descale_IP0_4_1_pe is not connected to a bus (7); give it one of 2"),
        ({"memory_bus": [0, -1]}, "LMEM_5_8_mem is not connected to a bus (-1); give it one of 2"),
        ({"pe_bus": [0, 0, 0]}, "bus 1 (LMEM_ic_5_8_ic) has no processing element; attach one"),
        ({"memory_bus": [0, 0]}, "bus 1 (LMEM_ic_5_8_ic) has no memory; attach one"),
        ({"bus_parent": [-1, -1]}, "expected a bus before it, 0 to 0, as bus_parent of bus 1, got -1"),
        ({"bus_parent": [-1]}, "expected 2 positions in bus_parent, got 1"),
        ({"buses": ["LMEM_ic_6_1_ic"] * 2}, "unknown bus 'LMEM_ic_6_1_ic'"),
        ({"pes": ["A53_pe", "A53_pe", "tone_map_IP0_1_1_pe"]}, "hosts descale, but runs only tone_map"),
        ({"pes": ["A53_pe", "A53_pe", "descale_IP0_3_1_pe"]}, "expected an unroll of descale (1, 2, 4, 8"),
        ({"pes": ["A53_pe", "A53_pe", "source_IP0_1_1_pe"]}, "an unroll of source (no accelerator)"),
    ],
)
def test_systems_that_cannot_work_are_refused(change, message):
    workload = load_workload("hpvm_cava")
    tree = {"bus_parent": [-1, 0], "buses": ["LMEM_ic_5_8_ic"] * 2, "memories": ["LMEM_5_8_mem"] * 2}
    given = {
        "pes": ["A53_pe", "A53_pe", "descale_IP0_4_1_pe"],
        "pe_bus": [0, 1, 0],
        "memory_bus": [0, 1],
        **tree,
    }
    good = system(workload, hosts=[0, 0, 1, 1, 0, 0, 2], **given)
    assert np.isfinite(simulate(workload, blocks_of(workload, [good]))["latency_s"]).all()
    with pytest.raises(ArchGymError) as error:
        blocks_of(workload, [SystemOnChip(**{**vars(good), **change})])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "change", "message"),
    [
        ("bus_rate", lambda x: x * 0, "expected bus_rate > 0, got 0 in design 0"),
        ("memory_rate", lambda x: -x, "expected memory_rate > 0, got -1.024e+11 in design 0"),
        ("pe_rate", lambda x: x * np.nan, "expected pe_rate > 0, got nan"),
        ("pe", lambda x: x + 2, "expected pe from 0 to 1, got 2 to 3"),
        ("memory_bus", lambda x: x - 1, "expected memory_bus from 0 to 1, got -1 to 0"),
        ("bus_parent", lambda x: x * 0 - 1, "expected connected buses, got task 1 of design 0"),
        ("bus_parent", lambda x: x * 0 + 1, "expected the parent of each bus among those before it"),
    ],
)
def test_blocks_that_cannot_work_are_refused(tmp_path, column, change, message):
    chain = toy(tmp_path, {"a": 1e6}, [("source", "a", 1e6), ("a", "sink", 10)])
    tree = {"bus_parent": [-1, 0], "pe_bus": [0, 1], "memories": [FAST] * 2, "memory_bus": [0, 1]}
    blocks = blocks_of(chain, [system(chain, ["A53_pe"] * 2, [1], **tree, buses=[WIDE] * 2)])
    columns = {name: value for name, value in vars(blocks).items()}
    with pytest.raises(ArchGymError) as error:
        type(blocks)(**{**columns, column: change(columns[column])})
    assert message in str(error.value)
    assert "\n" not in str(error.value)
