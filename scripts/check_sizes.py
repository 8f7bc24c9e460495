#!/usr/bin/env python3
"""Predicted against published sizes of model files.

    python scripts/check_sizes.py sizes.jsonl [--all]

Each line of the data is a record of one published file: ``model``, ``file`` and ``quant``, and one
of ``size_bytes``, ``size_gib`` (as llama.cpp's log prints it: tensors only) and ``size_gb`` (as a
download page prints it: 10^9 bytes of the whole file), perhaps ``tensor_types`` (how many tensors
of each type). The prediction is the recorded shape's file in the same quantisation; "with imatrix"
is said where that fits better. What cannot be compared is listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localllm.errors import UsageError
from localllm.hub.known.models import KnownModel, known_model, known_name, known_quants

GIB = 2**30
NEAR = 0.005
"""Error that an ordinary quantisation may have."""

_LABELS = {"small": "S", "medium": "M", "large": "L"}
_PARAMS = re.compile(r"([\d.]+) B")
_PART = re.compile(r"-(\d{5})-of-(\d{5})")
_BY_HAND = re.compile(r"(^|[-_ ])UD-|_XL\b|(?<!Q3_K)_L\b|bpw|imat", re.IGNORECASE)
_ELSEWHERE = re.compile(r"^(IQ[1-6]_K|IQ1_S_R4|Q8_0_R8|I2_S|UNKNOWN)", re.IGNORECASE)
_NAMES = {
    "LLaMA v2 6.74": "llama-2-7b",
    "LLaMA v2 13.02": "llama-2-13b",
    "LLaMA v2 68.98": "llama-2-70b",
    "llama 7B Q4_0": "llama-2-7b",
    "unsloth_DeepSeek R1 BF16": "deepseek-r1",
    "DeepSeek R1 BF16": "deepseek-r1",
    "DeepSeek R1 Bf16": "deepseek-r1",
    "Models": "qwen3-235b-a22b",
    "minimax-m2 230B.A10B": "minimax-m2",
    "qwen35moe 122B.A10B": "qwen3.5-122b-a10b",
    "qwen35moe 35B.A3B": "qwen3.6-35b-a3b",
    "gemma4 26B.A4B": "gemma-4-26b-a4b",
    "gemma4 31B": "gemma-4-31b",
    "gpt-oss 120B": "gpt-oss-120b",
}
"""Names that a log gives and nobody else would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One published file, or all parts of one."""

    ids: tuple[str, ...]
    model: str
    """As the record says."""
    quant: str
    """As llama.cpp would name it, where it can be told."""
    label: str
    """Everything that the record says of its making."""
    size_bytes: float
    step_bytes: float
    """What the last printed digit is worth."""
    tensors_only: bool
    types: dict[str, int]
    missing_parts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A published file and what was predicted for it."""

    published: Published
    model: KnownModel
    predicted_bytes: int
    imatrix: bool
    types_differ: dict[str, tuple[int, int]]
    """Type of tensor -> published and predicted number of tensors, where they differ."""

    @property
    def error(self) -> float:
        """Predicted over published, less 1."""
        return self.predicted_bytes / self.published.size_bytes - 1

    @property
    def as_printed(self) -> bool:
        """The prediction, rounded as the source rounds, is the published figure."""
        off = abs(self.predicted_bytes - self.published.size_bytes)
        return off <= 0.5001 * self.published.step_bytes


def published_files(records: Sequence[dict[str, Any]]) -> Iterator[Published]:
    """Yield the files that records describe; the parts of one file are put together."""
    parts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in records:
        file = str(record.get("file") or "")
        found = _PART.search(file)
        if found and record.get("size_gb") and not record.get("size_gib"):
            key = (str(record.get("repo")), file[: found.start()])
            parts.setdefault(key, []).append(record)
        else:
            yield _published([record], missing=False)
    for group in parts.values():
        found = _PART.search(str(group[0]["file"]))
        assert found is not None
        yield _published(group, missing=len(group) < int(found[2]))


def _published(group: list[dict[str, Any]], *, missing: bool) -> Published:
    first = group[0]
    unit, key = 1.0, "size_bytes"
    if not first.get(key):
        unit, key = (GIB, "size_gib") if first.get("size_gib") else (1e9, "size_gb")
    printed = [str(record.get(key) or 0) for record in group]
    decimals = max(len(text.partition(".")[2]) for text in printed)
    quant = str(first.get("quant") or "")
    name = str(first.get("model") or "")
    keys = ("quant", "file", "path_in_log", "model", "repo")
    label = " ".join(str(first.get(key) or "") for key in keys)
    label += " original_gb" if first.get("original_gb") and params_b(first) > 10 else ""
    return Published(
        ids=tuple(str(record.get("id")) for record in group),
        model=_model_name(first),
        quant=_quant_name(quant or name),
        label=label,
        size_bytes=sum(float(text) for text in printed) * unit,
        step_bytes=len(group) * unit * 10.0**-decimals if key != "size_bytes" else 1.0,
        tensors_only=key == "size_gib" and (bool(first.get("bpw")) or "n_splits" in first),
        types=dict(first.get("tensor_types") or {}),
        missing_parts=missing,
    )


def params_b(record: dict[str, Any]) -> float:
    """Billions of parameters by the name."""
    found = re.search(r"(\d+)B", str(record.get("model")))
    return float(found[1]) if found else 0.0


def _model_name(record: dict[str, Any]) -> str:
    name = str(record.get("model") or "")
    if not name:
        name = str(record.get("repo") or "").rpartition("/")[2]
    params = _PARAMS.match(str(record.get("params") or ""))
    for prefix, known in _NAMES.items():
        if f"{name} {params[1] if params else ''}".startswith(prefix):
            return known
    name = re.sub(r"\(.*\)| Q\d.*| IQ3$|-128K$|[- ](QAT|Qat)$", "", name).strip()
    return known_name(name) or name


def _quant_name(text: str) -> str:
    """``Q4_K - Medium`` and ``bf16`` as ``Q4_K_M`` and ``BF16``."""
    label = re.search(r"(\S+) - (Small|Medium|Large)", text)
    quant = f"{label[1]}_{_LABELS[label[2].lower()]}" if label else text.split(" ")[0]
    if "MXFP4" in text or text == "F16 dense + MXFP4 experts":
        quant = "F16" if text.startswith("F16") else "MXFP4"
    if label is None and text.rpartition(" ")[2] in known_quants():
        quant = text.rpartition(" ")[2]
    return "Q2_K" if quant == "Q2_K_M" else quant.upper()


def compare(published: Published) -> Compared | str:
    """Return the comparison, or why there is none."""
    if not published.size_bytes and not published.types:
        return "no size in the record"
    if published.missing_parts:
        return "not all parts of the file are in the data"
    if _ELSEWHERE.match(published.quant):
        return "a type of ik_llama.cpp or BitNet"
    name = known_name(published.model)
    if name is None:
        return f"no recorded shape of {published.model!r}"
    if _BY_HAND.search(published.label) or published.quant not in known_quants():
        return "types chosen by the publisher, tensor by tensor"
    model = known_model(name)
    assert model is not None
    found = [_compared(published, model, imatrix) for imatrix in (False, True)]
    return min(found, key=lambda each: (round(abs(each.error), 4), each.imatrix))


def _compared(published: Published, model: KnownModel, imatrix: bool) -> Compared:
    made = model.with_quant(published.quant, imatrix=imatrix)
    tensors = sum(tensor.n_bytes for tensor in made.spec.tensors)
    counts = Counter(tensor.type for tensor in made.spec.tensors)
    differ = {
        kind: (published.types.get(kind, 0), counts.get(kind, 0))
        for kind in sorted({*published.types, *counts})
        if published.types and published.types.get(kind, 0) != counts.get(kind, 0)
    }
    predicted = tensors if published.tensors_only else made.spec.file_bytes
    if not published.size_bytes:
        published = _with_size(published, predicted)
    return Compared(
        published=published,
        model=made,
        predicted_bytes=predicted,
        imatrix=imatrix,
        types_differ=differ,
    )


def _with_size(published: Published, size_bytes: float) -> Published:
    """A record of types only: nothing is said against the size."""
    return replace(published, size_bytes=size_bytes)


def reason(each: Compared) -> str:
    """Say why a file is not what ``llama-quantize`` makes of the shape, where it can be told."""
    published = each.published
    if "mradermacher" in published.label:
        return "that publisher's tables say 0.1 GB more than the files have"
    if published.label.startswith("Q4_K_M") and "original_gb" in published.label:
        return "scaled from the 8B model's bits per weight"
    foreign = set(published.types) - {tensor.type for tensor in each.model.spec.tensors}
    if foreign - {"iq4_nl", "f16"}:
        return f"another mixture under that label: {', '.join(sorted(foreign))}"
    if "ollama" in published.label and published.step_bytes == 1e9:
        return "cut to whole GB; routers in f16, as converted then"
    if each.model.facts.arch == "deepseek2" and _latent_otherwise(each):
        return "converted with attn_kv_b, instead of attn_k_b and attn_v_b or beside them"
    return ""


def _latent_otherwise(each: Compared) -> bool:
    """Whether the published file has one tensor more or less in each block."""
    n_layer = each.model.facts.n_layer
    total = sum(each.published.types.values())
    return abs(total - len(each.model.spec.tensors)) == n_layer


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and its summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--all", action="store_true", help="also list what cannot be compared")
    options = parser.parse_args(arguments)
    records = [json.loads(line) for line in options.data.read_text().splitlines() if line]
    compared: list[Compared] = []
    left: Counter[str] = Counter()
    for published in published_files(records):
        try:
            found = compare(published)
        except UsageError as error:
            found = str(error)
        if isinstance(found, str):
            left[found] += len(published.ids)
            if options.all:
                print(f"{published.ids[0]:9} {published.model[:32]:32} {'':9} {found}")
        else:
            compared.append(found)
            print(_line(found))
    _summary(compared, left)
    return 0


def _line(each: Compared) -> str:
    published = each.published
    notes = [note for note in (reason(each),) if note]
    if each.imatrix:
        notes.insert(0, "with imatrix")
    if each.types_differ:
        notes.append(", ".join(f"{k}: {a} for {b}" for k, (a, b) in each.types_differ.items()))
    what = "tensors" if published.tensors_only else "file"
    return (
        f"{published.ids[0]:9} {each.model.name[:32]:32} {published.size_bytes / GIB:9.3f} GiB "
        f"{each.predicted_bytes / GIB:9.3f} GiB {each.error:+8.2%} "
        f"{'=' if each.as_printed else ' '} {what:8}{'; '.join(notes)}"
    )


def _summary(compared: Sequence[Compared], left: Counter[str]) -> None:
    ordinary = [each for each in compared if not reason(each)]
    exact = sum(each.as_printed for each in ordinary)
    near = sum(abs(each.error) <= NEAR or each.as_printed for each in ordinary)
    print(f"\n{len(compared)} files compared, {len(ordinary)} of them made by llama.cpp's recipe:")
    print(f"  {exact} as printed, {near} within {NEAR:.1%} or as printed")
    for each in ordinary:
        if abs(each.error) > NEAR and not each.as_printed:
            print(f"  {each.published.ids[0]} {each.model.name}: {each.error:+.2%}")
    print(f"{sum(left.values())} records not compared:")
    for why, n in left.most_common():
        print(f"  {n:3} {why}")


if __name__ == "__main__":
    sys.exit(main())
