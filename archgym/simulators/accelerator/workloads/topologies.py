"""Layers from the tables of other simulators, recognised by their headers regardless of case, blanks and
punctuation.

SCALE-Sim (github.com/scalesim-project/SCALE-Sim, topologies): a row per convolution, or per matrix
multiplication [M, K] by [K, N]:

    Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
    Layer, M, N, K,

Sizes include padding. Output sizes round up, E = ceil((H - R) / stride) + 1, so zeros are added where a
layer, which rounds down, would have fewer. Groups cannot be expressed, but a layer with "DP" in its name is
computed channel by channel. Further columns: batch (images; rows of a multiplication), a stride per
direction, and sparsity, which layers cannot express.

MAESTRO and GAMMA (github.com/maestro-project/gamma, data/model): a row per layer of type T:

    K, C, Y, X, R, S, T   1 convolution, 2 depth-wise convolution (K = 1);  E = Y - R + 1, F = X - S + 1;  or
                                                                            Y', X' for E, F
    M, N, K, 0, 0, 0, T   3 matrix multiplication [M, K] by [K, N]; also in the columns above
    O, I, 0, 0, 0, 0, T   0 fully-connected layer of I inputs and O outputs; also in the columns above

Y and X are sizes of the input, which MAESTRO does not pad; there are no strides and no names. A header may be
repeated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from archgym.errors import ArchGymError, unknown
from archgym.simulators.accelerator.layers import Layer
from archgym.simulators.accelerator.workloads.convolutions import Axis, convolution

Rows = Sequence[tuple[str, list[str]]]  # place of each, "file, line n", and its cells
Read = tuple[list[Layer], str]  # layers, and a note on their conversion

_NAME = ("layer", "layername", "layers", "name", "l")
_BATCH = ("batch", "batchsize", "batches")
_SPARSITY = ("sparsity", "sparsityratio", "sparsitysupport")
_CONVOLUTION = {
    "name": _NAME,
    "height": ("ifmapheight", "ifmaph"),
    "width": ("ifmapwidth", "ifmapw"),
    "kernel_h": ("filterheight", "filterh"),
    "kernel_w": ("filterwidth", "filterw"),
    "channels": ("channels", "channel", "numchannels", "numchannel"),
    "filters": ("numfilter", "numfilters", "filters", "numberoffilters"),
    "stride": ("strides", "stride"),
    "stride_h": ("strideheight", "strideh"),
    "stride_w": ("stridewidth", "stridew"),
    "batch": _BATCH,
    "sparsity": _SPARSITY,
}
_PRODUCT = {"name": _NAME, "m": ("m",), "n": ("n",), "k": ("k",), "batch": _BATCH, "sparsity": _SPARSITY}
_MAESTRO = {"name": _NAME, "batch": ("n", *_BATCH), "stride": ("stride", "strides"), "type": ("t", "type")}
_MAESTRO |= {letter: (letter,) for letter in ("k", "c", "y", "x", "r", "s", "y'", "x'")}
_KINDS = {"0": "FC", "1": "CONV", "2": "DSCONV", "3": "GEMM"}  # GAMMA's types


def reader_of(columns: Sequence[str]) -> Callable[[str, Sequence[str], Rows], Read] | None:
    """The reader of a table with this header; None for an unknown header.

    A reader takes the place of the header, the header and the rows, and returns the layers and a note on
    their conversion. It raises ArchGymError for lines that cannot be expressed.
    """
    names = {_plain(column) for column in columns}
    if any(name.startswith("ifmap") for name in names):
        return _read_convolutions
    if {*"kcrs"} <= names or ({"t", "0"} <= names and ({*"mnk"} <= names or {*"oi"} <= names)):
        return _read_maestro
    if {*"mnk"} <= names and "kind" not in names:
        return _read_products
    return None


def whole(where: str, column: str, cell: str) -> int:
    """A cell as a whole number, e.g. "32" or "32.0".

    Raises:
        ArchGymError: a cell that is not a whole number.
    """
    if not re.fullmatch(r"[0-9]{1,18}(\.0*)?", cell):  # 18 digits: fits 64 bits
        raise ArchGymError(f"{where}, column {column!r}: a whole number is needed, not {cell!r}")
    return int(cell.partition(".")[0])


def _plain(column: str) -> str:
    return re.sub("[^a-z0-9']", "", column.casefold().translate({0x2019: "'", 0x2032: "'"}))


def _read_convolutions(where: str, columns: Sequence[str], rows: Rows) -> Read:
    plain = [_plain(column) for column in columns]
    if "ifmapheight" not in plain and plain.count("ifmapwidth") == 2:  # as in some of SCALE-Sim's files
        plain[plain.index("ifmapwidth")] = "ifmapheight"
    needed = ("height", "width", "kernel_h", "kernel_w", "channels", "filters")
    layers, rounded, apart, sparse = [], False, 0, 0
    for row in _rows(where, columns, plain, rows, _CONVOLUTION, needed):
        axes = []
        for side in "hw":
            size, kernel = (
                row.size(key) for key in (("height", "kernel_h") if side == "h" else ("width", "kernel_w"))
            )
            stride = row.size(f"stride_{side}" if row.has(f"stride_{side}") else "stride")
            more = -(size - kernel) % stride
            rounded |= more > 0
            axes.append(Axis(size, kernel, stride, back=more))
        groups = row.size("channels") if "DP" in row.name else 1
        apart += "DP" in row.name
        sparse += row.is_sparse()
        layers += row.convolution(axes, row.size("channels"), row.size("filters"), groups)
    return layers, _sentences(
        "A SCALE-Sim topology: sizes are padded already, and groups are not expressed.",
        "Zeros are added where SCALE-Sim rounds output sizes up." if rounded else "",
        f"Rows with DP in their names, {apart}, are depth-wise." if apart else "",
        _dense(sparse),
    )


def _read_products(where: str, columns: Sequence[str], rows: Rows) -> Read:
    layers, sparse = [], 0
    for row in _rows(where, columns, [_plain(column) for column in columns], rows, _PRODUCT, ("m", "n", "k")):
        sparse += row.is_sparse()
        layers.append(row.product(row.size("m"), row.size("n"), row.size("k")))
    return layers, _sentences(
        "A table of products [M, K] by [K, N]: all second operands are counted as parameters.", _dense(sparse)
    )


def _read_maestro(where: str, columns: Sequence[str], rows: Rows) -> Read:
    plain = [_plain(column) for column in columns]
    for mine in ("mnk", "oi"):  # GAMMA's other headers for the same columns
        if "".join(plain[: len(mine)]) == mine and "t" in plain:
            plain = [*"kcyxrs"][: plain.index("t")] + plain[plain.index("t") :]
    layers = []
    for row in _rows(where, columns, plain, rows, _MAESTRO, ("k", "c")):
        kind = row.cells.get("type") or "1"
        kind = _KINDS.get(kind.removesuffix(".0"), kind.upper())
        if kind == "FC":
            layers.append(row.product(1, row.size("k"), row.size("c")))
        elif kind == "GEMM":
            layers.append(row.product(row.size("k"), row.size("c"), row.size("y")))
        elif kind in ("CONV", "DSCONV"):
            if kind == "DSCONV" and row.size("k") != 1:
                raise ArchGymError(
                    f"{row.where}, column {row.titles['k']!r}: a depth-wise convolution has K = 1, not "
                    f"{row.size('k')}"
                )
            stride = row.size("stride") if row.has("stride") else 1
            axes = [row.axis(side, row.size(kernel), stride) for side, kernel in ("yr", "xs")]
            layers += row.convolution(
                axes, row.size("c"), row.size("k"), row.size("c") if kind == "DSCONV" else 1
            )
        else:
            raise ArchGymError(
                f"{row.where}, column {row.titles['type']!r}: "
                f"{unknown('type', kind, [*_KINDS, *_KINDS.values()])}"
            )
    return (
        layers,
        "A MAESTRO or GAMMA table: Y and X are input sizes without padding, and strides are 1 where no "
        "column has them.",
    )


@dataclass(frozen=True)
class _Row:
    """A row: its place, the layer's name, its cells by meaning, and the titles of their columns."""

    where: str
    name: str
    cells: Mapping[str, str]
    titles: Mapping[str, str]

    def has(self, key: str) -> bool:
        return bool(self.cells.get(key))

    def size(self, key: str) -> int:
        """A required cell, as a whole number from 1."""
        if not self.has(key):
            raise ArchGymError(f"{self.where}, column {self.titles.get(key, key)!r}: this layer needs it")
        size = whole(self.where, self.titles[key], self.cells[key])
        if size < 1:
            raise ArchGymError(
                f"{self.where}, column {self.titles[key]!r}: a whole number from 1 is needed, not "
                f"{self.cells[key]!r}"
            )
        return size

    def axis(self, side: str, kernel: int, stride: int) -> Axis:
        """A direction by MAESTRO's input size or, with a prime, output size."""
        if self.has(f"{side}'"):
            return Axis((self.size(f"{side}'") - 1) * stride + kernel, kernel, stride)
        return Axis(self.size(side), kernel, stride)

    def is_sparse(self) -> bool:
        """Whether it has a sparsity N:M with N != M."""
        text = self.cells.get("sparsity", "")
        match = re.fullmatch(r"([0-9]{1,18}) *: *([0-9]{1,18})", text)
        if text and not match:
            raise ArchGymError(
                f"{self.where}, column {self.titles['sparsity']!r}: expected N:M, such as 2:4, got {text!r}"
            )
        return match is not None and int(match[1]) != int(match[2])

    def convolution(self, axes: Sequence[Axis], channels: int, filters: int, groups: int) -> list[Layer]:
        """Its layers; `filters` is per group."""
        batch = self.size("batch") if self.has("batch") else 1
        try:
            return convolution(self.name, axes, channels, filters * groups, groups=groups, batch=batch)
        except ArchGymError as error:
            raise ArchGymError(f"{self.where}: {error}") from error

    def product(self, m: int, n: int, k: int) -> Layer:
        """[m, k] by [k, n], for all images of the row."""
        batch = self.size("batch") if self.has("batch") else 1
        try:
            return Layer(self.name, "gemm", channels=k, filters=n, height=m, batch=batch)
        except ArchGymError as error:
            raise ArchGymError(f"{self.where}: {error}") from error


def _rows(
    where: str,
    columns: Sequence[str],
    plain: Sequence[str],
    rows: Rows,
    known: Mapping[str, Sequence[str]],
    needed: Sequence[str],
) -> Iterator[_Row]:
    """Rows with their cells by meaning. Rows without a name are numbered; a row with only a name is a
    heading of the next ones.
    """
    plain = plain[: plain.index("") if "" in plain else None]  # excludes notes in a spreadsheet's margin
    meaning = {spelling: key for key, spellings in known.items() for spelling in spellings}
    for column, name in zip(columns, plain, strict=False):
        if name not in meaning and not name.isdecimal():
            raise ArchGymError(
                f"{where}: {unknown('column', column, [spellings[0] for spellings in known.values()])}"
            )
    keys = [meaning.get(name, "") for name in plain]
    titles = {key: column for key, column in zip(keys, columns, strict=False) if key}
    if len(titles) < len(keys) - keys.count("") or not set(needed) <= titles.keys():
        raise ArchGymError(
            f"{where}: expected distinct columns, {', '.join(known[key][0] for key in needed)} among them"
        )
    heading, number = "", 0
    for line, cells in rows:
        if cells[: len(columns)] == list(columns):  # a repeated header
            continue
        cells = cells[: next((i for i, cell in enumerate(cells) if cell.startswith("#")), None)]
        if len(columns) == len(plain) < len(cells) and any(cells[len(plain) :]):
            raise ArchGymError(f"{line}: {len(cells)} cells for {len(plain)} columns")
        found = {key: cell for key, cell in zip(keys, cells, strict=False) if key}
        if found.get("name") and not any(cell for key, cell in found.items() if key != "name"):
            heading = f"{found['name']}."
        elif any(found.values()):
            number += 1
            yield _Row(line, heading + (found.get("name") or f"layer{number}"), found, titles)


def _sentences(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def _dense(sparse: int) -> str:
    return f"Sparsity, of {sparse} layers, is left out: all are dense." if sparse else ""
