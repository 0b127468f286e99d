"""archgym/SoC-v0: every combination of parameters is a chip of FARSI's blocks, equal chips are one design, and
objectives and optima are those of the equations.
"""

from __future__ import annotations

import csv
import json

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soc_toys import content

import archgym
import archgym.envs.soc as env_module
from archgym import ArchGymError
from archgym.envs.contexts import soc as contexts
from archgym.envs.soc import PRESETS, objective
from archgym.optimum import find_optimum
from archgym.simulators.soc.blocks import SystemOnChip, blocks_of
from archgym.simulators.soc.encoding import PLACEMENTS
from archgym.simulators.soc.memories import LARGEST_BYTES
from archgym.simulators.soc.model import SoC
from archgym.simulators.soc.phases import simulate
from archgym.simulators.soc.workload import list_workloads, load_workload
from archgym.testing import check_env, check_simulator

ENV = "archgym/SoC-v0"
COSTS = ("latency_s", "energy_j", "power_w", "area_mm2")
RATES = {1.6: "0_4", 6.4: "2_4", 25.6: "4_4", 102.4: "5_8"}  # FARSI's width and clock
SPACES = [(name, max_buses) for name in list_workloads() for max_buses in (1, 2, 3)]


def rows_of(simulator, n, seed=0):
    return simulator.space.sample(n, np.random.default_rng(seed))


def all_on_accelerators(simulator, **fixed):
    """Designs with every task on an accelerator, and some parameters limited to given values."""
    rows = simulator.encoding.accelerated()
    values = simulator.space.decode(rows)
    return (
        rows[np.all([np.isin(values[name], allowed) for name, allowed in fixed.items()], axis=0)]
        if fixed
        else rows
    )


# --- designs are chips ---


def chip(workload, design):
    """A design by its blocks' names, one parameter at a time."""
    tasks = range(len(workload.names))
    host = {t: design.get(f"host_{workload.groups[t]}", "cpu0") if workload.work[t] else None for t in tasks}
    cpus = sorted({h for h in host.values() if h in ("cpu0", "cpu1")}, key=[*host.values()].index)
    slots, first = {}, {}
    for t in sorted(tasks, key=lambda t: (workload.levels[t], t)):
        if host[t] is not None:
            slot = t if host[t] == "ip" else host[t]
            first.setdefault(slot, len(first))
            slots[t] = slot
    names, memories = {}, design["memories"]
    for slot in first:
        unroll = 0 if slot in cpus else min(design["ip_unroll"], workload.accelerators.iterations[slot])
        ip = "" if slot in cpus else f"{workload.names[slot]}_IP0_{unroll}_{design['ip_mhz'] // 100}_pe"
        names[slot] = ip or "A53_pe"
    buses = min(design.get("buses", 1), memories, len(first))
    bus = {slot: rank * buses // len(first) for slot, rank in first.items()}
    # tasks without work are on the first CPU in the order of levels, or on one of their own
    early = min(slots, key=lambda t: (workload.levels[t], t) if slots[t] in cpus else (999, t))
    idle = slots[early] if slots[early] in cpus else "idle"
    if idle == "idle":
        names[idle], bus[idle] = "A53_pe", 0
    written = {t: sum(d for p, _, d in workload.edges if p == t) for t in tasks}
    largest = max(tasks, key=written.__getitem__)
    levels = workload.levels.max() + 1
    rule = {
        "alternate": lambda t: t % memories,
        "level": lambda t: workload.levels[t] * memories // levels,
        "largest_alone": lambda t: memories - 1 if t == largest else t % (memories - 1),
    }[design.get("placement", "alternate")]
    kind, rate = ("G" if design["memory_kind"] == "dram" else "L"), RATES[design["memory_gb_s"]]
    position = list(names)
    return SystemOnChip(
        pes=list(names.values()),
        memories=[f"{kind}MEM_{rate}_mem"] * memories,
        buses=[f"LMEM_ic_{RATES[design['bus_gb_s']]}_ic"] * buses,
        pe_bus=[bus[slot] for slot in position],
        memory_bus=[m * buses // memories for m in range(memories)],
        bus_parent=list(range(-1, buses - 1)),
        task_pe=[position.index(slots.get(t, idle)) for t in tasks],
        task_memory=[rule(t) if written[t] else 0 for t in tasks],
    )


@pytest.mark.parametrize(("name", "max_buses"), SPACES)
def test_a_design_costs_what_its_blocks_cost_one_by_one(name, max_buses):
    """`blocks_of` refuses a chip with a block that is not connected or a bus without a PE or a memory."""
    simulator = SoC(name, max_buses)
    rows = rows_of(simulator, 300)
    chips = [chip(simulator.workload, simulator.space.design(row)) for row in simulator.canonical(rows)]
    found, expected = (
        simulator.evaluate_indices(rows),
        simulate(simulator.workload, blocks_of(simulator.workload, chips)),
    )
    for metric in COSTS:
        assert np.allclose(found[metric], expected[metric], rtol=1e-12, atol=0), metric


@pytest.mark.parametrize(("name", "max_buses"), SPACES)
def test_ten_thousand_random_designs_are_feasible(name, max_buses):
    simulator = SoC(name, max_buses)
    found = simulator.evaluate_indices(rows_of(simulator, 10_000))
    assert found["feasible"].all() and "failure" not in found
    assert all((found[metric] > 0).all() and np.isfinite(found[metric]).all() for metric in COSTS)
    bounds = sum(found[f"bound_{kind}"] for kind in ("compute", "memory", "bus"))
    assert np.allclose(bounds, 1, rtol=1e-9)


@pytest.mark.parametrize(("name", "max_buses"), SPACES)
def test_a_batch_gives_the_bits_of_its_rows(name, max_buses):
    simulator = SoC(name, max_buses, wire_pj_per_bit_mm=0.12)
    rows = rows_of(simulator, 40, seed=1)
    whole = simulator.evaluate_indices(rows)
    for place in range(len(rows)):
        single = simulator.evaluate_indices(rows[place : place + 1])
        assert all(single[name][0] == whole[name][place] for name in whole)


@pytest.mark.parametrize(("name", "max_buses"), SPACES)
def test_designs_that_are_one_chip_cost_the_same(name, max_buses):
    simulator = SoC(name, max_buses)
    rows = rows_of(simulator, 3000, seed=2)
    kept = simulator.canonical(rows)
    assert np.array_equal(simulator.canonical(kept), kept)
    assert not np.array_equal(kept, rows)
    given, folded = simulator.evaluate_indices(rows), simulator.evaluate_indices(kept)
    assert all(np.array_equal(given[metric], folded[metric]) for metric in given)


def test_swapped_cpus_unused_accelerators_and_missing_buses_make_no_other_chip():
    simulator = SoC("audio_decoder", 3)
    place = {name: p for p, name in enumerate(simulator.space.names)}
    hosts = [p for name, p in place.items() if name.startswith("host_")]
    row = np.zeros(len(simulator.space), np.int64)
    row[place["memories"]] = 1

    def same(**changes):
        other = row.copy()
        for name, index in changes.items():
            other[place[name]] = index
        return np.array_equal(*simulator.canonical(np.stack([row, other])))

    assert same(ip_unroll=3) and same(ip_mhz=2)  # no accelerator
    assert same(buses=1)  # one PE
    assert same(**{simulator.space.names[p]: 1 for p in hosts})  # all on the other CPU
    assert not same(memory_kind=1) and not same(placement=1) and not same(memories=2)
    row[place["host_overlap"]] = 2  # of one iteration
    assert same(ip_unroll=5) and not same(ip_mhz=2)
    row[place["buses"]] = 1
    assert same(buses=2) and not same(buses=0)  # two memories, three PEs
    row[place["memories"]] = 2
    assert not same(buses=2)  # an accelerator for each of both channels
    row[place["host_rotateOrder1"]] = 2
    assert not same(ip_unroll=1)
    assert not same(host_zoomSet=1)


def test_left_and_right_share_a_host_and_have_an_accelerator_each():
    simulator = SoC("audio_decoder")
    assert len([name for name in simulator.space.names if name.startswith("host_")]) == 11
    rows = np.repeat(rows_of(simulator, 1), 2, axis=0)
    place = simulator.space.names.index("host_FIR")
    unroll, clock = (simulator.space.names.index(name) for name in ("ip_unroll", "ip_mhz"))
    rows[:, place], rows[:, unroll], rows[:, clock] = [0, 2], 2, 3
    rows[:, simulator.space.names.index("host_zoomProcess")] = 0  # so that the CPU stays
    areas = simulator.encoding.blocks(rows).pe_area_mm2.sum(1)
    of = simulator.workload
    assert areas[1] - areas[0] == pytest.approx(2 * 16 * of.accelerators.area_mm2[of.names.index("FIR_left")])


# --- what faster parts do ---


@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["bus_gb_s", "memory_gb_s", "ip_mhz"]), st.sampled_from([1, 3])
)
@settings(max_examples=25, deadline=None)
def test_a_faster_part_never_slows_a_chain_of_tasks(seed, name, max_buses):
    """Where tasks run side by side it may, as in any list schedule (docs/soc.md has how often)."""
    simulator, rng = SoC("hpvm_cava", max_buses), np.random.default_rng(seed)
    place = simulator.space.names.index(name)
    slow = simulator.space.sample(200, rng)
    slow[:, place] = rng.integers(0, simulator.space.nvec[place] - 1, len(slow))
    fast = slow.copy()
    fast[:, place] += 1
    before, after = (simulator.evaluate_indices(rows)["latency_s"] for rows in (slow, fast))
    assert (after <= before * (1 + 1e-12)).all()


# --- budgets and objectives ---


def test_distance_is_the_sum_of_relative_excesses_over_the_budgets():
    simulator = SoC("edge_detection", budgets={"latency_s": 0.5, "area_mm2": 5})
    assert simulator.budgets == {"latency_s": 0.5, "power_w": 0.008737, "area_mm2": 5.0}
    found = simulator.evaluate_indices(rows_of(simulator, 500))
    excess = [
        np.maximum(0, found[metric] / limit - 1)
        for metric, limit in (("latency_s", 0.5), ("power_w", 0.008737), ("area_mm2", 5))
    ]
    assert np.allclose(found["distance"], sum(excess), rtol=1e-12)
    assert np.array_equal(found["overshoot"], 1 + found["distance"])
    assert np.allclose(found["edp"], found["energy_j"] * found["latency_s"], rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "distinct", "equal", "edp"),
    [("hpvm_cava", 9, 2, 3.148289e-8), ("edge_detection", 13, 1, 1.616140e-7)],
)
def test_designs_within_the_budgets_are_those_of_an_independent_enumeration(name, distinct, equal, edp):
    """Of a part of the space, with FARSI's power windows: 18 rows and 13, where hpvm_cava's unrolls of 256 and
    1024 are both 151. No task may be on a CPU, whose power alone exceeds the budget.
    """
    simulator = SoC(name, literal=True)
    rows = all_on_accelerators(simulator, placement=["alternate"], memory_gb_s=[6.4, 25.6, 102.4])
    assert len(rows) == len(np.unique(rows, axis=0)) and (rows[:, 0] == 2).all()
    place = {name: p for p, name in enumerate(simulator.space.names)}
    rows = rows[rows[:, place["memory_gb_s"]] == rows[:, place["bus_gb_s"]]]
    found = simulator.evaluate_indices(rows)
    assert (found["distance"] == 0).sum() == distinct
    assert found["edp"].min() == pytest.approx(edp, rel=1e-6)
    assert (found["edp"] < found["edp"].min() * (1 + 1e-9)).sum() == equal
    assert SoC(name).workload.cpu.rate / SoC(name).workload.cpu.per_joule > 4 * simulator.budgets["power_w"]


def test_objectives_rank_by_distance_or_by_a_cost_within_budgets():
    simulator = SoC("edge_detection")
    rows = all_on_accelerators(simulator)
    columns = simulator.evaluate_indices(rows)
    met = columns["distance"] == 0
    reward, valid = objective(simulator)(columns, columns["feasible"])
    assert np.allclose(reward, -np.log1p(columns["distance"])) and valid.all() and (reward[met] == 0).all()
    wrong, _ = objective(simulator, goal="farsi_published")(columns, columns["feasible"])
    assert np.allclose(wrong, -reward)
    for goal in ("energy_j", "edp"):
        reward, valid = objective(simulator, goal=goal)(columns, columns["feasible"])
        assert np.array_equal(valid, met) and 0 < met.sum() < len(met)
        best = np.where(valid, reward, -np.inf).argmax()
        assert columns[goal][best] == columns[goal][met].min()


def test_wires_cost_energy_by_the_side_of_the_chip_and_the_buses_passed():
    free, paid = (SoC("hpvm_cava", 3, wire_pj_per_bit_mm=e) for e in (0.0, 0.12))
    rows = all_on_accelerators(
        free, ip_unroll=[64], memories=[3], placement=["alternate"], memory_gb_s=[25.6], bus_gb_s=[25.6]
    )
    without, with_wires = free.evaluate_indices(rows), paid.evaluate_indices(rows)
    found = (with_wires["energy_j"] - without["energy_j"]) / np.sqrt(without["area_mm2"])
    of = free.workload
    for place, buses in enumerate((rows[:, free.space.names.index("buses")] + 1).tolist()):
        bus = {task: (task - 1) * buses // 7 for task in range(1, 8)}  # seven tasks between source and sink
        passed = 0
        for parent, child, data in of.edges:
            memory = parent % 3 * buses // 3
            passed += sum(data * (1 + abs(bus[task] - memory)) for task in (parent, child) if task in bus)
        assert found[place] == pytest.approx(0.12e-12 * 8 * passed / buses, rel=1e-6)
    mean = without["power_w"] + (with_wires["energy_j"] - without["energy_j"]) / without["latency_s"]
    assert np.allclose(with_wires["power_w"], mean, rtol=1e-12)
    assert all(np.array_equal(with_wires[m], without[m]) for m in ("latency_s", "area_mm2"))


def test_the_known_optimum_of_a_small_system_is_that_of_brute_force(tmp_path):
    simulator = SoC(_small(tmp_path))
    rows = np.concatenate(list(simulator.space.enumerate()))
    columns = simulator.evaluate_indices(rows)
    for goal in ("distance", "edp"):
        task = objective(simulator, goal=goal)
        found, (reward, valid) = find_optimum(simulator, task), task(columns, columns["feasible"])
        assert found.best_reward == np.where(valid, reward, -np.inf).max()
        assert found.designs == len(np.unique(simulator.canonical(rows), axis=0)) < len(rows)


@pytest.mark.parametrize("name", list_workloads())
def test_the_optimum_of_the_default_task_is_among_few_chips_of_accelerators(name):
    for max_buses in (1, 3):
        simulator = SoC(name, max_buses)
        found = find_optimum(simulator, objective(simulator), limit=10_000)
        assert found.best_reward == 0 and found.best_metrics["distance"] == 0
    assert simulator.candidates(objective(simulator, goal="edp")) is None
    assert simulator.optimum(objective(simulator, goal="edp")) is None
    assert simulator.candidates(objective(simulator, goal="farsi_published")) is None
    out_of_reach = SoC(name, budgets={"latency_s": 1e-5})
    assert out_of_reach.candidates(objective(out_of_reach)) is None
    assert out_of_reach.optimum(objective(out_of_reach)) is None


# --- systems of one's own ---


def _small(folder, accelerators=True):
    """Two tasks in a chain, of which the second has an accelerator."""
    library = [{"task": "b", "seconds": 0.1, "energy_j": 1e-6, "area_mm2": 0.01, "iterations": 8}]
    edges = [("source", "a", 4096), ("a", "b", 8192), ("b", "sink", 4096)]
    tables = content({"source": 0, "a": 1e6, "b": 5e6, "sink": 0}, edges, library if accelerators else [])
    path = folder / "mine.json"
    path.write_text(json.dumps(tables))
    return path


def test_a_folder_of_tables_is_the_same_system_as_a_file(tmp_path):
    path = _small(tmp_path)
    tables, folder = json.loads(path.read_text()), tmp_path / "mine"
    folder.mkdir()
    for name in ("tasks", "edges", "library", "budgets"):
        rows = tables[name] if isinstance(tables[name], list) else [tables[name]]
        with open(folder / f"{name}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(rows)
    one, other = SoC(str(path)), SoC(str(folder))
    assert one.space == other.space
    assert one.specification["workload"] == other.specification["workload"] != SoC().specification["workload"]
    rows = rows_of(one, 200)
    assert np.array_equal(one.evaluate_indices(rows)["edp"], other.evaluate_indices(rows)["edp"])
    check_simulator(one)


def test_a_task_without_accelerator_has_the_cpus_alone_and_few_tasks_few_memories(tmp_path):
    simulator = SoC(_small(tmp_path), max_buses=3)
    assert [p.plain for p in list(simulator.space)[:2]] == [("cpu0", "cpu1"), ("cpu0", "cpu1", "ip")]
    found = simulator.evaluate_indices(np.concatenate(list(simulator.space.enumerate())))
    assert found["feasible"].all()
    # source, a and b write: rules of placement coincide, or leave a memory without a writer
    place = {name: p for p, name in enumerate(simulator.space.names)}
    rows = np.zeros((2 * len(PLACEMENTS), len(simulator.space)), np.int64)
    rows[:, place["memories"]] = np.repeat([1, 2], len(PLACEMENTS))
    rows[:, place["placement"]] = np.tile(range(len(PLACEMENTS)), 2)
    assert len(np.unique(simulator.canonical(rows), axis=0)) == 3
    assert SoC(_small(tmp_path, accelerators=False)).space.names[:2] == ("host_a", "host_b")


def test_a_memory_larger_than_the_table_is_infeasible_with_the_reason(tmp_path):
    edges = [("source", "a", 4096), ("a", "sink", LARGEST_BYTES + 1)]
    path = tmp_path / "large.json"
    path.write_text(json.dumps(content({"source": 0, "a": 1e6, "sink": 0}, edges)))
    simulator = SoC(path)
    found = simulator.evaluate_indices(rows_of(simulator, 50))
    assert not found["feasible"].any()
    assert all("memory" in reason and "\n" not in reason for reason in found["failure"])
    check_simulator(simulator)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"workload": "hpvm"}, ["hpvm_cava", "audio_decoder", "'hpvm'"]),
        ({"workload": "no/such/file.json"}, ["no/such/file.json"]),
        ({"budgets": {"energy_j": 1}}, ["'energy_j'", "latency_s"]),
        ({"budgets": {"latency_s": 0}}, ["latency_s", "positive", "0"]),
        ({"budgets": {"power_w": "much"}}, ["power_w", "'much'"]),
        ({"budgets": {"power_w": float("nan")}}, ["power_w", "nan"]),
        ({"budgets": {"power_w": True}}, ["power_w", "True"]),
        ({"budgets": 3}, ["budgets", "3"]),
        ({"max_buses": 4}, ["max_buses", "1 to 3", "4"]),
        ({"max_buses": True}, ["max_buses", "True"]),
        ({"literal": "yes"}, ["literal", "'yes'"]),
        ({"wire_pj_per_bit_mm": -1}, ["wire_pj_per_bit_mm", "-1"]),
        ({"goal": "latency"}, ["goal", "distance"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, words):
    with pytest.raises(ArchGymError) as error:
        gymnasium.make(ENV, **arguments)
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in words), message


# --- the environment ---


@pytest.mark.parametrize("max_buses", [1, 3])
@pytest.mark.parametrize("name", list_workloads())
def test_the_simulator_keeps_the_contract(name, max_buses):
    check_simulator(SoC(name, max_buses, wire_pj_per_bit_mm=0.1))


def test_the_environment_keeps_the_contract():
    check_env(ENV)


def test_presets_have_the_numbers_of_designs_that_the_documentation_states():
    stated = {}
    for line in (env_module.__doc__ or "").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].split(",")[0] in PRESETS and cells[2][:1].isdigit():
            stated |= {name.strip(): int(cells[2].replace(",", "")) for name in cells[0].split(",")}
    for preset, size in stated.items():
        assert gymnasium.make(ENV, preset=preset).unwrapped.simulator.space.size == size
    assert {"hpvm_cava", "edge_detection", "audio_decoder"} <= stated.keys()


def test_a_search_comes_within_the_budgets():
    result = archgym.search(ENV, "genetic", budget=1000, seed=0)
    assert result.best_metrics["distance"] == 0 and result.best_reward == 0


# --- contexts ---


def test_contexts_scale_the_budgets_of_farsi_one_by_one():
    found = contexts.budgets()
    assert len(found) == 48 and all(design is not None for design in found.optima)
    limits = load_workload("edge_detection").budgets
    ratios = {tuple(a["budgets"][name] / limits[name] for name in limits) for a in found.arguments}
    assert len(ratios) == 48 and (1.0, 1.0, 1.0) in ratios and (0.125, 8.0, 0.25) in ratios


def test_stored_optima_of_contexts_are_their_designs_and_best_among_all_accelerators():
    simulator = SoC("edge_detection")
    rows = all_on_accelerators(simulator)
    found = simulator.evaluate_indices(rows)
    for factors, stored in contexts.read_optima().items():
        limits = contexts.scaled(factors)
        best = SoC("edge_detection", budgets=limits).evaluate_indices(
            simulator.space.encode(stored["design"])
        )
        assert best["overshoot"][0] == pytest.approx(stored["overshoot"], rel=1e-12)
        others = sum(np.maximum(0, found[metric] / limit - 1) for metric, limit in limits.items())
        assert 1 + others.min() >= stored["overshoot"] * (1 - 1e-12)
        assert (stored["meeting"] > 0) == (stored["overshoot"] == 1.0)


def test_optima_of_contexts_are_found_by_enumeration_and_read_back(tmp_path):
    simulator = SoC(_small(tmp_path))
    found = contexts.find_optima(simulator, chunk=1000)
    contexts.write_optima(found, simulator.space, tmp_path / "optima.csv")
    rows = np.concatenate(list(simulator.space.enumerate()))
    rows = np.unique(simulator.canonical(rows), axis=0)
    columns = simulator.evaluate_indices(rows)
    for factors, optimum in found.items():
        limits = contexts.scaled(factors)
        distance = sum(np.maximum(0, columns[metric] / limit - 1) for metric, limit in limits.items())
        assert optimum["overshoot"] == pytest.approx(1 + distance.min(), rel=1e-12)
        assert optimum["meeting"] == (distance == 0).sum()
    shipped = contexts.read_optima()
    contexts.write_optima(shipped, SoC("edge_detection").space, tmp_path / "shipped.csv")
    assert (tmp_path / "shipped.csv").read_bytes() == contexts.FILE.read_bytes()
