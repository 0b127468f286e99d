"""Attention on a square array of multiply-adders beside a row of vector lanes: the published closed forms, and a design space around them.

A head computes O = softmax(Q K') V with P queries, M keys, E the dimension of queries and keys, F that of values; there are B batches of
H heads. The array has D x D elements, the vector unit L lanes. The *cascade* is the number of passes over the key axis (Nayak et al.):

    three_pass   maximum of a row; exponentials and their sum; division                          (textbook; FLAT, Kao et al., ASPLOS 2023)
    two_pass     exponentials under the maximum of a tile of keys, corrected in a second pass    (TileFlow, Zheng et al., MICRO 2023)
    one_pass     running maximum, denominator and numerators, corrected at every tile            (FlashAttention, Dao et al., 2022; FuseMax)

**Published forms** (`fusemax_cycles` to `flat_latency_s`), with D = L, a tile being D queries by D keys, and c cycles per tile:

    cycles     = B H P M / D^2 * c
    FuseMax    c = max(E + 1, F + 1 + D F / M) + F + 9          softmax on the array, tiles interleaved: while it multiplies Q and K of one
                                                                tile, the lanes correct the numerators of another
    in turn    c = max(E + 1, 1 + D F / M) + D + 2 F + 9        the same hardware, tile by tile: it waits D for the maximum of each
    on FLAT    c = 4 D + 5 + 2 F + D F / M                      one_pass, softmax on lanes that have an exponential unit
    FLAT       c = 4 D                                          three_pass, softmax on such lanes
    FuseMax's 2-D array: Q K' E, maximum 1, exponential 7, sum 1, times V F; lanes: maximum 1, correction 7, denominator 2,
               numerators 2 F, division D F / M. An exponential is a subtraction and 6 multiply-adds, or on FLAT's lanes 2 operations.

**Traffic.** Q, K, V are read and O is written at least once: compulsory = w B H (P E + M E + M F + P F) bytes, words of w bytes. The
published dataflow holds a block of b queries and streams all keys and values past it, ceil(P / b) times. What a query needs on chip:

    one_pass            E + F + 2 words (query, numerators, maximum, denominator), whatever the length; with the softmax on the vector
                        unit also 2 D (scores and exponentials of a tile of keys)
    two and three       a later pass needs every score of a row again: M words, or the row is moved out and in between two passes, which
                        is 2 (passes - 1) P M words: 4 P M for three passes (the unfused spill), 2 P M for two, none for one

so `pass_bound_bytes` = compulsory + w B H 2 (passes - 1) P max(0, M - C / w) with C bytes on chip: even a single query must move what its
row has beyond the memory. It bounds cascades that keep scores; recomputing them from Q and K trades this traffic for arithmetic.

**Validity.** The forms equal all 24 rows of the published tables (4 models, 1K to 1M tokens) in latency and traffic, FuseMax also for D of
16 to 512. E = F and P = M there: which of them a term has is from the cost of its operation. `AttentionAccelerator` is these forms at the
published designs (`PUBLISHED`, `FLAT_HARDWARE`), and NOT validated anywhere else. FLAT's traffic takes its operands' places as given
(`flat_bytes`), which FLAT searches for; the design space has the rule above instead.

Source: Nayak et al., "FuseMax: Leveraging Extended Einsums to Optimize Attention Accelerator Design", MICRO 2024, and its artifact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.simulator import Metric, Simulator
from archgym.simulators.accelerator.design import KIB, PRECISIONS
from archgym.simulators.accelerator.energy import load_energy_table
from archgym.space import Array, Categorical, DesignSpace, Ordinal

Floats = npt.NDArray[np.float64]

DIM = 256  # D and L of the published designs
CLOCK_HZ = 940e6
DRAM_BYTES_PER_S = 400 * 2.0**30
BUFFER_BYTES = 16 * 2**20
WORD_BYTES = 2
FLAT_CYCLES_PER_SCORE = 4  # on one lane: maximum, exponential, sum, division

PASSES = {"three_pass": 3, "two_pass": 2, "one_pass": 1}

MODELS = {"BERT": (12, 64), "TrXL": (16, 64), "T5": (8, 64), "XLM": (16, 128)}  # heads, E = F; of the published tables
MODELS_BATCH = 64
LENGTHS = {"1K": 2**10, "4K": 2**12, "16K": 2**14, "64K": 2**16, "256K": 2**18, "1M": 2**20}


class Attention(NamedTuple):
    """Sizes of an attention, integers or arrays that broadcast."""

    batch: Any  # B
    heads: Any  # H
    queries: Any  # P
    keys: Any  # M
    head_dim: Any  # E
    value_dim: Any  # F

    @classmethod
    def of_model(cls, model: str, length: int) -> Attention:
        """Self-attention of a published model (`MODELS`) over `length` tokens, batch 64.

        Raises:
            ArchGymError: no such model.
        """
        if model not in MODELS:
            raise unknown("model", model, MODELS)
        heads, dim = MODELS[model]
        return cls(MODELS_BATCH, heads, length, length, dim, dim)

    def floats(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """B H, P, M, E, F: products of long sequences pass 2^63."""
        batch, *others = (np.asarray(size, float) for size in self)
        heads, queries, keys, head_dim, value_dim = others
        return batch * heads, queries, keys, head_dim, value_dim


# --- the published closed forms ---


def fusemax_cycles(attention: Attention, dim: Any = DIM, interleaved: bool = True) -> Floats:
    """Cycles of the one-pass cascade with its softmax on the 2-D array of dim x dim, beside dim lanes.

    Args:
        interleaved: tiles overlap (FuseMax; table attn-binding); else one follows the other (attn-arch).
    """
    heads, p, m, e, f = attention.floats()
    divided = dim * f / m
    overlapped = np.maximum(e + 1, f + 1 + divided) + f + 9
    in_turn = np.maximum(e + 1, 1 + divided) + dim + 2 * f + 9
    cycles: Floats = heads * p * m / dim**2 * (overlapped if interleaved else in_turn)
    return cycles


def one_pass_on_flat_cycles(attention: Attention, dim: Any = DIM) -> Floats:
    """Cycles of the one-pass cascade on FLAT's hardware: softmax on dim lanes with an exponential unit (table attn-cascade)."""
    heads, p, m, _, f = attention.floats()
    cycles: Floats = heads * p * m / dim**2 * (4 * dim + 5 + 2 * f + dim * f / m)
    return cycles


def flat_cycles(attention: Attention, lanes: Any = DIM) -> Floats:
    """Cycles of FLAT where memory does not bind: four operations per score on its lanes."""
    heads, p, m, _, _ = attention.floats()
    cycles: Floats = FLAT_CYCLES_PER_SCORE * heads * p * m / lanes
    return cycles


def flat_latency_s(attention: Attention, traffic_bytes: Any) -> Floats:
    """Latency of FLAT at the published design: the longer of arithmetic and memory (table attn-flat)."""
    latency: Floats = np.maximum(flat_cycles(attention) / CLOCK_HZ, np.asarray(traffic_bytes, float) / DRAM_BYTES_PER_S)
    return latency


def compulsory_bytes(attention: Attention, word_bytes: Any = WORD_BYTES) -> Floats:
    """Every operand once."""
    return streamed_bytes(attention, np.inf, word_bytes)


def streamed_bytes(attention: Attention, block: Any, word_bytes: Any = WORD_BYTES) -> Floats:
    """Q and O once, K and V once per block of `block` queries."""
    heads, p, m, e, f = attention.floats()
    rounds = np.maximum(np.ceil(p / block), 1)
    traffic: Floats = word_bytes * heads * (e + f) * (p + m * rounds)
    return traffic


def query_block(
    attention: Attention, words_per_query: Any, dim: Any = DIM, buffer_bytes: Any = BUFFER_BYTES, word_bytes: Any = WORD_BYTES
) -> Floats:
    """Queries on chip at once: a power of two of tiles of `dim`, beside a tile of keys and values; 0 where not even one tile fits."""
    _, _, _, e, f = attention.floats()
    tiles = np.floor((buffer_bytes / word_bytes - dim * (e + f)) / (dim * words_per_query))
    block: Floats = np.where(tiles >= 1, dim * np.exp2(np.floor(np.log2(np.maximum(tiles, 1)))), 0.0)
    return block


def fusemax_bytes(attention: Attention) -> Floats:
    """Traffic of FuseMax at the published design, interleaved or not (tables attn-binding, attn-arch)."""
    return streamed_bytes(attention, query_block(attention, _one_pass_words(attention)))


def one_pass_on_flat_bytes(attention: Attention) -> Floats:
    """Traffic of the one-pass cascade on FLAT's hardware at the published design (table attn-cascade)."""
    return streamed_bytes(attention, query_block(attention, _one_pass_words(attention) + 2 * DIM))


def flat_bytes(
    attention: Attention,
    *,
    queries_off_chip: Any,
    keys_off_chip: Any,
    values_off_chip: Any,
    scores_off_chip: Any,
    spilled: Any,
    block: Any,
) -> Floats:
    """Traffic of FLAT, given where its operands are (flat_validation.csv has that of the published rows: *_loc, proportion_spilled, P1).

    Where scores stay on chip, an operand that does not is read once per tile of the other side, and so is the spilled share of the others;
    a spilled score is moved 7 times. Where scores do not, keys and values are read once per block of queries, and a score is moved 4 times.

    Args:
        queries_off_chip, keys_off_chip, values_off_chip, scores_off_chip: bool, or arrays of it.
        spilled: share of what should be on chip and is not, 0 to 1.
        block: queries per block.
    """
    heads, p, m, e, f = attention.floats()
    spilled = np.asarray(spilled, float)

    def reads(off_chip: Any, tiles: Floats) -> Floats:
        return np.where(off_chip, tiles, 1 - spilled + spilled * tiles)

    on_chip = (
        p * e * reads(queries_off_chip, m / DIM)
        + m * e * reads(keys_off_chip, p / DIM)
        + m * f * reads(values_off_chip, p / DIM)
        + p * f
        + 7 * spilled * p * m
    )
    off_chip = p * (e + f) + m * (e + f) * p / block + 4 * p * m
    traffic: Floats = WORD_BYTES * heads * np.where(scores_off_chip, off_chip, on_chip)
    return traffic


def pass_bound_bytes(attention: Attention, passes: Any, buffer_bytes: Any, word_bytes: Any = WORD_BYTES) -> Floats:
    """Least traffic of a cascade of so many passes over the keys that does not compute scores twice, with so much memory on chip."""
    heads, p, m, _, _ = attention.floats()
    moved = 2 * (np.asarray(passes) - 1) * p * np.maximum(0, m - buffer_bytes / word_bytes)
    bound: Floats = compulsory_bytes(attention, word_bytes) + word_bytes * heads * moved
    return bound


def _one_pass_words(attention: Attention) -> Floats:
    """On chip per query: the query, its numerators, its maximum and its denominator."""
    _, _, _, e, f = attention.floats()
    words: Floats = e + f + 2
    return words


# --- the design space ---

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

EXPONENTIAL_MACS = 6  # a Taylor polynomial by Horner's rule, as on FuseMax's array
REGISTERS = {"array": 12, "vector": 4}  # words per element: a softmax on the array keeps its intermediates there

# of a score, by where the softmax is: reads and writes of the buffer
SCORE_ACCESSES = {
    ("three_pass", "array"): (2, 2),  # the row of scores and that of exponentials wait for the next pass
    ("two_pass", "array"): (1, 1),
    ("one_pass", "array"): (0, 0),  # scores never leave the array
    ("three_pass", "vector"): (4, 3),  # between array and lanes all go through the buffer; FLAT's 7 accesses
    ("two_pass", "vector"): (3, 3),
    ("one_pass", "vector"): (2, 2),
}


class AttentionAccelerator(Simulator):
    """An attention on an array of D x D elements and L vector lanes, by cascade, binding, memory and precision.

    With r = D / L, k = ceil(M / D) tiles of keys and B H ceil(P / D) k tiles, cycles per tile on the array (a) and on the lanes (v) are

                  softmax on the array                             softmax on the lanes
    three_pass    a = E + F + 9     v = r (D + 2)                  a = E + F    v = r 4 D
    two_pass      a = E + F + 10    v = r 18                       a = E + F    v = r (5 D + 8)
    one_pass      a = E + F + 9     v = r (10 + 2 F + F / k)       a = E + F    v = r (4 D + 5 + 2 F + F / k)

    and a tile takes max(a, v) where tiles are interleaved, a + v where not; the one-pass cascade on the array, by its phases,

    interleaved   max(E + 1, r (1 + F + F / k)) + r + 8 max(1, r) + F max(1, r)
    else          max(E + 1, r (1 + F / k)) + D + r + 8 max(1, r) + F max(1, 2 r)

    Latency is the longer of that and DRAM traffic over bandwidth. Traffic follows the module's docstring; cascades of several passes take
    the lesser of blocks that hold their rows (M + E + F + 2 words per query) and of moving scores. Energy counts multiply-adds,
    an exponential as 7 of them and any other operation as 1, the buffer, transfers to the elements (NoC) and DRAM; neither registers nor
    leakage. Area counts elements and lanes (with an exponential unit of 6 multiply-adders where the softmax is on them), registers and the
    buffer; neither dividers nor the DRAM's interface. Bandwidth and clock are thus free.

    Exactly the published cycles and traffic at `PUBLISHED` and `FLAT_HARDWARE` for P and M that are multiples of 256 (no such row is bound
    by memory, so that 400 GB/s stand for the paper's 400 GiB/s). Elsewhere, and energy and area everywhere, NOT validated.

    Metrics: `latency_s`, `cycles`, `energy_j`, `area_mm2`, `power_w`, `edp` (J s), `utilization` (multiply-adds of the two products over
    what the array could do in all cycles), `dram_bytes`, `bound`: what is busy longest, 1 the array, 2 the lanes, 3 DRAM. None of these is
    validated off the published designs.

    Designs whose buffer cannot hold one tile of queries, keys and values are infeasible.

    Args:
        batch: B.
        heads: H, of queries; each has keys and values of its own.
        queries: P; 1 for a decoding step.
        keys: M.
        head_dim: E.
        value_dim: F.

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
    metrics = (
        Metric("latency_s", unit="s", better="lower"),
        Metric("cycles", unit="1", better="lower"),
        Metric("energy_j", unit="J", better="lower"),
        Metric("area_mm2", unit="mm2", better="lower"),
        Metric("power_w", unit="W", better="lower"),
        Metric("edp", unit="J s", better="lower"),
        Metric("utilization", unit="1", better="higher"),
        Metric("dram_bytes", unit="B", better="lower"),
        Metric("bound", unit="1"),
    )

    def __init__(
        self, batch: int = 64, heads: int = 12, queries: int = 4096, keys: int = 4096, head_dim: int = 64, value_dim: int = 64
    ) -> None:
        self.attention = Attention(batch, heads, queries, keys, head_dim, value_dim)
        for name, size in zip(Attention._fields, self.attention, strict=True):
            if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
                raise ArchGymError(f"{name} must be a positive integer, not {size!r}")
        self._table = load_energy_table("45nm")

    def evaluate(self, designs: Mapping[str, Array], rng: np.random.Generator | None = None) -> dict[str, Array]:
        """Designs, a column [B] per parameter -> every metric, float64 [B], `feasible`, bool [B], and `failure`, str [B]."""
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
        array, vector, tile = _tile_cycles(passes, on_array, np.asarray(designs["interleaved"], bool), dim, lanes, e, f, key_tiles)
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
        found: dict[str, Array] = {name: np.where(feasible, column, np.nan) for name, column in columns.items()}
        failure = np.full(len(dim), "", object)
        for i in np.flatnonzero(~feasible).tolist():
            failure[i] = f"a buffer of {buffer_bytes[i] / KIB:.0f} KB cannot hold a tile of {dim[i]:.0f} queries, keys and values"
        return {**found, "feasible": feasible, "failure": failure}

    def _traffic(self, passes: Floats, on_array: Array, dim: Floats, buffer_bytes: Floats, word: Floats) -> tuple[Floats, Floats, Array]:
        """Bytes read from and written to DRAM, and whether the buffer holds a tile."""
        heads, p, m, _, f = self.attention.floats()
        query_words = _one_pass_words(self.attention)

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
        """Operations besides the two products, an exponential being a subtraction and 6 multiply-adds."""
        heads, p, m, _, f = self.attention.floats()
        exponential = 1 + EXPONENTIAL_MACS
        per_score = np.where(passes == 1, 2, 3) + exponential  # maximum and sum; division, or correction by multiplication
        per_tile = np.select([passes == 3, passes == 2], [2, 4 + 2 * exponential], 3 + exponential + 2 * f)  # of keys, per query
        operations: Floats = heads * p * (m * per_score + key_tiles * per_tile + np.where(passes == 1, f, 0))
        return operations

    def _energy_j(
        self, precision: Array, operations: Floats, buffer_bytes: Floats, accessed: Floats, dram_read: Floats, dram_written: Floats
    ) -> Floats:
        """Joules; `accessed` has the bytes that the array and the lanes read from and write to the buffer, [2, B]."""
        read_pj, write_pj = self._table.sram_pj_per_byte(buffer_bytes)
        energy_j: Floats = 1e-12 * (
            operations * self._table.mac_pj(precision)
            + (accessed[0] + dram_written) * read_pj  # what goes to DRAM comes from the buffer
            + (accessed[1] + dram_read) * write_pj
            + accessed.sum(axis=0) * self._table.noc_pj_per_byte
            + (dram_read + dram_written) * self._table.dram_pj_per_byte
        )
        return energy_j

    def _area_mm2(self, precision: Array, on_array: Array, dim: Floats, lanes: Floats, buffer_bytes: Floats, word: Floats) -> Floats:
        mac_um2 = self._table.mac_um2(precision)
        registers_um2 = self._table.sram_um2(word * np.where(on_array, REGISTERS["array"], REGISTERS["vector"]))
        units = np.where(on_array, 1, 1 + EXPONENTIAL_MACS)  # of a lane
        area: Floats = 1e-6 * (dim**2 * (mac_um2 + registers_um2) + lanes * units * mac_um2 + self._table.sram_um2(buffer_bytes))
        return area


def _tile_cycles(
    passes: Floats, on_array: Array, interleaved: Array, dim: Floats, lanes: Floats, e: Floats, f: Floats, key_tiles: Floats
) -> tuple[Floats, Floats, Floats]:
    """Cycles [B] that a tile keeps the array and the lanes busy, and that it takes."""
    r = dim / lanes
    three, two = passes == 3, passes == 2
    array = e + f + np.where(on_array, np.where(two, 10, 9), 0)
    divided = f / key_tiles  # of the numerators, once per query
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
    # queries, keys, values, and outputs so far, which are read and written
    return np.stack([dim * (2 * e + 2 * f) + dim**2 * reads, dim * f + dim**2 * writes])


def _select(column: Any, values: Mapping[str, float]) -> Floats:
    """Names [B] -> their values [B]."""
    names = np.asarray(column)
    chosen: Floats = np.select([names == name for name in values], [float(value) for value in values.values()])
    return chosen
