"""Models that can be planned without a file or a network: shapes recorded from their publishers.

A shape becomes the header of the file that ``llama-quantize`` would make of it, byte for byte but
for the vocabulary, and that header is read like any other: what the planner sees of a recorded
shape is what it would see of the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from localllm.core.ggml import row_bytes
from localllm.core.model import RECORDED, ModelSpec, TensorInfo
from localllm.core.quant_mix import (
    DEFAULT_TYPES,
    NEEDS_IMATRIX,
    Mixture,
    Named,
    is_70b,
    tensor_types,
)
from localllm.errors import UsageError
from localllm.hub.gguf.hollow import write_bare
from localllm.hub.gguf.parser import parse_buffer
from localllm.hub.gguf.types import FILE_TYPES
from localllm.hub.gguf.writer import TypedValue, WrittenHeader, write_header
from localllm.hub.known.hparams import Hparam, typed_keys
from localllm.hub.known.index import find_known, known_name, known_names, nearest_names
from localllm.hub.known.schema import Recorded, derived
from localllm.hub.known.tensors import tensor_table
from localllm.hub.spec.model_spec import model_spec

__all__ = [
    "KnownModel",
    "known_model",
    "known_n_params",
    "known_name",
    "known_names",
    "known_quants",
    "model_of",
    "nearest_names",
]

_FILE_TYPE_IDS = {name: number for number, name in FILE_TYPES.items()}
_QUANT_NAMES = {"MXFP4_MOE": "MXFP4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A recorded shape with one quantisation: it can be planned, and not run."""

    name: str
    """As a person would ask for it again: ``llama-3-8b:Q4_K_M``."""
    spec: ModelSpec
    header: WrittenHeader
    """The header of the file, without the vocabulary."""
    facts: Recorded
    recorded: bool = True
    """No file stands behind it."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of such a plan."""
        return (
            f"{self.spec.quant} by llama.cpp's own recipe: a publisher's file may mix its types "
            f"otherwise.",
        )

    @property
    def quants(self) -> tuple[str, ...]:
        """The quantisations that it can be asked in, best first."""
        return known_quants()

    def with_quant(self, quant: str, *, imatrix: bool = False) -> KnownModel:
        """Return the same model in another quantisation. Raises UsageError for an unknown one.

        ``imatrix``: made with an importance matrix, which changes a few types. What cannot be made
        without one had one.
        """
        return _build(self.facts, _quant(quant, self.facts.name), imatrix=imatrix)

    def header_files(self, folder: Path, *, vocabulary: bool) -> tuple[Path, ...]:
        """Write a hollow file that llama.cpp can dry-run, and return its path.

        ``vocabulary`` changes nothing: the tokenizer is not part of a recorded shape, and llama.cpp
        is told so (``no_vocab``). Raises NoHolesError where a sparse file cannot be made.
        """
        del vocabulary
        return write_bare(folder, self.header)


def known_n_params(name: str) -> int:
    """Return how many parameters a recorded model has: quicker than its header by far."""
    return sum(math.prod(shape) for _, shape in _tensors(name))


def known_quants() -> tuple[str, ...]:
    """Return the quantisations that a recorded model can be asked in, best first."""
    return tuple(DEFAULT_TYPES)


def known_model(name: str) -> KnownModel | None:
    """Return a recorded model by its name or an alias, with ``:QUANT`` behind it or not.

    Case, dashes, dots and a trailing ``-instruct`` do not matter. None for a name that is not
    known; raises UsageError for a known one with a quantisation that is not.
    """
    found = find_known(name)
    if found is not None:
        return _build(found.facts, found.facts.default_quant)
    stem, colon, quant = name.rpartition(":")
    found = find_known(stem) if colon else None
    if found is None:
        return None
    return _build(found.facts, _quant(quant, found.model))


def _quant(quant: str, name: str) -> str:
    wanted = quant.upper().replace("-", "_")
    wanted = _QUANT_NAMES.get(wanted, wanted)
    if wanted in DEFAULT_TYPES:
        return wanted
    if wanted.startswith("UD_") or wanted.endswith(("_L", "_XL")):
        why = "its publisher chose types tensor by tensor, so only the file's own header knows them"
    else:
        why = "llama.cpp makes none of that name"
    raise UsageError(
        f'The shape of {name} cannot be planned in "{quant[:40]}": {why}.',
        hint=f"Known are {', '.join(known_quants())}.",
    )


@cache
def _tensors(name: str) -> tuple[Named, ...]:
    """The tensor table of a model that was looked up before: the same in every quantisation."""
    found = find_known(name)
    assert found is not None
    return _table(found.facts)


def _table(recorded: Recorded) -> tuple[Named, ...]:
    return tuple(
        tensor_table(
            recorded.model_tensors,
            recorded.block_tensors,
            hparams=derived(recorded),
            kinds=recorded.kinds,
            extra=recorded.extra,
            n_layer=recorded.n_layer,
        )
    )


def model_of(recorded: Recorded, quant: str) -> KnownModel:
    """Return the model that facts describe, those of a profile or others in their form.

    Raises KeyError for a quantisation that is not in ``known_quants``.
    """
    return _built(recorded, _table(recorded), quant, imatrix=False)


def _build(recorded: Recorded, quant: str, *, imatrix: bool = False) -> KnownModel:
    return _built(recorded, _tensors(recorded.name), quant, imatrix=imatrix)


def _built(recorded: Recorded, named: Sequence[Named], quant: str, *, imatrix: bool) -> KnownModel:
    types = _typed(recorded, named, quant, imatrix or quant in NEEDS_IMATRIX)
    header = write_header(_keys(recorded, quant), types)
    # the whole file also holds a vocabulary, of known size
    size = header.file_bytes + recorded.vocabulary_bytes
    name = f"{recorded.name}:{quant}"
    spec = model_spec(
        parse_buffer(header.data, size), source=f"{RECORDED}{recorded.name}", stem=name
    )
    return KnownModel(name=name, spec=spec, header=header, facts=recorded)


def _keys(recorded: Recorded, quant: str) -> list[tuple[str, TypedValue]]:
    return [
        ("general.architecture", ("string", recorded.arch)),
        ("general.type", ("string", "model")),
        ("general.name", ("string", recorded.title)),
        ("general.file_type", ("u32", _FILE_TYPE_IDS[quant])),
        ("general.quantization_version", ("u32", 2)),
        *typed_keys(recorded.hparams, recorded.arch),
        ("tokenizer.ggml.model", ("string", "no_vocab")),
    ]


def _typed(
    recorded: Recorded, named: Sequence[Named], quant: str, has_imatrix: bool
) -> list[TensorInfo]:
    """The tensors with the types that ``llama-quantize`` gives them."""
    n_head, n_head_kv = (_first(derived(recorded), key) for key in ("n_head", "n_head_kv"))
    mixture = Mixture(
        quant=quant,
        arch=recorded.arch,
        n_layer=recorded.n_layer,
        n_gqa=n_head // n_head_kv if n_head_kv else 0,
        n_expert=_first(recorded.hparams, "n_expert"),
        is_70b=is_70b(recorded.arch, recorded.n_layer, n_head=n_head, n_head_kv=n_head_kv),
        has_imatrix=has_imatrix,
        source_type=quant.lower() if quant in ("F16", "BF16", "F32") else recorded.source_type,
    )
    return [
        _tensor(name, _fixed_type(recorded, name) or kind, shape)
        for (name, shape), kind in zip(named, tensor_types(named, mixture), strict=True)
    ]


def _tensor(name: str, kind: str, shape: tuple[int, ...]) -> TensorInfo:
    n_elements = 1
    for n in shape:
        n_elements *= n
    return TensorInfo(
        name=name, type=kind, shape=shape, n_bytes=row_bytes(kind, n_elements), offset=0
    )


def _fixed_type(recorded: Recorded, name: str) -> str | None:
    if not recorded.source_types:
        return None
    return next((kind for part, kind in recorded.source_types.items() if part in name), None)


def _first(hparams: object, key: str) -> int:
    """A hyperparameter of the first block, 0 without it."""
    value: Hparam = hparams.get(key, 0) if isinstance(hparams, dict) else 0
    first = value[0] if isinstance(value, list) else value
    return int(first)
