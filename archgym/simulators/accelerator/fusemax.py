"""Closed forms of FuseMax and FLAT: cycles and traffic of an attention on a square array with a row of vector
lanes.

A head computes O = softmax(Q K') V with P queries, M keys, E the dimension of queries and keys, F that of
values; there are B batches of H heads. The array has D x D elements, the vector unit L = D lanes; a tile is D
queries by D keys and takes c cycles:

    cycles    = B H P M / D^2 * c
    FuseMax   c = max(E + 1, F + 1 + D F / M) + F + 9   softmax on the array, tiles interleaved: the lanes
                                                        correct the numerators
                                                                of one tile while the array multiplies Q and K
                                                                of another
    in turn    c = max(E + 1, 1 + D F / M) + D + 2 F + 9        the same hardware, tile by tile: D cycles for
                                                                the maximum of each
    on FLAT    c = 4 D + 5 + 2 F + D F / M                      one_pass, softmax on lanes that have an
                                                                exponential unit
    FLAT       c = 4 D                                          three_pass, softmax on such lanes
    FuseMax's 2-D array: Q K' E, maximum 1, exponential 7, sum 1, times V F; lanes: maximum 1, correction 7,
               denominator 2, numerators 2 F, division D F / M. An exponential is a subtraction and 6
               multiply-adds, or on FLAT's lanes 2 operations.

**Traffic.** Q, K, V are read and O is written at least once: compulsory = w B H (P E + M E + M F + P F)
bytes, words of w bytes. The published dataflow holds a block of b queries and streams all keys and values
past it, ceil(P / b) times. A query needs on chip:

    one_pass   E + F + 2 words (query, numerators, maximum, denominator), for any length; with the softmax on
               the vector
                        unit also 2 D (scores and exponentials of a tile of keys)
    two and three   M words, as a later pass needs every score of a row again, or else the row moves out and
                    in between two passes:
                        2 (passes - 1) P M words, 4 P M for three passes (the unfused spill), 2 P M for two,
                        none for one

so `pass_bound_bytes` = compulsory + w B H 2 (passes - 1) P max(0, M - C / w) with C bytes on chip: each query
moves the part of its row that exceeds the memory. It bounds cascades that keep scores; recomputing scores
from Q and K trades this traffic for arithmetic.

**Validity.** The forms equal all 24 rows of the published tables (4 models, 1K to 1M tokens) in latency and
traffic, FuseMax also for D of 16 to 512. E = F and P = M there; the operation behind a term decides which of
them the term has. `flat_bytes` takes the places of FLAT's operands as arguments; FLAT itself searches for
them.

Source: Nayak et al., "FuseMax: Leveraging Extended Einsums to Optimize Attention Accelerator Design", MICRO
    2024, and its artifact.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from archgym.errors import unknown

Floats = npt.NDArray[np.float64]

DIM = 256  # D and L of the published designs, as are the next constants
CLOCK_HZ = 940e6
DRAM_BYTES_PER_S = 400 * 2.0**30
BUFFER_BYTES = 16 * 2**20
WORD_BYTES = 2
FLAT_CYCLES_PER_SCORE = 4  # on one lane: maximum, exponential, sum, division

# heads and E = F in the published tables
MODELS = {"BERT": (12, 64), "TrXL": (16, 64), "T5": (8, 64), "XLM": (16, 128)}
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
            ArchGymError: an unknown model.
        """
        if model not in MODELS:
            raise unknown("model", model, MODELS)
        heads, dim = MODELS[model]
        return cls(MODELS_BATCH, heads, length, length, dim, dim)

    def floats(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """B H, P, M, E, F as floats, since products of long sequences exceed 2^63."""
        batch, *others = (np.asarray(size, float) for size in self)
        heads, queries, keys, head_dim, value_dim = others
        return batch * heads, queries, keys, head_dim, value_dim


def fusemax_cycles(attention: Attention, dim: Any = DIM, interleaved: bool = True) -> Floats:
    """Cycles of the one-pass cascade with its softmax on an array of dim x dim with dim lanes.

    Args:
        attention: sizes.
        dim: rows and columns of the array.
        interleaved: whether tiles overlap (FuseMax; table attn-binding) or run one by one (attn-arch).
    """
    heads, p, m, e, f = attention.floats()
    divided = dim * f / m
    overlapped = np.maximum(e + 1, f + 1 + divided) + f + 9
    in_turn = np.maximum(e + 1, 1 + divided) + dim + 2 * f + 9
    return heads * p * m / dim**2 * (overlapped if interleaved else in_turn)


def one_pass_on_flat_cycles(attention: Attention, dim: Any = DIM) -> Floats:
    """Cycles of the one-pass cascade on FLAT's hardware: softmax on dim lanes with an exponential unit
    (table attn-cascade).
    """
    heads, p, m, _, f = attention.floats()
    return heads * p * m / dim**2 * (4 * dim + 5 + 2 * f + dim * f / m)


def flat_cycles(attention: Attention, lanes: Any = DIM) -> Floats:
    """Cycles of FLAT where memory does not bind: four operations per score on its lanes."""
    heads, p, m, _, _ = attention.floats()
    return FLAT_CYCLES_PER_SCORE * heads * p * m / lanes


def flat_latency_s(attention: Attention, traffic_bytes: Any) -> Floats:
    """Latency of FLAT at the published design, s: the maximum of arithmetic and memory (table attn-flat)."""
    return np.maximum(flat_cycles(attention) / CLOCK_HZ, np.asarray(traffic_bytes, float) / DRAM_BYTES_PER_S)


def compulsory_bytes(attention: Attention, word_bytes: Any = WORD_BYTES) -> Floats:
    """Traffic with every operand moved once, bytes."""
    return streamed_bytes(attention, np.inf, word_bytes)


def streamed_bytes(attention: Attention, block: Any, word_bytes: Any = WORD_BYTES) -> Floats:
    """Traffic with Q and O moved once, K and V once per block of `block` queries, bytes."""
    heads, p, m, e, f = attention.floats()
    rounds = np.maximum(np.ceil(p / block), 1)
    return word_bytes * heads * (e + f) * (p + m * rounds)


def query_block(
    attention: Attention,
    words_per_query: Any,
    dim: Any = DIM,
    buffer_bytes: Any = BUFFER_BYTES,
    word_bytes: Any = WORD_BYTES,
) -> Floats:
    """Queries on chip at once: a power of two of tiles of `dim`, with a tile of keys and values; 0 where
    not one tile fits.
    """
    _, _, _, e, f = attention.floats()
    tiles = np.floor((buffer_bytes / word_bytes - dim * (e + f)) / (dim * words_per_query))
    return np.where(tiles >= 1, dim * np.exp2(np.floor(np.log2(np.maximum(tiles, 1)))), 0.0)


def fusemax_bytes(attention: Attention) -> Floats:
    """Traffic of FuseMax at the published design, interleaved or not, bytes (tables attn-binding,
    attn-arch).
    """
    return streamed_bytes(attention, query_block(attention, one_pass_words(attention)))


def one_pass_on_flat_bytes(attention: Attention) -> Floats:
    """Traffic of the one-pass cascade on FLAT's hardware at the published design, bytes (table
    attn-cascade).
    """
    return streamed_bytes(attention, query_block(attention, one_pass_words(attention) + 2 * DIM))


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
    """Traffic of FLAT for given places of its operands, bytes (flat_validation.csv has them: *_loc,
    proportion_spilled, P1).

    With scores on chip, an off-chip operand is read once per tile of the other side, as is the spilled share
    of the others, and a spilled score is moved 7 times. With scores off chip, keys and values are read once
    per block of queries, and a score is moved 4 times.

    Args:
        attention: sizes.
        queries_off_chip, keys_off_chip, values_off_chip, scores_off_chip: bools or arrays of bools.
        spilled: share of the on-chip operands that does not fit, 0 to 1.
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
    return WORD_BYTES * heads * np.where(scores_off_chip, off_chip, on_chip)


def pass_bound_bytes(
    attention: Attention, passes: Any, buffer_bytes: Any, word_bytes: Any = WORD_BYTES
) -> Floats:
    """Minimum traffic of a cascade with `passes` passes over the keys that computes scores once, bytes."""
    heads, p, m, _, _ = attention.floats()
    moved = 2 * (np.asarray(passes) - 1) * p * np.maximum(0, m - buffer_bytes / word_bytes)
    return compulsory_bytes(attention, word_bytes) + word_bytes * heads * moved


def one_pass_words(attention: Attention) -> Floats:
    """Words on chip per query: the query, its numerators, its maximum and its denominator."""
    _, _, _, e, f = attention.floats()
    return e + f + 2
