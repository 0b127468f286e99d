"""Generated traces of memory requests by name, with parameters and a seed: "random", "hot_rows:rows=8".

Addresses are those of 64-byte requests to the first GiB; a row holds 8 KiB, neighbouring rows are in
neighbouring banks, and the same bank returns every 64 KiB (`archgym.simulators.dram.traces`). The kinds:

    stream         `streams` arrays, evenly apart, read forwards in turn
    random         uniform over `footprint` bytes
    strided        every `stride` bytes, again from the start at the end of `footprint`
    row_hits       with probability `hits` a column of the row before, else a column of a random row
    hot_rows       with probability `hot` one of `rows` rows, drawn once, else any row
    zipf           row of rank r with probability ~ r^-`exponent` among `rows`
    banks          random rows of `banks` neighbouring banks: few banks, many conflicts
    pointer_chase  a random cycle through `nodes` lines, one request after the other was answered (gap 40)
    copy           `block` lines read from one array, then written to another
    gather         an index read in order, then `fanout` reads at random: sparse matrices, graphs
    transpose      a square matrix of 8-byte elements, a line read by row, then 8 lines written by column
    tiles          a matrix of `pitch` bytes a row in tiles of `tile` x `tile` bytes
    bursts         random, in bursts of 32 requests with pauses (burst 32, gap 8)
    cores          `cores` of these at once, in random order: streams, random readers and hot rows in turn

Parameters of all kinds: `requests` (10,000), `seed`, `writes` (share of writes, drawn alone for each request;
copy and transpose have their own), `gap` (mean cycles between requests) and `burst` (requests in successive
cycles before a pause). The same name gives the same trace on all machines: draws are of NumPy's PCG64.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, unknown
from archgym.words import shown

LINE_BYTES = 64  # of a request: a burst of 8 on 64 data lines
ROW_BYTES = (
    8192  # of neighbouring addresses in a row: 8 chips with pages of 1 KiB, columns in the lowest bits
)
BANKS = 8
MEMORY_BYTES = 1 << 30
MOST_REQUESTS = 1_000_000

Integers = npt.NDArray[np.int64]


class Requests(NamedTuple):
    """Columns of a trace, [N] each: clock cycle, whether it is a write, and byte address."""

    cycle: Integers
    write: npt.NDArray[np.bool_]
    address: Integers


class _Kind(NamedTuple):
    make: Callable[..., Any]
    defaults: dict[str, Any]
    own_writes: bool


_COMMON = {"requests": 10_000, "seed": 0, "writes": 0.0, "gap": 1.0, "burst": 1}
_SHARES = ("writes", "hits", "hot")
_KINDS: dict[str, _Kind] = {}


def _kind(own_writes: bool = False, **common: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a kind by its function's name; `common` are its own defaults of common parameters."""

    def register(make: Callable[..., Any]) -> Callable[..., Any]:
        parameters = list(inspect.signature(make).parameters.values())[2:]
        own = {parameter.name: parameter.default for parameter in parameters}
        defaults = {**own, **_COMMON, **common}
        if own_writes:
            del defaults["writes"]
        _KINDS[make.__name__.strip("_")] = _Kind(make, defaults, own_writes)
        return make

    return register


def list_generators() -> dict[str, dict[str, Any]]:
    """Kind -> parameters with their defaults."""
    return {name: dict(kind.defaults) for name, kind in _KINDS.items()}


def is_generated(name: str) -> bool:
    """Whether a name is that of a generated trace, its parameters unread."""
    return name.partition(":")[0] in _KINDS


def generate(name: str) -> Requests:
    """The requests of a generated trace by its name, such as "random:writes=0.3,seed=2".

    Raises:
        ArchGymError: an unknown kind or parameter, or a value out of its range.
    """
    kind, _, text = name.partition(":")
    if kind not in _KINDS:
        raise unknown("generated trace", kind, _KINDS)
    make, defaults, own_writes = _KINDS[kind]
    values = {**defaults, **_parsed(kind, text, defaults)}
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(values["seed"])))
    requests = values["requests"]
    made = make(rng, requests, **{key: value for key, value in values.items() if key not in _COMMON})
    if own_writes:
        address, write = made
    else:
        address, write = made, rng.random(requests) < values["writes"]
    return Requests(_arrivals(requests, values["gap"], values["burst"]), write, address)


def _parsed(kind: str, text: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """The parameters of "hits=0.8,seed=3" as numbers, of the type of their defaults."""
    values: dict[str, Any] = {}
    for each in filter(None, text.split(",")):
        key, equals, value = (part.strip() for part in each.partition("="))
        if key not in defaults:
            raise unknown(f"parameter of the trace {kind!r}", key, defaults)
        if key in values:
            raise ArchGymError(f"expected {key} once in the name of the trace {kind!r}, got it twice")
        of = type(defaults[key])
        try:
            values[key] = of(value)
        except ValueError:
            form = "a whole number" if of is int else "a number"
            raise ArchGymError(
                f"expected {key} of the trace {kind!r} as {form}, as in {key}={defaults[key]}, got "
                f"{shown(value if equals else each)}"
            ) from None
        low, high = _range(key)
        if not low <= values[key] <= high:
            raise ArchGymError(
                f"expected {key} of the trace {kind!r} from {low:,} to {high:,}, got {shown(value)}"
            )
    return values


def _range(key: str) -> tuple[float, float]:
    """Smallest and largest value of a parameter."""
    if key in _SHARES:
        return 0, 1
    bounds: dict[str, tuple[float, float]] = {
        "seed": (0, 2**63 - 1),
        "requests": (1, MOST_REQUESTS),
        "gap": (0, 1e6),
        "exponent": (0, 10),
        "banks": (1, BANKS),
        "rows": (1, MEMORY_BYTES // ROW_BYTES),
        "nodes": (2, MEMORY_BYTES // LINE_BYTES),
        "stride": (LINE_BYTES, MEMORY_BYTES),
        "footprint": (LINE_BYTES, MEMORY_BYTES),
        "pitch": (LINE_BYTES, MEMORY_BYTES // ROW_BYTES),
        "tile": (LINE_BYTES, 4096),
    }
    return bounds.get(key, (1, 4096))


def _arrivals(requests: int, gap: float, burst: int) -> Integers:
    """Cycles of arrival, [N]: `burst` in successive cycles, then a pause, `gap` cycles apart on the mean."""
    number, within = np.divmod(np.arange(requests), burst)
    return np.floor(number * burst * gap + within * min(gap, 1.0)).astype(np.int64)


def _lines(rng: np.random.Generator, count: int, footprint: int = MEMORY_BYTES) -> Integers:
    return rng.integers(footprint // LINE_BYTES, size=count) * LINE_BYTES


def _columns(rng: np.random.Generator, count: int) -> Integers:
    return _lines(rng, count, ROW_BYTES)


def _rows(rng: np.random.Generator, count: int) -> Integers:
    return rng.integers(MEMORY_BYTES // ROW_BYTES, size=count) * ROW_BYTES


@_kind()
def _stream(rng: np.random.Generator, requests: int, streams: int = 1) -> Integers:
    step, stream = np.divmod(np.arange(requests), streams)
    apart = MEMORY_BYTES // streams // ROW_BYTES * ROW_BYTES
    return (stream * apart + step * LINE_BYTES) % MEMORY_BYTES


@_kind()
def _random(rng: np.random.Generator, requests: int, footprint: int = MEMORY_BYTES) -> Integers:
    return _lines(rng, requests, footprint)


@_kind()
def _strided(
    rng: np.random.Generator, requests: int, stride: int = 4096, footprint: int = MEMORY_BYTES
) -> Integers:
    return np.arange(requests) * stride % footprint // LINE_BYTES * LINE_BYTES


@_kind()
def _row_hits(rng: np.random.Generator, requests: int, hits: float = 0.5) -> Integers:
    rows, columns = _rows(rng, requests), _columns(rng, requests)
    stays = rng.random(requests) < hits
    return rows[np.maximum.accumulate(np.where(stays, 0, np.arange(requests)))] + columns


@_kind()
def _hot_rows(rng: np.random.Generator, requests: int, rows: int = 16, hot: float = 0.9) -> Integers:
    chosen = _rows(rng, rows)[rng.integers(rows, size=requests)]
    anywhere = _rows(rng, requests)
    return np.where(rng.random(requests) < hot, chosen, anywhere) + _columns(rng, requests)


@_kind()
def _zipf(rng: np.random.Generator, requests: int, rows: int = 4096, exponent: float = 1.0) -> Integers:
    share = np.cumsum(np.arange(1, rows + 1, dtype=np.float64) ** -exponent)
    rank = np.searchsorted(share, rng.random(requests) * share[-1])
    return _rows(rng, rows)[rank] + _columns(rng, requests)


@_kind()
def _banks(rng: np.random.Generator, requests: int, banks: int = 1) -> Integers:
    row = rng.integers(MEMORY_BYTES // ROW_BYTES // BANKS, size=requests) * BANKS
    return (row + rng.integers(banks, size=requests)) * ROW_BYTES + _columns(rng, requests)


@_kind(gap=40.0)
def _pointer_chase(rng: np.random.Generator, requests: int, nodes: int = 4096) -> Integers:
    places = _lines(rng, nodes)
    return places[np.arange(requests) % nodes]


@_kind(own_writes=True)
def _copy(rng: np.random.Generator, requests: int, block: int = 16) -> tuple[Integers, npt.NDArray[np.bool_]]:
    number, within = np.divmod(np.arange(requests), block)
    write = number % 2 == 1
    return (number // 2 * block + within) * LINE_BYTES + write * (MEMORY_BYTES // 2), write


@_kind()
def _gather(rng: np.random.Generator, requests: int, fanout: int = 4) -> Integers:
    number, within = np.divmod(np.arange(requests), fanout + 1)
    return np.where(
        within == 0, number * LINE_BYTES, MEMORY_BYTES // 2 + _lines(rng, requests, MEMORY_BYTES // 2)
    )


@_kind(own_writes=True)
def _transpose(
    rng: np.random.Generator, requests: int, size: int = 1024
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    across = -(-size // 8)  # lines in a row of the matrix: 8 elements of 8 bytes in each
    number, within = np.divmod(np.arange(requests), 9)
    row, column = np.divmod(number % (size * across), across)
    write = within > 0
    written = (column * 8 + within - 1) * across + row // 8
    there = np.where(write, MEMORY_BYTES // 2 + written * LINE_BYTES, (row * across + column) * LINE_BYTES)
    return there % MEMORY_BYTES, write


@_kind()
def _tiles(rng: np.random.Generator, requests: int, pitch: int = 16384, tile: int = 512) -> Integers:
    wide = tile // LINE_BYTES  # lines of a row of a tile
    across = max(pitch // tile, 1)
    number, within = np.divmod(np.arange(requests), wide * tile)
    y, x = np.divmod(within, wide)
    down, right = np.divmod(number, across)
    there = (down * tile + y) * pitch + right * tile + x * LINE_BYTES
    return there % MEMORY_BYTES // LINE_BYTES * LINE_BYTES


@_kind(gap=8.0, burst=32)
def _bursts(rng: np.random.Generator, requests: int, footprint: int = MEMORY_BYTES) -> Integers:
    return _lines(rng, requests, footprint)


@_kind()
def _cores(rng: np.random.Generator, requests: int, cores: int = 4) -> Integers:
    apart = MEMORY_BYTES // cores // ROW_BYTES * ROW_BYTES
    core = rng.integers(cores, size=requests)
    own = [_stream, _random, _hot_rows]
    address = np.empty(requests, np.int64)
    for each in range(cores):
        mine = core == each
        if count := int(mine.sum()):
            address[mine] = each * apart + own[each % len(own)](rng, count) % apart
    return address
