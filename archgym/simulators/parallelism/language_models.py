"""Transformers to train: the sizes of their blocks.

A model is a JSON file with the keys of `LanguageModel` and "format": "archgym-language-model/1"; title and
source are optional. Calculon's own files (hidden, feedforward, seq_size, attn_heads, attn_size, num_blocks)
are read too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from archgym.errors import unknown, whole
from archgym.files.archive import reading
from archgym.simulators.parallelism.files import check_format, check_keys, read_json

FORMAT = "archgym-language-model/1"
FOLDER = Path(__file__).parent / "models"
ALIASES = {"megatron-22B": "22B", "gpt3-175B": "175B", "turing-530B": "530B", "megatron-1T": "1T"}
CALCULON = {
    "hidden": "hidden",
    "feedforward": "feedforward",
    "seq_size": "sequence",
    "attn_heads": "heads",
    "attn_size": "head_size",
    "num_blocks": "blocks",
}


@dataclass(frozen=True)
class LanguageModel:
    """A stack of equal transformer blocks.

    Args:
        hidden: numbers per token between blocks.
        feedforward: numbers per token inside the two-layer perceptron.
        sequence: tokens per sequence.
        heads: attention heads.
        head_size: numbers per head and token.
        blocks: transformer blocks.
    """

    hidden: int
    feedforward: int
    sequence: int
    heads: int
    head_size: int
    blocks: int

    @property
    def flop_per_sequence(self) -> float:
        """Flop of all matrix products, forward and backward, with the whole attention matrix and without
        logits: 6 s L (4 h a e + 2 h f + 2 s a e), the model flop of Chowdhery et al., PaLM, 2022.
        """
        width = self.heads * self.head_size
        per_token = 4 * self.hidden * width + 2 * self.hidden * self.feedforward + 2 * self.sequence * width
        return 6.0 * self.sequence * self.blocks * per_token


def list_models() -> list[str]:
    """Names of the shipped models, smallest first."""
    return sorted(
        (path.stem for path in FOLDER.glob("*.json")),
        key=lambda name: load_model(name).blocks * load_model(name).hidden ** 2,
    )


def load_model(source: str | os.PathLike[str] | LanguageModel) -> LanguageModel:
    """A shipped model by name, or one from a .json file.

    Raises:
        ArchGymError: an unknown name, or a file in another format.
    """
    if isinstance(source, LanguageModel):
        return source
    names = [path.stem for path in FOLDER.glob("*.json")]
    name = ALIASES.get(str(source), str(source))
    if name not in names and not name.endswith(".json"):
        raise unknown("language model (or .json file)", name, [*names, *ALIASES])
    path = FOLDER / f"{name}.json" if name in names else Path(name)
    with reading(path, "a language model"):
        return _model(read_json(path))


def _model(found: Mapping[str, Any]) -> LanguageModel:
    if "format" not in found and "seq_size" in found:
        check_keys("Calculon's model", found, tuple(CALCULON))
        found = {CALCULON[key]: value for key, value in found.items()}
    else:
        check_format(found, FORMAT)
    names = tuple(each.name for each in fields(LanguageModel))
    check_keys("a language model", found, names, ("format", "title", "source"))
    return LanguageModel(**{name: whole(name, found[name], least=1) for name in names})
