"""Which public rows cannot be used at all: other engines, broken ones, other ways to decode."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from _fit.texts import Command, any_of, number, text

_ENGINES = (
    ("ktransformers", r"ktransformers"),
    ("exllama", r"exllama|exl[23]\b|tabby"),
    ("vllm", r"\bvllm\b"),
    ("sglang", r"sglang"),
    ("mlx", r"\bmlx\b"),
    ("TensorRT-LLM", r"tensorrt|\btrt"),
    ("llamafile", r"llamafile"),
    ("a fork of llama.cpp", r"turbo-?quant|moe-cache|turbo\d"),
    ("ik_llama.cpp", r"ik_llama"),
    ("transformers", r"^hf$|transformers"),
    ("a script", r"^python3? "),
)
_BROKEN = r"broken|invalid|impossible|thrash|throttl|wrong|battery|power state|mislabel"
_ONLY_PREFILL = r"pp columns|prefill"
_DRAFTS = ("--draft", "--draft-max", "--draft-n", "-md", "--model-draft", "--spec-type")
_DRAFT_WORDS = r"--spec|--mtp|draft[-_]mtp|eagle|lookup-decoding|dflash"


def unusable(row: Mapping[str, Any], command: Command) -> str | None:
    """Say why nothing of a row can be used, if so."""
    if row.get("oom"):
        return "out of memory: no figure"
    if not isinstance(row.get("tests"), Mapping) or not row["tests"]:
        return "no figure"
    if engine := _engine(row):
        return f"another engine: {engine}"
    if split := _split(row, command):
        return f"not split by layers: {split}"
    drafted = command.has(*_DRAFTS) or any_of([_DRAFT_WORDS], " ".join(command.words))
    if row.get("spec_decode") not in (None, False, "", 0, "none", "off") or drafted:
        return "speculative decoding"
    if row.get("outlier"):
        return "marked as an outlier"
    for told in (text(row, "note"), text(row, "quality")):
        if any_of([_BROKEN], told) and not any_of([_ONLY_PREFILL], told):
            return f"marked: {told}"
    if command.value("-m", "--model") == "":
        return "the command names no model: whatever it ran is not what the row says"
    if (number(row.get("concurrency")) or 1) > 1:
        return "several requests at once"
    return None


def prefill_marked(row: Mapping[str, Any]) -> str | None:
    """Say why the prefill of a row cannot be used, if so."""
    told = text(row, "quality").lower()
    if any_of([_ONLY_PREFILL], told) and any_of([_BROKEN, "include"], told):
        return "marked: " + told.partition(";")[0]
    return None


def _engine(row: Mapping[str, Any]) -> str | None:
    """Return the engine if it is not llama.cpp, nor something that is llama.cpp inside."""
    if text(row, "build").startswith("llama.cpp"):
        return None
    keys = ("engine", "runner", "backend", "provider", "build", "offload", "quant", "kv_cache")
    where = [text(row, key) for key in (*keys, "model", "cmd")]
    for name, pattern in _ENGINES:
        if any(re.search(pattern, each, re.IGNORECASE) for each in where):
            return name
    fork = "ik_llama" in text(row, "source") and "mainline" not in text(row, "runner", "note")
    return "ik_llama.cpp" if fork else None


def _split(row: Mapping[str, Any], command: Command) -> str | None:
    """Return how a model was split over cards, where not by layers."""
    mode = (command.value("-sm", "--split-mode") or text(row, "split_mode")).lower()
    if mode in ("row", "tensor", "graph"):
        return mode
    return any_of(
        [r"\(tensor split\)", r"-sm (row|tensor|graph)", r"split-mode (row|tensor)", r"\(tp\)"],
        text(row, "gpu", "offload"),
    )
