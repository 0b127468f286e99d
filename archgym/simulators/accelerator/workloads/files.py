"""Workloads from files: the published networks of the folder `networks/`, and users' .csv and .onnx files.

A file starts with lines `# key: value` (title, source, input, note, and accuracy: published ImageNet top-1),
followed by a CSV table. A row is one `Layer`, columns are its fields, and an empty cell is a field's default.
"block.0-11.fc" with 12 repeats stands for block.0.fc to block.11.fc; branches of a block follow one after the
other. A row of kind "table" is `vectors` learned vectors of `filters` numbers that are looked up or added
(embeddings, separate normalisations): they count as parameters, but are not simulated.

Each row of attention.csv is a workload, the attention of one block with Q query heads that share G key/value
heads of size D, over L tokens:

    QK: G matrix multiplications [Q/G L, D] by [D, L],   AV: G of [Q/G L, L] by [L, D],   MACs = 2 Q L^2 D

so that heads with the same keys and values are rows of one multiplication. The whole L x L matrix is
computed, masked or not.

"network:layer" is one layer of a shipped workload or of a file, once, as in "bert_base:pooler.dense".

Sources are in the files; of grouped-query attention, Grattafiori et al., The Llama 3 Herd of Models, 2024.
"""

from __future__ import annotations

import csv
import os
import re
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

from archgym.errors import ArchGymError, unknown
from archgym.files.csv import delimiter_of
from archgym.files.paths import check_readable
from archgym.simulators.accelerator.layers import KINDS, Layer
from archgym.simulators.accelerator.workloads.topologies import Rows, reader_of, whole
from archgym.simulators.accelerator.workloads.workload import Dimensions, Workload

FOLDER = Path(__file__).parent / "networks"
_ATTENTION = FOLDER / "attention.csv"
_KEYS = ("title", "source", "input", "note", "accuracy")
_LAYER_OF_FILE = re.compile(r"(?P<file>.+?\.(csv|onnx)):(?P<layer>.+)", re.IGNORECASE)
_RANGE = re.compile(r"(\d+)-(\d+)")  # of repeats in a name
_COLUMNS = tuple(each.name for each in fields(Layer))
_NEEDED = ("name", "kind", "channels", "filters", "height")
_NEEDED_OF_TABLES = ("name", "kind", "filters", "vectors")
_ATTENTION_COLUMNS = ("name", "tokens", "query_heads", "key_value_heads", "head_dim")


def list_workloads() -> list[str]:
    """Names of the shipped workloads."""
    return [*sorted(path.stem for path in FOLDER.glob("*.csv") if path != _ATTENTION), *_attention()]


def load_workload(
    source: str | os.PathLike[str] | Workload, dimensions: Dimensions | None = None
) -> Workload:
    """A shipped workload, or one from a .csv file in the format above or of another simulator (`topologies`)
    or an .onnx file, or one layer of these.

    Args:
        source: name, path, either with ":layer" after it, or a workload, which is returned.
        dimensions: sizes of dynamic dimensions of an .onnx file; see `load_onnx`.

    Raises:
        ArchGymError: an unknown name or layer, a file that cannot be read, or dimensions for a workload that
            has none.
        MissingDependency: an .onnx file without the package onnx.
    """
    if isinstance(source, (str, os.PathLike)) and (one := _network_and_layer(str(source))):
        network, layer = one
        return _layer(load_workload(network, dimensions), layer)
    suffix = Path(source).suffix.lower() if isinstance(source, (str, os.PathLike)) else ""
    if dimensions and suffix != ".onnx":
        what = source.name if isinstance(source, Workload) else source
        raise ArchGymError(f"dimensions are for .onnx files; the sizes of {str(what)!r} are fixed")
    if isinstance(source, Workload):
        return source
    if source in list_workloads():
        return _shipped(str(source))
    if suffix == ".csv":
        return _read(Path(source))
    if suffix == ".onnx":
        from archgym.simulators.accelerator.workloads.onnx.load import load_onnx

        return load_onnx(source, dimensions)
    raise unknown("workload (or .csv or .onnx file)", str(source).partition(":")[0], list_workloads())


def _network_and_layer(source: str) -> tuple[str, str] | None:
    """The parts of "network:layer"; None of anything else."""
    network, _, layer = source.partition(":")
    if layer and network in list_workloads():
        return network, layer
    found = _LAYER_OF_FILE.fullmatch(source)
    return (found["file"], found["layer"]) if found else None


def attention_layers(
    tokens: int, query_heads: int, key_value_heads: int, head_dim: int
) -> tuple[Layer, Layer]:
    """The layers QK and AV of one block's attention over `tokens` queries, keys and values.

    Raises:
        ArchGymError: a size below 1, or a number of query heads that is not a multiple of the key/value
            heads.
    """
    if query_heads % max(key_value_heads, 1):
        raise ArchGymError(
            f"{key_value_heads} key/value heads cannot be shared evenly by {query_heads} query heads"
        )
    rows = tokens * query_heads // max(key_value_heads, 1)
    return (
        Layer.gemm("QK", rows, tokens, head_dim, kind="matmul", groups=key_value_heads),
        Layer.gemm("AV", rows, head_dim, tokens, kind="matmul", groups=key_value_heads),
    )


def _layer(network: Workload, name: str) -> Workload:
    """One layer of a workload, once."""
    found = [layer for layer in network.layers if _stands_for(layer, name)]
    if not found:
        raise unknown(f"layer of {network.name}", name, map(first_name, network.layers))
    if len(found) > 1:
        raise ArchGymError(f"{network.name} has {len(found)} layers named {name!r}; give them distinct names")
    return Workload(
        f"{network.name}:{name}",
        title=f"{network.title}: {name}",
        source=network.source,
        accuracy=None,
        layers=(replace(found[0], name=name, repeats=1),),
        input=network.input,
        note=network.note,
    )


def first_name(layer: Layer) -> str:
    """The name of the first of a row's layers: block.0.fc of block.0-11.fc."""
    return _RANGE.sub(r"\1", layer.name) if layer.repeats > 1 else layer.name


def _stands_for(layer: Layer, name: str) -> bool:
    """Whether a row is the layer of this name, or has it among its repeats."""
    if layer.repeats == 1 or layer.name == name:
        return layer.name == name
    texts, first, last = (_RANGE.split(layer.name)[part::3] for part in range(3))
    numbers = re.fullmatch(r"(\d+)".join(map(re.escape, texts)), name)
    return numbers is not None and all(
        int(low) <= int(number) <= int(high)
        for low, number, high in zip(first, numbers.groups(), last, strict=True)
    )


@cache
def _shipped(name: str) -> Workload:
    attention = _attention()
    return attention[name] if name in attention else _read(FOLDER / f"{name}.csv")


@cache
def _attention() -> dict[str, Workload]:
    header, (start, columns), rows = _table(_ATTENTION)
    found = {}
    for where, cells in _named(start, columns, rows, _ATTENTION_COLUMNS, _ATTENTION_COLUMNS):
        sizes = {column: whole(where, column, cells[column]) for column in _ATTENTION_COLUMNS[1:]}
        title, input_ = (header[key].format(tokens=f"{sizes['tokens']:,}") for key in ("title", "input"))
        name, layers = cells["name"], attention_layers(**sizes)
        found[name] = Workload(name, title, header["source"], None, layers, input_, header["note"])
    return found


def _read(path: Path) -> Workload:
    """A workload from a .csv file, under the file's name."""
    header, (start, columns), rows = _table(path)
    tables, note = 0, header.get("note", "")
    if (reader := reader_of(columns)) is not None:
        layers, how = reader(start, columns, rows)
        note = " ".join(filter(None, [how, note]))
    else:
        layers = []
        for where, cells in _named(start, columns, rows, _COLUMNS, ("name", "kind")):
            sizes = _sizes(where, cells)
            if cells["kind"] == "table":
                tables += sizes["filters"] * sizes["vectors"] * sizes.get("repeats", 1)
                continue
            try:
                layers.append(Layer(cells["name"], cells["kind"], **sizes))
            except ArchGymError as error:
                raise ArchGymError(f"{where}: {error}") from error
    return Workload(
        path.stem,
        title=header.get("title", path.stem),
        source=header.get("source", "" if reader is None else path.name),
        accuracy=_accuracy(path, header.get("accuracy", "")),
        layers=tuple(layers),
        input=header.get("input", ""),
        note=note,
        _table_parameters=tables,
    )


def _sizes(where: str, cells: dict[str, str]) -> dict[str, int]:
    """The numbers of a row, without empty cells.

    Raises:
        ArchGymError: an unknown kind, a cell that this kind lacks or cannot have, or a cell that is not a
            number.
    """
    kind = cells["kind"]
    if kind not in (*KINDS, "table"):
        raise ArchGymError(f"{where}, column 'kind': {unknown('kind', kind, (*KINDS, 'table'))}")
    needed, allowed = (
        (_NEEDED_OF_TABLES, (*_NEEDED_OF_TABLES, "repeats")) if kind == "table" else (_NEEDED, _COLUMNS)
    )
    for column in needed:
        if not cells.get(column):
            raise ArchGymError(f"{where}, column {column!r}: a row of kind {kind!r} needs it")
    given = {column: cell for column, cell in cells.items() if cell}
    for column in given:
        if column not in allowed:
            raise ArchGymError(
                f"{where}, column {column!r}: a row of kind 'table' has only {', '.join(allowed)}"
            )
    return {
        column: whole(where, column, cell) for column, cell in given.items() if column not in ("name", "kind")
    }


def _table(path: Path) -> tuple[dict[str, str], tuple[str, list[str]], Rows]:
    """The header, the line of columns as its place ("file, line n") and cells, and every row likewise.

    Raises:
        ArchGymError: a file or a line that is not in the format.
    """
    try:
        check_readable(path, "the workload")
        # names may contain separators such as U+2028
        lines = path.expanduser().read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise ArchGymError(f"cannot read the workload {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ArchGymError(
            f"the workload {str(path)!r} is not text in UTF-8 ({error}); save it as UTF-8"
        ) from error
    header: dict[str, str] = {}
    while lines[len(header) :] and lines[len(header)].startswith("#"):
        key, colon, text = lines[len(header)].removeprefix("#").partition(":")
        if not colon or key.strip() not in _KEYS or key.strip() in header:
            raise ArchGymError(
                f"{path}, line {len(header) + 1}: a header line is '# key: value' with one of "
                f"{', '.join(_KEYS)}, each once"
            )
        header[key.strip()] = text.strip()
    first = next(filter(str.strip, lines[len(header) :]), "")
    reader = csv.reader(lines[len(header) :], strict=True, delimiter=delimiter_of(first))
    rows = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((f"{path}, line {len(header) + reader.line_num}", cells))
    except csv.Error as error:
        raise ArchGymError(f"{path}, line {len(header) + reader.line_num}: {error}") from error
    if len(rows) < 2:
        raise ArchGymError(
            f"{path} has no layers: after its header, a line of columns ({', '.join(_NEEDED)}, ...), then a "
            "line per layer"
        )
    (where, columns), *rows = rows
    while not columns[-1]:  # commas at the end of lines
        columns.pop()
    return header, (where, columns), rows


def _named(
    where: str, columns: list[str], rows: Rows, known: tuple[str, ...], needed: tuple[str, ...]
) -> list[tuple[str, dict[str, str]]]:
    """Every row as ("file, line n", {column: text}).

    Raises:
        ArchGymError: an unknown column, or a row of a different length.
    """
    for column in columns:
        if column not in known:
            raise ArchGymError(f"{where}: {unknown('column', column, known)}")
    if len(set(columns)) < len(columns) or not set(needed) <= set(columns):
        raise ArchGymError(
            f"{where}: columns are named once each, and {', '.join(needed)} must be among them"
        )
    found = []
    for line, cells in rows:
        if len(cells) < len(columns) or any(cells[len(columns) :]):
            raise ArchGymError(f"{line}: {len(cells)} cells for {len(columns)} columns")
        found.append((line, dict(zip(columns, cells, strict=False))))
    return found


def _accuracy(path: Path, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ArchGymError(f"{path}: accuracy must be from 0 to 1, not {text!r}")
    return value
