"""Training plans: the equations' own invariants, and monotonicity over plans and clusters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archgym.errors import ArchGymError
from archgym.simulators.parallelism.clusters import Cluster, load_cluster
from archgym.simulators.parallelism.collectives import seconds
from archgym.simulators.parallelism.language_models import LanguageModel, load_model
from archgym.simulators.parallelism.model import reasons, simulate
from archgym.simulators.parallelism.plans import NETWORKS, enumerate_plans

A100 = load_cluster("a100")
SMALL = LanguageModel(hidden=512, feedforward=2048, sequence=256, heads=8, head_size=64, blocks=12)
PLAN = {
    "gpus": 1,
    "batch": 64,
    "tensor": 1,
    "pipeline": 1,
    "microbatch": 1,
    "interleaving": 1,
    "recompute": "none",
    "tensor_communication": "all_reduce",
    "gather_again": False,
    "fuse_activation": False,
    "shard_optimizer": False,
    "overlap_data": False,
}
TIMES = (
    "forward_s",
    "backward_s",
    "optimizer_s",
    "recompute_s",
    "bubble_s",
    "recommunication_s",
    "tensor_communication_s",
    "pipeline_communication_s",
    "data_communication_s",
)
PARTS = (
    "weight_bytes",
    "activation_bytes",
    "checkpoint_bytes",
    "activation_gradient_bytes",
    "weight_gradient_bytes",
    "optimizer_bytes",
)


def run(model: LanguageModel = SMALL, cluster: Cluster = A100, literal: bool = False, **changed):
    """Outcome of one plan, as numbers."""
    found = simulate(model, cluster, {**PLAN, **changed}, literal=literal)
    return {name: float(np.broadcast_to(column, (1,))[0]) for name, column in found.items()}


def some_plans(count: int, seed: int = 0) -> dict:
    """Random plans for 16 GPUs on random networks."""
    rng = np.random.default_rng(seed)
    plans = enumerate_plans(SMALL, A100, 16, 96)
    rows = rng.integers(len(plans["gpus"]), size=count)
    chosen = {name: column[rows] for name, column in plans.items()}
    return chosen | {name: rng.integers(2, size=count) for name in NETWORKS}


def test_one_gpu_has_no_communication_and_no_bubble():
    found = run()
    assert found["communication_s"] == found["bubble_s"] == found["recommunication_s"] == 0
    assert found["step_time_s"] == found["forward_s"] + found["backward_s"] + found["optimizer_s"]


@pytest.mark.parametrize("literal", [False, True])
def test_the_parts_add_up(literal):
    found = simulate(SMALL, A100, some_plans(500), literal=literal)
    np.testing.assert_allclose(sum(found[name] for name in TIMES), found["step_time_s"], rtol=1e-14)
    np.testing.assert_allclose(sum(found[name] for name in PARTS), found["memory_bytes"], rtol=1e-14)
    np.testing.assert_allclose(sum(found[n] for n in TIMES[5:]), found["communication_s"], rtol=1e-14)
    shares = found["bubble_s"], found["communication_s"]
    np.testing.assert_allclose(found["bubble_share"] * found["step_time_s"], shares[0], rtol=1e-14)
    np.testing.assert_allclose(found["communication_share"] * found["step_time_s"], shares[1], rtol=1e-14)


@pytest.mark.parametrize(("p", "v", "microbatches"), [(2, 1, 64), (4, 1, 64), (4, 3, 64), (6, 2, 96)])
def test_the_bubble_is_the_share_of_the_pipelines_theory(p, v, microbatches):
    """(p - 1) / (M v) of the time of the microbatches, where transfers are free."""
    fast = replace(A100.networks[0], gb_s=1e15, latency_s=0.0)
    cluster = replace(A100, networks=(fast, fast))
    plan = {"gpus": p, "pipeline": p, "interleaving": v, "batch": microbatches}
    found = run(cluster=cluster, **plan)
    work = found["forward_s"] + found["backward_s"]
    assert found["bubble_s"] / work == pytest.approx((p - 1) / (microbatches * v), rel=1e-6)


@pytest.mark.parametrize("communication", ["all_reduce", "sequence_parallel"])
def test_recomputation_takes_time_and_saves_memory(communication):
    plan = {"gpus": 8, "tensor": 8, "tensor_communication": communication}
    none, attention, full = (run(recompute=each, **plan) for each in ("none", "attention", "full"))
    assert none["memory_bytes"] > attention["memory_bytes"] > full["memory_bytes"]
    assert none["recompute_s"] == 0 < attention["recompute_s"] < full["recompute_s"]
    assert full["recompute_s"] == full["forward_s"]


@pytest.mark.parametrize("d", [2, 4, 16])
def test_sharing_the_optimizer_divides_its_bytes_by_the_replicas(d):
    whole = run(gpus=d, shard_optimizer=False)
    shared = run(gpus=d, shard_optimizer=True)
    assert shared["optimizer_bytes"] == whole["optimizer_bytes"] / d
    assert shared["weight_bytes"] == whole["weight_bytes"]


@pytest.mark.parametrize("t", [2, 4, 8])
def test_an_all_reduce_moves_as_much_as_reduce_scatter_and_all_gather_on_a_ring(t):
    """A ring sends 2 (t - 1) / t of the numbers per GPU in both forms."""
    ring = {"all_reduce": (2.0, -1.0), "reduce_scatter": (1.0, -1.0), "all_gather": (1.0, -1.0)}
    network = replace(A100.networks[0], latency_s=0.0, operations={**ring, "point_to_point": (1.0, 0.0)})
    cluster = replace(A100, networks=(network,), hbm_gb_s=1e12)  # F and G access it differently
    times = {name: float(seconds(cluster, np.array(0), name, 1e9, t)) for name in ring}
    assert times["all_reduce"] == times["reduce_scatter"] + times["all_gather"]
    assert times["all_reduce"] == pytest.approx(1e9 * 2 * (t - 1) / t / (300e9 * 0.65))
    whole = run(cluster=cluster, gpus=t, tensor=t)
    split = run(cluster=cluster, gpus=t, tensor=t, tensor_communication="sequence_parallel")
    assert split["tensor_communication_s"] == pytest.approx(whole["tensor_communication_s"], rel=1e-6)


def test_a_batch_equals_its_rows_to_the_last_bit():
    plans = some_plans(300)
    together = simulate(SMALL, A100, plans)
    for row in range(300):
        alone = simulate(SMALL, A100, {name: column[row : row + 1] for name, column in plans.items()})
        for name, column in together.items():
            assert np.broadcast_to(column, 300)[row] == np.broadcast_to(alone[name], 1)[0], name


def test_clusters_may_be_columns_too():
    """One cluster for each plan, or many for one plan."""
    count = 50
    plans = some_plans(count)
    speeds, memory = np.linspace(50, 900, count), np.linspace(1000, 4000, count)
    nvlink, infiniband = A100.networks
    columns = replace(A100, hbm_gb_s=memory, networks=(replace(nvlink, gb_s=speeds), infiniband))
    together, one = (
        simulate(SMALL, columns, plans),
        simulate(SMALL, columns, {**PLAN, "gpus": 8, "tensor": 8}),
    )
    for row in range(count):
        cluster = replace(
            A100, hbm_gb_s=memory[row], networks=(replace(nvlink, gb_s=speeds[row]), infiniband)
        )
        plan = {name: column[row] for name, column in plans.items()}
        assert together["step_time_s"][row] == simulate(SMALL, cluster, plan)["step_time_s"][0]
        assert one["step_time_s"][row] == run(cluster=cluster, gpus=8, tensor=8)["step_time_s"]


def test_utilisation_is_of_matrix_products_and_of_all_gpus():
    """With free memory, networks and other operations, a GPU at peak is used fully."""
    everything = ((0.0, 1.0),)
    cluster = replace(
        A100,
        vector_tflops=1e9,
        hbm_gb_s=1e12,
        matrix_efficiency_from_gflop=everything,
        vector_efficiency_from_gflop=everything,
        hbm_efficiency_from_mb=everything,
    )
    found = run(cluster=cluster)
    assert found["mfu"] == pytest.approx(1, rel=1e-4)
    assert (
        found["tokens_s"]
        == SMALL.sequence * found["sequences_s"]
        == SMALL.sequence * 64 / found["step_time_s"]
    )
    assert run(cluster=cluster, recompute="full")["mfu"] == pytest.approx(3 / 4, rel=1e-4)
    uneven = run(cluster=cluster, gpus=5, pipeline=5, batch=6400)  # stages of 3, 3, 2, 2 and 2 blocks
    other = found["efficiency"] / found["mfu"]  # layers that are not products
    assert uneven["efficiency"] / uneven["mfu"] == pytest.approx(other * 5 * 3 / 12, rel=1e-3)


def test_the_flop_of_a_model_are_those_of_its_published_utilisation():
    """Chowdhery et al., PaLM, 2022: 30.2 % with attention for Megatron-Turing NLG, at 1,920 sequences in
    60.1 s on 2,240 A100 (Smith et al., 2022).
    """
    utilisation = 1920 * load_model("530B").flop_per_sequence / (2240 * 312e12 * 60.1)
    assert utilisation == pytest.approx(0.302, abs=0.0005)


def test_energy_is_the_power_of_all_gpus_and_absent_without_a_power():
    found = run(gpus=8, tensor=8)
    assert found["energy_j"] == found["step_time_s"] * 8 * 400
    assert "energy_j" not in run(cluster=replace(A100, power_w=None))


# the corrected window of overlapped data parallel communication

EXPOSING = {
    "gpus": 64,
    "batch": 512,
    "tensor": 2,
    "microbatch": 8,
    "shard_optimizer": True,
    "overlap_data": True,
}


@pytest.mark.parametrize("literal", [False, True])
def test_calculons_exposed_communication_jumps_up_where_a_faster_link_hides_it(literal):
    """Exposed by a hair, communication costs nothing there; hidden, it costs the GPU's share that serves it."""
    nvlink, infiniband = A100.networks
    slow, fast = (
        run(
            load_model("22B"),
            replace(A100, networks=(nvlink, replace(infiniband, gb_s=gb_s))),
            literal,
            **EXPOSING,
        )["step_time_s"]
        for gb_s in (18.1, 18.4)
    )
    assert (fast > 1.003 * slow) if literal else (fast <= slow)


@pytest.mark.parametrize("literal", [False, True])
def test_calculons_colliding_transfers_jump_up_where_a_faster_link_shortens_a_chunk(literal):
    """A faster NVLink lets one more whole backward pass fit into the exchange of gradients, on 10 Gbit/s."""
    nvlink, infiniband = A100.networks
    plan = EXPOSING | {"pipeline": 2, "interleaving": 24, "microbatch": 16, "recompute": "full"}
    plan |= {"tensor_communication": "sequence_parallel", "pipeline_network": 1, "data_network": 1}
    slow, fast = (
        run(
            load_model("22B"),
            replace(A100, networks=(replace(nvlink, gb_s=gb_s), replace(infiniband, gb_s=1.2228))),
            literal,
            **plan,
        )["step_time_s"]
        for gb_s in (179.0, 187.0)
    )
    assert (fast > 1.08 * slow) if literal else (fast <= slow)


def test_recomputation_enters_the_window_with_the_layers_own_time():
    """Who computes all layers again has a longer backward pass to hide communication in; sums over all layers
    up to each one exceed that pass.
    """
    plan = EXPOSING | {"tensor": 1, "pipeline": 4, "interleaving": 6, "microbatch": 1}
    full, literal = (
        run(load_model("22B"), recompute="full", literal=each, **plan)["data_communication_s"]
        for each in (False, True)
    )
    none = run(load_model("22B"), recompute="none", **plan)["data_communication_s"]
    assert full <= none
    assert literal > none


@st.composite
def cases(draw):
    """Plans of a small model on two random networks, of which one has a better link in the second cluster."""
    heads, size = draw(st.sampled_from([1, 4, 8])), draw(st.sampled_from([16, 128]))
    blocks, sequence = draw(st.integers(1, 30)), draw(st.sampled_from([64, 2048]))
    model = LanguageModel(heads * size, 4 * heads * size, sequence, heads, size, blocks)
    gpus = draw(st.sampled_from([2, 8, 12, 32]))
    plans = enumerate_plans(model, A100, gpus, gpus * draw(st.sampled_from([1, 3, 8])))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    count = 1500
    rows = rng.integers(len(plans["gpus"]), size=count)
    chosen = {name: column[rows] for name, column in plans.items()}
    chosen |= {name: rng.integers(2, size=count) for name in NETWORKS}
    networks = tuple(
        replace(
            each,
            gpus=65536,
            divided=False,
            gb_s=np.exp(rng.uniform(np.log(0.1), np.log(1000), count)),
            latency_s=np.exp(rng.uniform(np.log(1e-9), np.log(1e-2), count)),
            processor_share=rng.choice([0.0, 0.02, 0.15, 0.9], count),
        )
        for each in A100.networks
    )
    cluster = replace(
        A100,
        networks=networks,
        overlap=draw(st.sampled_from(["none", "roofline"])),
        matrix_tflops=np.exp(rng.uniform(0, 7, count)),
        hbm_gb_s=np.exp(rng.uniform(2, 9, count)),
    )
    better = list(networks)
    which = draw(st.integers(0, 1))
    factor = 1 + np.exp(rng.uniform(-12, 2, count))
    if draw(st.booleans()):
        better[which] = replace(better[which], gb_s=better[which].gb_s * factor)
    else:
        better[which] = replace(better[which], latency_s=better[which].latency_s / factor)
    return model, chosen, cluster, replace(cluster, networks=tuple(better))


@settings(max_examples=60)
@given(cases())
def test_a_faster_link_never_makes_a_step_slower(case):
    model, plans, cluster, better = case
    before = simulate(model, cluster, plans)["step_time_s"]
    after = simulate(model, better, plans)["step_time_s"]
    assert np.all(after <= before * (1 + 1e-12))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 80), st.sampled_from([0.3, 1.0]))
def test_no_plan_fits_that_needs_more_memory_than_one_that_does_not(seed, hbm_gib, batch):
    model = load_model("22B")
    plans = enumerate_plans(model, A100, 64, int(512 * batch) // 64 * 64)
    rows = np.random.default_rng(seed).integers(len(plans["gpus"]), size=200)
    chosen = {name: column[rows] for name, column in plans.items()}
    cluster = replace(A100, hbm_gib=hbm_gib)
    memory = simulate(model, cluster, chosen)["memory_bytes"]
    fits = reasons(model, cluster, chosen) == ""
    assert max(memory[fits], default=0) <= hbm_gib * 2**30 < min(memory[~fits], default=np.inf)


# bad plans


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tensor": 8, "pipeline": 3, "gpus": 64}, "tensor 8 x pipeline 3 does not divide 64 GPUs"),
        ({"tensor": 16, "gpus": 16}, "tensor 16 does not divide 8 heads"),
        ({"pipeline": 16, "gpus": 16}, "pipeline 16 exceeds 12 blocks"),
        ({"gpus": 3}, "data 3 does not divide batch 64"),
        ({"microbatch": 3}, "data 1 x microbatch 3 does not divide batch 64"),
        ({"interleaving": 2}, "interleaving 2 needs pipeline > 1"),
        (
            {"pipeline": 4, "gpus": 4, "interleaving": 2},
            "interleaving 2 does not divide 3 blocks per stage",
        ),
        ({"gather_again": True}, "gather_again needs sequence_parallel communication"),
        (
            {"gather_again": True, "tensor_communication": "sequence_parallel", "recompute": "full"},
            "gather_again needs recompute none or attention",
        ),
        ({"shard_optimizer": True}, "shard_optimizer needs data > 1"),
        ({"overlap_data": True}, "overlap_data needs data > 1"),
        ({"gpus": 16, "data_network": 0}, "16 GPUs exceed the 8 of network 0"),
        ({"gpus": 12, "pipeline": 6, "pipeline_network": 0}, "6 GPUs do not divide the 8 of network 0"),
        ({}, ""),
    ],
)
def test_a_plan_that_does_not_divide_has_its_reason(changed, message):
    assert reasons(SMALL, A100, {**PLAN, **changed}).tolist() == [message]


def test_a_plan_that_does_not_fit_has_its_reason():
    plans = {**PLAN, "microbatch": np.array([1, 64])}
    needed = simulate(SMALL, A100, plans)["memory_bytes"] / 2**30
    small = replace(A100, hbm_gib=needed.mean())
    assert reasons(SMALL, small, plans).tolist() == [
        "",
        f"{needed[1]:.1f} GiB exceed the GPU's {needed.mean():g} GiB",
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tensor": 0}, "whole numbers >= 1 in the column 'tensor'"),
        ({"pipeline": 1.5}, "whole numbers >= 1 in the column 'pipeline'"),
        ({"recompute": "attn_only"}, "unknown recompute 'attn_only'"),
        ({"tensor_communication": "ring"}, "unknown tensor_communication 'ring'"),
        ({"tensr": 1}, "unknown column of plans 'tensr'; did you mean 'tensor'?"),
    ],
)
def test_columns_that_are_not_plans_are_refused(changed, message):
    with pytest.raises(ArchGymError, match=message.replace("?", r"\?")):
        simulate(SMALL, A100, {**PLAN, **changed})


def test_a_missing_column_is_named():
    with pytest.raises(ArchGymError, match="expected the column 'batch' of plans"):
        simulate(SMALL, A100, {name: each for name, each in PLAN.items() if name != "batch"})


# all plans


def test_enumerated_plans_are_all_that_divide_and_none_is_twice():
    plans = enumerate_plans(SMALL, A100, 8, 24)
    assert set(reasons(SMALL, replace(A100, hbm_gib=1e6), plans)) == {""}
    rows = set(zip(*(column.tolist() for column in plans.values()), strict=True))
    assert len(rows) == len(plans["gpus"])
    grid = np.meshgrid(*[np.arange(1, 13)] * 4, [0, 1], indexing="ij")
    t, p, m, v, shared = (each.ravel() for each in grid)
    all_of = {**PLAN, "gpus": 8, "batch": 24, "tensor": t, "pipeline": p, "microbatch": m, "interleaving": v}
    divide = reasons(SMALL, replace(A100, hbm_gib=1e6), {**all_of, "shard_optimizer": shared == 1}) == ""
    plain = (plans["recompute"] == "none") & (plans["tensor_communication"] == "all_reduce")
    plain &= ~plans["fuse_activation"] & ~plans["overlap_data"]
    assert plain.sum() == divide.sum()


@pytest.mark.parametrize(
    ("model", "gpus", "batch", "count", "best_s"),
    [("22B", 64, 512, 35_112, 11.811), ("530B", 2240, 1920, 46_552, 28.897)],
)
def test_the_best_of_all_plans_is_calculons(model, gpus, batch, count, best_s):
    """Best plans that Calculon itself reaches, with pipeline and replicas on InfiniBand."""
    plans = enumerate_plans(load_model(model), A100, gpus, batch)
    assert len(plans["gpus"]) == count
    plans |= {"pipeline_network": np.array(1), "data_network": np.array(1)}
    found = simulate(load_model(model), A100, plans, literal=True)
    fits = found["memory_bytes"] <= A100.hbm_bytes
    assert found["step_time_s"][fits].min() == pytest.approx(best_s, abs=5e-4)


def test_groups_fill_the_fastest_network_first():
    """Stages beside two GPUs of a product fit into 8; so do replicas only where all fit."""
    chosen = {"pipeline": 4, "gpus": 8, "tensor": 2, "tensor_network": 0}
    inside, outside = {"pipeline_network": 0}, {"pipeline_network": 1}
    assert run(**chosen)["step_time_s"] == run(**chosen, **inside)["step_time_s"]
    assert run(**chosen)["step_time_s"] < run(**chosen, **outside)["step_time_s"]
    wide = {"pipeline": 8, "gpus": 16, "tensor": 2, "interleaving": 1}
    assert run(**wide)["step_time_s"] == run(**wide, **outside)["step_time_s"]


def test_groups_fill_what_a_chosen_network_has_left():
    """Of three networks, stages are placed on the second: replicas join them while they fit."""
    nvlink, infiniband = A100.networks
    rail = replace(nvlink, gpus=64, gb_s=100)
    cluster = replace(A100, networks=(nvlink, rail, infiniband))
    plan = {"tensor": 8, "pipeline": 4, "pipeline_network": 1}
    for gpus, network in ((512, 1), (1024, 2)):  # 16 and 32 replicas of 4 stages
        times = {
            run(cluster=cluster, gpus=gpus, batch=64, **plan, **each)["step_time_s"]
            for each in ({}, {"data_network": network})
        }
        assert len(times) == 1


def test_a_network_that_the_cluster_lacks_is_refused():
    with pytest.raises(ArchGymError, match="'data_network' of plans as numbers from 0 to 1"):
        run(data_network=2)
