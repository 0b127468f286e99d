"""A design space of attention accelerators around the published designs of FuseMax and FLAT.

A head computes O = softmax(Q K') V with P queries, M keys, E the dimension of queries and keys, F that of
values; there are B batches of H heads. The array has D x D elements, the vector unit L lanes. The *cascade*
is the number of passes over the key axis (Nayak et al.):

    three_pass   maximum of a row; exponentials and their sum; division                         (textbook;
                 FLAT, Kao et al., ASPLOS 2023)
    two_pass     exponentials under the maximum of a tile of keys, corrected in a second pass   (TileFlow,
                 Zheng et al., MICRO 2023)
    one_pass     running maximum, denominator and numerators, corrected at every tile
                 (FlashAttention, Dao et al., 2022; FuseMax)

The published closed forms, and the rule of traffic, are in `archgym.simulators.accelerator.fusemax`.
`AttentionAccelerator` equals them at the published designs (`PUBLISHED`, `FLAT_HARDWARE`), and is NOT
validated anywhere else.

Source: Nayak et al., "FuseMax: Leveraging Extended Einsums to Optimize Attention Accelerator Design", MICRO
    2024, and its artifact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from archgym.deprecated.names import old_names
from archgym.errors import whole
from archgym.simulator import Simulator
from archgym.simulators.accelerator.design import KIB, PRECISIONS, select_metrics
from archgym.simulators.accelerator.energy import load_energy_table
from archgym.simulators.accelerator.fusemax import (
    FLAT_CYCLES_PER_SCORE,
    Attention,
    Floats,
    one_pass_words,
    query_block,
    streamed_bytes,
)
from archgym.space import Array, Categorical, DesignSpace, Ordinal

PASSES = {"three_pass": 3, "two_pass": 2, "one_pass": 1}
PUBLISHED = {  # FuseMax
    "cascade": "one_pass",
    "softmax": "array",
    "interleaved": True,
    "array_dim": 256,
    "vector_lanes": 256,
    "buffer_kb": 16384,
    "dram_gb_s": 400,
    "precision": "fp16",
    "clock_mhz": 940,
}
FLAT_HARDWARE = {**PUBLISHED, "softmax": "vector"}  # the one-pass cascade on it

EXPONENTIAL_MACS = 6  # Taylor polynomial by Horner's rule, as on FuseMax's array
# words per element: a softmax on the array keeps its intermediates there
REGISTERS = {"array": 12, "vector": 4}

# reads and writes of the buffer per score, by cascade and place of the softmax
SCORE_ACCESSES = {
    ("three_pass", "array"): (2, 2),  # the rows of scores and of exponentials are kept for the next pass
    ("two_pass", "array"): (1, 1),
    ("one_pass", "array"): (0, 0),  # scores never leave the array
    # all data between array and lanes pass through the buffer; FLAT's 7 accesses
    ("three_pass", "vector"): (4, 3),
    ("two_pass", "vector"): (3, 3),
    ("one_pass", "vector"): (2, 2),
}


class AttentionAccelerator(Simulator):
    """An attention on an array of D x D elements and L vector lanes, by cascade, binding, memory and
    precision.

    With r = D / L, k = ceil(M / D) tiles of keys and B H ceil(P / D) k tiles, cycles per tile on the array
    (a) and on the lanes (v) are

                  softmax on the array                             softmax on the lanes
    three_pass    a = E + F + 9     v = r (D + 2)                  a = E + F    v = r 4 D
    two_pass      a = E + F + 10    v = r 18                       a = E + F    v = r (5 D + 8)
    one_pass      a = E + F + 9     v = r (10 + 2 F + F / k)       a = E + F    v = r (4 D + 5 + 2 F + F / k)

    and a tile takes max(a, v) where tiles are interleaved, otherwise a + v; the one-pass cascade on the array
    takes, by its phases,

    interleaved   max(E + 1, r (1 + F + F / k)) + r + 8 max(1, r) + F max(1, r)
    else          max(E + 1, r (1 + F / k)) + D + r + 8 max(1, r) + F max(1, 2 r)

    Latency is the maximum of that and DRAM traffic over bandwidth. Traffic follows `fusemax`; cascades of
    several passes take the minimum over blocks that hold their rows (M + E + F + 2 words per query) and moved
    scores. Energy counts multiply-adds (7 for an exponential, 1 for any other operation), the buffer,
    transfers to the elements (NoC) and DRAM, without registers and leakage. Area counts elements, lanes (with
    an exponential unit of 6 multiply-adders for a softmax on them), registers and the buffer, without
    dividers and the DRAM's interface: bandwidth and clock cost no area.

    Cycles and traffic equal the published ones at `PUBLISHED` and `FLAT_HARDWARE` for P and M that are
    multiples of 256 (memory binds in no such row, so 400 GB/s give the results of the paper's 400 GiB/s).
    Other designs, and energy and area of all, are NOT validated.

    `utilization` is the multiply-adds of the two products over the array's capacity in all cycles; `bound` is
    the busiest part: 1 the array, 2 the lanes, 3 DRAM. Designs whose buffer cannot hold one tile of queries,
    keys and values are infeasible.

    Args:
        batch: number of sequences, B.
        heads: heads of queries, each with its own keys and values, H.
        queries: queries per head, P; 1 for a decoding step.
        keys: keys per head, M.
        head_dim: dimension of queries and keys, E.
        value_dim: dimension of values, F.

    Raises:
        ArchGymError: a size that is not a positive integer.
    """

    identity = "archgym.simulators.accelerator.attention:AttentionAccelerator"

    space = DesignSpace(
        [
            Categorical("cascade", list(PASSES), default="one_pass"),
            Categorical("softmax", ["array", "vector"]),
            Categorical("interleaved", [False, True], default=True),
            Ordinal("array_dim", [16, 32, 64, 128, 256, 512], default=256),
            Ordinal("vector_lanes", [32, 64, 128, 256, 512, 1024, 2048], default=256),
            Ordinal("buffer_kb", [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768], default=16384),
            Ordinal("dram_gb_s", [50, 100, 200, 400, 800, 1600], default=400),
            Categorical("precision", list(PRECISIONS), default="fp16"),
            Ordinal("clock_mhz", [470, 705, 940, 1175], default=940),
        ]
    )
    metrics = select_metrics(
        "latency_s", "cycles", "energy_j", "area_mm2", "power_w", "edp", "utilization", "dram_bytes", "bound"
    )

    def __init__(
        self,
        batch: int = 64,
        heads: int = 12,
        queries: int = 4096,
        keys: int = 4096,
        head_dim: int = 64,
        value_dim: int = 64,
    ) -> None:
        self.attention = Attention(batch, heads, queries, keys, head_dim, value_dim)
        for name, size in zip(Attention._fields, self.attention, strict=True):
            whole(name, size, least=1)
        self._table = load_energy_table("45nm")

    def evaluate(
        self, designs: Mapping[str, Array], rng: np.random.Generator | None = None
    ) -> dict[str, Array]:
        """Designs, a column [B] per parameter -> every metric, float64 [B], `feasible`, bool [B], and
        `failure`, str [B].
        """
        heads, p, m, e, f = self.attention.floats()
        dim, lanes = np.asarray(designs["array_dim"], float), np.asarray(designs["vector_lanes"], float)
        clock_hz = 1e6 * np.asarray(designs["clock_mhz"], float)
        buffer_bytes = KIB * np.asarray(designs["buffer_kb"], float)
        precision = np.asarray(designs["precision"])
        word = _select(precision, {name: each.operand_bytes for name, each in PRECISIONS.items()})
        passes = _select(designs["cascade"], PASSES)
        on_array = np.asarray(designs["softmax"]) == "array"

        key_tiles = np.ceil(m / dim)
        tiles = heads * np.ceil(p / dim) * key_tiles
        array, vector, tile = _tile_cycles(
            passes, on_array, np.asarray(designs["interleaved"], bool), dim, lanes, e, f, key_tiles
        )
        read, written, feasible = self._traffic(passes, on_array, dim, buffer_bytes, word)
        dram_bytes = read + written
        dram_cycles = dram_bytes / (1e9 * np.asarray(designs["dram_gb_s"], float)) * clock_hz
        cycles = np.maximum(tiles * tile, dram_cycles)
        bound = np.where(dram_cycles > tiles * tile, 3, np.where(vector > array, 2, 1))
        latency_s = cycles / clock_hz

        macs = heads * p * m * (e + f)
        accesses = _buffer_accesses(designs, dim, e, f)
        operations = macs + self._softmax_operations(passes, key_tiles)
        energy_j = self._energy_j(precision, operations, buffer_bytes, tiles * word * accesses, read, written)
        columns = {
            "latency_s": latency_s,
            "cycles": cycles,
            "energy_j": energy_j,
            "area_mm2": self._area_mm2(precision, on_array, dim, lanes, buffer_bytes, word),
            "power_w": energy_j / latency_s,
            "edp": energy_j * latency_s,
            "utilization": macs / (dim**2 * cycles),
            "dram_bytes": dram_bytes,
            "bound": bound,
        }
        found: dict[str, Array] = {
            name: np.where(feasible, column, np.nan) for name, column in columns.items()
        }
        failure = np.full(len(dim), "", object)
        for i in np.flatnonzero(~feasible).tolist():
            failure[i] = (
                f"a buffer of {buffer_bytes[i] / KIB:.0f} KB cannot hold a tile of {dim[i]:.0f} queries, "
                "keys and values"
            )
        return {**found, "feasible": feasible, "failure": failure}

    def _traffic(
        self, passes: Floats, on_array: Array, dim: Floats, buffer_bytes: Floats, word: Floats
    ) -> tuple[Floats, Floats, Array]:
        """Bytes read from and written to DRAM [B], and whether the buffer holds a tile [B]."""
        heads, p, m, _, f = self.attention.floats()
        query_words = one_pass_words(self.attention)

        def streamed(words_per_query: Floats) -> tuple[Floats, Array]:
            block = query_block(self.attention, words_per_query, dim, buffer_bytes, word)
            return streamed_bytes(self.attention, np.maximum(block, 1), word), block > 0

        moving, feasible = streamed(query_words + np.where(on_array, 0, 2 * dim))
        holding, holds = streamed(query_words + m)
        moved = 2 * (passes - 1) * word * heads * p * m  # scores, out and in
        holds &= (passes > 1) & (holding < moving + moved)
        traffic = np.where(holds, holding, moving + moved)
        written = word * heads * p * f + np.where(holds, 0, moved / 2)
        return traffic - written, written, feasible

    def _softmax_operations(self, passes: Floats, key_tiles: Floats) -> Floats:
        """Operations besides the two products; an exponential is a subtraction and 6 multiply-adds."""
        heads, p, m, _, f = self.attention.floats()
        exponential = 1 + EXPONENTIAL_MACS
        # maximum and sum; division, or correction by multiplication
        per_score = np.where(passes == 1, 2, 3) + exponential
        # of keys, per query
        per_tile = np.select([passes == 3, passes == 2], [2, 4 + 2 * exponential], 3 + exponential + 2 * f)
        return heads * p * (m * per_score + key_tiles * per_tile + np.where(passes == 1, f, 0))

    def _energy_j(
        self,
        precision: Array,
        operations: Floats,
        buffer_bytes: Floats,
        accessed: Floats,
        dram_read: Floats,
        dram_written: Floats,
    ) -> Floats:
        """Energy, J; `accessed` is the bytes that the array and the lanes read from and write to the
        buffer, [2, B].
        """
        read_pj, write_pj = self._table.sram_pj_per_byte(buffer_bytes)
        return 1e-12 * (
            operations * self._table.mac_pj(precision)
            + (accessed[0] + dram_written) * read_pj  # data for DRAM come from the buffer
            + (accessed[1] + dram_read) * write_pj
            + accessed.sum(axis=0) * self._table.noc_pj_per_byte
            + (dram_read + dram_written) * self._table.dram_pj_per_byte
        )

    def _area_mm2(
        self,
        precision: Array,
        on_array: Array,
        dim: Floats,
        lanes: Floats,
        buffer_bytes: Floats,
        word: Floats,
    ) -> Floats:
        mac_um2 = self._table.mac_um2(precision)
        registers_um2 = self._table.sram_um2(
            word * np.where(on_array, REGISTERS["array"], REGISTERS["vector"])
        )
        units = np.where(on_array, 1, 1 + EXPONENTIAL_MACS)  # per lane
        return 1e-6 * (
            dim**2 * (mac_um2 + registers_um2) + lanes * units * mac_um2 + self._table.sram_um2(buffer_bytes)
        )


def _tile_cycles(
    passes: Floats,
    on_array: Array,
    interleaved: Array,
    dim: Floats,
    lanes: Floats,
    e: Floats,
    f: Floats,
    key_tiles: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Cycles [B] of a tile on the array, on the lanes, and in total."""
    r = dim / lanes
    three, two = passes == 3, passes == 2
    array = e + f + np.where(on_array, np.where(two, 10, 9), 0)
    divided = f / key_tiles  # division of the numerators, once per query
    vector = r * np.where(
        on_array,
        np.select([three, two], [dim + 2, 18], 10 + 2 * f + divided),
        np.select([three, two], [FLAT_CYCLES_PER_SCORE * dim, 5 * dim + 8], 4 * dim + 5 + 2 * f + divided),
    )
    overlapped = np.maximum(e + 1, r * (1 + f + divided)) + r + 8 * np.maximum(1, r) + f * np.maximum(1, r)
    in_turn = np.maximum(e + 1, r * (1 + divided)) + dim + r + 8 * np.maximum(1, r) + f * np.maximum(1, 2 * r)
    tile = np.where(
        on_array & (passes == 1),
        np.where(interleaved, overlapped, in_turn),
        np.where(interleaved, np.maximum(array, vector), array + vector),
    )
    return array, vector, tile


def _buffer_accesses(designs: Mapping[str, Array], dim: Floats, e: Floats, f: Floats) -> Floats:
    """Words that a tile reads from and writes to the buffer, [2, B]."""
    reads, writes = np.zeros(len(dim)), np.zeros(len(dim))
    for (cascade, softmax), (read, written) in SCORE_ACCESSES.items():
        here = (np.asarray(designs["cascade"]) == cascade) & (np.asarray(designs["softmax"]) == softmax)
        reads[here], writes[here] = read, written
    # queries, keys and values are read, outputs so far are read and written
    return np.stack([dim * (2 * e + 2 * f) + dim**2 * reads, dim * f + dim**2 * writes])


def _select(column: Any, values: Mapping[str, float]) -> Floats:
    """Names [B] -> their values [B]."""
    names = np.asarray(column)
    return np.select([names == name for name in values], [float(value) for value in values.values()])


_MOVED = (
    "fusemax_cycles one_pass_on_flat_cycles flat_cycles flat_latency_s compulsory_bytes fusemax_bytes "
    "one_pass_on_flat_bytes flat_bytes pass_bound_bytes"
)
__getattr__ = old_names(__name__, **dict.fromkeys(_MOVED.split(), "archgym.simulators.accelerator.fusemax:"))
