"""Tensor tables of recorded shapes: names and dimensions, written once per architecture.

A dimension is a number, a hyperparameter, or a short sum of products of them
(``"n_head * n_embd_head_k"``, ``"n_lora_kv + n_rot"``). What a table lists for blocks is listed by
kind: ``all`` of them, and kinds that a shape gives its blocks (``attention``, ``experts``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from localllm.core.quant_mix import Named
from localllm.errors import IntegrityError
from localllm.hub.known.hparams import Hparam

Dims = Mapping[str, Sequence[str | int]]
"""A tensor's name -> its dimensions, the row's length first."""

_TERM = re.compile(r"\s*([+-])\s*")
_RANGE = re.compile(r"(\d+)(-(\d+)?)?(/([1-9]\d*))?")


def block_list(text: str, n_layer: int) -> frozenset[int]:
    """Return the blocks that a list names: ``"0-2"``, ``"3-"``, ``"2,5,8"``, ``"3-/4"``.

    ``"3-/4"`` is every fourth from 3 on; ``"not 3-/4"`` all others. Raises IntegrityError for
    another text or a block that is not there.
    """
    if text.startswith("not "):
        return frozenset(range(n_layer)) - block_list(text[4:], n_layer)
    blocks: set[int] = set()
    for part in text.replace(" ", "").split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            raise IntegrityError(f'"{text}" is no list of blocks.')
        first = int(found[1])
        last = int(found[3]) if found[3] else n_layer - 1 if found[2] or found[4] else first
        if not first <= last < n_layer:
            raise IntegrityError(f'"{text}" names blocks that are not among {n_layer}.')
        blocks.update(range(first, last + 1, int(found[5] or 1)))
    return frozenset(blocks)


def dimension(text: str | int, hparams: Mapping[str, Hparam], block: int) -> int:
    """Return what a dimension comes to in one block. Raises IntegrityError for an unknown word."""
    if isinstance(text, int):
        return text
    parts = _TERM.split(text)
    total = _product(parts[0], hparams, block)
    for sign, term in zip(parts[1::2], parts[2::2], strict=True):
        value = _product(term, hparams, block)
        total += value if sign == "+" else -value
    return total


def _product(term: str, hparams: Mapping[str, Hparam], block: int) -> int:
    factors = re.split(r"\s*([*/])\s*", term)
    value = _word(factors[0], hparams, block)
    for sign, word in zip(factors[1::2], factors[2::2], strict=True):
        factor = _word(word, hparams, block)
        value = value * factor if sign == "*" else value // factor
    return value


def _word(word: str, hparams: Mapping[str, Hparam], block: int) -> int:
    if word.isdigit():
        return int(word)
    value = hparams.get(word)
    if isinstance(value, list):
        value = value[block]
    if isinstance(value, bool) or not isinstance(value, int):
        raise IntegrityError(f'A tensor table asks for "{word}", which the shape does not give.')
    return value


def tensor_table(
    model: Mapping[str, Dims],
    blocks: Mapping[str, Dims],
    *,
    hparams: Mapping[str, Hparam],
    kinds: Mapping[str, frozenset[int]],
    extra: frozenset[str],
    n_layer: int,
) -> list[Named]:
    """Return every tensor with its shape, in the order in which ``llama-quantize`` writes them.

    ``model`` and ``blocks`` list tensors by group: ``all``, and others that count if they are in
    ``extra`` or, for blocks, in ``kinds``. A tensor of which one dimension is 0 is not there.
    """
    unknown = (set(extra) | set(kinds)) - set(model) - set(blocks)
    if unknown:
        raise IntegrityError(f"No tensor table has a group {', '.join(sorted(unknown))}.")
    table: list[tuple[int, str, tuple[int, ...]]] = []
    for group, dims in model.items():
        if group == "all" or group in extra:
            for name, shape in dims.items():
                table.append((-1, name, tuple(dimension(each, hparams, 0) for each in shape)))
    everywhere = frozenset(range(n_layer))
    for group, dims in blocks.items():
        where = everywhere if group == "all" or group in extra else kinds.get(group, frozenset())
        per_block = any(isinstance(value, list) for value in hparams.values())
        for name, shape in dims.items():
            same = None
            for block in sorted(where):
                if same is None or per_block:
                    same = tuple(dimension(each, hparams, block) for each in shape)
                table.append((block, f"blk.{block}.{name}", same))
    # by block, then by name: the order of llama.cpp's map of weights
    return [(name, shape) for _, name, shape in sorted(table) if all(shape)]
