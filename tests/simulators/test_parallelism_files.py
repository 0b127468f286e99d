"""Models and clusters from files: ours and Calculon's, and one clear line for whatever is wrong in them."""

from __future__ import annotations

import copy
import json
import re

import pytest

from archgym.errors import ArchGymError
from archgym.simulators.parallelism.clusters import list_clusters, load_cluster
from archgym.simulators.parallelism.language_models import LanguageModel, list_models, load_model

MODEL = {
    "format": "archgym-language-model/1",
    "hidden": 512,
    "feedforward": 2048,
    "sequence": 256,
    "heads": 8,
    "head_size": 64,
    "blocks": 12,
}
NETWORK = {
    "gpus": 8,
    "gb_s": 300,
    "efficiency": 0.65,
    "latency_s": 1e-5,
    "operations": {
        "point_to_point": [1, 0],
        "all_reduce": [1, 0],
        "reduce_scatter": [1, 0],
        "all_gather": [1, 0],
    },
    "processor_share": 0.15,
    "divided": True,
}
CLUSTER = {
    "format": "archgym-cluster/1",
    "matrix_tflops": 312,
    "matrix_efficiency_from_gflop": [[128, 0.95], [0, 0.1]],
    "vector_tflops": 78,
    "vector_efficiency_from_gflop": [[0, 0.5]],
    "hbm_gib": 80,
    "hbm_gb_s": 2048,
    "hbm_efficiency_from_mb": [[100, 0.9], [0, 0.3]],
    "overlap": "none",
    "networks": [NETWORK],
}
# the layout of Calculon's files, with numbers of a small machine
SYSTEM = {
    "matrix": {"float16": {"tflops": 100, "gflops_efficiency": [[10, 0.9], [0, 0.2]]}},
    "vector": {"float16": {"tflops": 20, "gflops_efficiency": [[0, 0.5]]}},
    "mem1": {"GiB": 40, "GBps": 1000, "MB_efficiency": [[100, 0.8], [0, 0.4]]},
    "mem2": {"GiB": 512, "GBps": 32, "MB_efficiency": [[0, 0.3]]},
    "processing_mode": "roofline",
    "networks": [
        {
            "bandwidth": 200,
            "efficiency": 0.7,
            "size": 4,
            "latency": 1e-5,
            "ops": {
                "p2p": [1.0, None],
                "reduce_scatter": [2.0, -1],
                "all_gather": [2.0, -1],
                "all_reduce": [2.0, -1],
            },
            "must_be_filled": False,
            "processor_usage": 0.1,
        }
    ],
}


def changed(original: dict, path: tuple, value) -> dict:
    """A copy with one value replaced, or removed where it is `...`."""
    copied = copy.deepcopy(original)
    place = copied
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copied


def written(tmp_path, found) -> str:
    path = tmp_path / "file.json"
    path.write_text(found if isinstance(found, str) else json.dumps(found))
    return str(path)


def test_shipped_models_have_the_parameters_of_their_names():
    """Weights of the blocks, 12 L h^2; those of embeddings come on top."""
    for name, billions in {"22B": 21.7, "175B": 174, "530B": 528, "1T": 1007}.items():
        model = load_model(name)
        assert 12 * model.blocks * model.hidden**2 == pytest.approx(billions * 1e9, rel=0.005)
        assert model.heads * model.head_size == model.hidden
        assert model.feedforward == 4 * model.hidden
    assert list_models() == ["22B", "175B", "530B", "1T"]
    assert load_model("gpt3-175B") == load_model("175B")
    assert load_model(load_model("1T")) == load_model("megatron-1T")


def test_shipped_clusters_have_eight_gpus_on_the_fast_network():
    assert list_clusters() == ["a100", "h100"]
    for name in list_clusters():
        cluster = load_cluster(name)
        fast, slow = cluster.networks
        assert fast.gpus == 8
        assert fast.gb_s > slow.gb_s
        assert cluster.power_w == {"a100": 400, "h100": 700}[name]
        assert load_cluster(cluster) is cluster


def test_files_are_read(tmp_path):
    model = load_model(written(tmp_path, MODEL | {"title": "small", "source": "this test"}))
    assert model == LanguageModel(512, 2048, 256, 8, 64, 12)
    cluster = load_cluster(written(tmp_path, CLUSTER))
    assert cluster.networks[0].operations["all_reduce"] == (1, 0)
    assert cluster.power_w is None


def test_calculons_files_are_read(tmp_path):
    theirs = {
        "hidden": 512,
        "feedforward": 2048,
        "seq_size": 256,
        "attn_heads": 8,
        "attn_size": 64,
        "num_blocks": 12,
    }
    assert load_model(written(tmp_path, theirs)) == LanguageModel(512, 2048, 256, 8, 64, 12)
    cluster = load_cluster(written(tmp_path, SYSTEM))
    assert (cluster.matrix_tflops, cluster.vector_tflops, cluster.hbm_gib, cluster.hbm_gb_s) == (
        100,
        20,
        40,
        1000,
    )
    assert cluster.matrix_efficiency_from_gflop == ((10, 0.9), (0, 0.2))
    assert cluster.overlap == "roofline"
    (network,) = cluster.networks
    assert (network.gpus, network.gb_s, network.latency_s, network.processor_share) == (4, 200, 1e-5, 0.1)
    assert network.operations["point_to_point"] == (1, 0)
    assert network.operations["all_gather"] == (2, -1)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("not JSON", "is not a language model: expected JSON text"),
        ("[1, 2]", "is not a language model: expected a JSON object, got list"),
        (
            changed(MODEL, ("format",), "archgym-language-model/2"),
            'expected "format": "archgym-language-model/1"',
        ),
        (changed(MODEL, ("heads",), ...), "expected the key 'heads'"),
        (changed(MODEL, ("hiden",), 512), "unknown key of a language model 'hiden'; did you mean 'hidden'?"),
        (changed(MODEL, ("blocks",), 0), "expected blocks as a whole number >= 1, got 0"),
        (changed(MODEL, ("blocks",), 1.5), "expected blocks as a whole number >= 1, got 1.5"),
        ({"seq_size": 2048}, "expected the key 'hidden' in Calculon's model"),
    ],
)
def test_a_bad_model_is_one_clear_line(tmp_path, found, message):
    with pytest.raises(ArchGymError, match=re.escape(message)) as raised:
        load_model(written(tmp_path, found))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("{", "is not a cluster: expected JSON text"),
        (changed(CLUSTER, ("format",), "archgym-cluster/2"), 'expected "format": "archgym-cluster/1", got'),
        (changed(CLUSTER, ("format",), ...), 'expected "format": "archgym-cluster/1", got None'),
        (changed(CLUSTER, ("hbm_gb_s",), 0), "expected hbm_gb_s as a number > 0, got 0"),
        (changed(CLUSTER, ("networks", 0, "gb_s"), 0), "expected gb_s of network 0 as a number > 0, got 0"),
        (
            changed(CLUSTER, ("networks", 0, "gb_s"), "300"),
            "expected gb_s of network 0 as a number > 0, got '300'",
        ),
        (
            changed(CLUSTER, ("networks", 0, "latency_s"), -1),
            "expected latency_s of network 0 as a number >= 0",
        ),
        (
            changed(CLUSTER, ("networks", 0, "efficiency"), 1.5),
            "efficiency of network 0 as a number > 0 and <= 1",
        ),
        (
            changed(CLUSTER, ("networks", 0, "processor_share"), 1),
            "processor_share of network 0 as a number < 1",
        ),
        (changed(CLUSTER, ("networks", 0, "divided"), 1), "divided of network 0 as true or false, got 1"),
        (changed(CLUSTER, ("networks", 0, "gbs"), 1), "unknown key of network 0 'gbs'; did you mean 'gb_s'?"),
        (changed(CLUSTER, ("networks", 0, "operations", "all_reduce"), ...), "expected the key 'all_reduce'"),
        (changed(CLUSTER, ("networks", 0, "operations", "all_reduce"), 2), "as [scale, offset], got 2"),
        (changed(CLUSTER, ("networks", 0), 8), "expected network 0 as an object, got 8"),
        (changed(CLUSTER, ("networks",), []), "networks as a list of at least one network"),
        (changed(CLUSTER, ("matrix_tflops",), ...), "expected the key 'matrix_tflops' in a cluster"),
        (
            changed(CLUSTER, ("hbm_gb",), 80),
            "unknown key of a cluster 'hbm_gb'; did you mean 'hbm_gib' or 'hbm_gb_s'",
        ),
        (changed(CLUSTER, ("overlap",), "rooflin"), "unknown overlap 'rooflin'; did you mean 'roofline'?"),
        (changed(CLUSTER, ("hbm_efficiency_from_mb",), [[0, 0.3], [100, 0.9]]), "with falling sizes"),
        (changed(CLUSTER, ("hbm_efficiency_from_mb",), [[100, 0.9]]), "and the last from 0"),
        (
            changed(CLUSTER, ("hbm_efficiency_from_mb",), 0.9),
            "as a list of [least size, efficiency], got 0.9",
        ),
        (changed(CLUSTER, ("power_w",), 0), "expected power_w as a number > 0, got 0"),
        (
            changed(SYSTEM, ("networks", 0, "bandwidth"), 0),
            "expected gb_s of network 0 as a number > 0, got 0",
        ),
        (
            changed(SYSTEM, ("matrix", "float16"), ...),
            "expected the key 'float16' in matrix of Calculon's system",
        ),
        (changed(SYSTEM, ("processing_mode",), "overlap"), "unknown processing_mode 'overlap'"),
        (changed(SYSTEM, ("mem1", "GBps"), ...), "expected the key 'GBps' in mem1 of Calculon's system"),
    ],
)
def test_a_bad_cluster_is_one_clear_line(tmp_path, found, message):
    with pytest.raises(ArchGymError, match=re.escape(message)) as raised:
        load_cluster(written(tmp_path, found))
    assert len(str(raised.value).splitlines()) == 1


def test_unknown_names_get_the_nearest_ones(tmp_path):
    with pytest.raises(ArchGymError, match=r"unknown language model .* '175b'; did you mean '175B'"):
        load_model("175b")
    with pytest.raises(ArchGymError, match=r"unknown cluster .* 'a10'; did you mean 'a100'"):
        load_cluster("a10")
    with pytest.raises(ArchGymError, match="no file at"):
        load_cluster(tmp_path / "absent.json")
