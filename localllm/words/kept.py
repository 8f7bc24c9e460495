"""Kept models and what plans say of them on this machine: the words and the order of a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from localllm.core.kept import Keeper, KeptModel, Leftover, Removal, Verdict
from localllm.units import format_bytes, format_duration, format_rate

if TYPE_CHECKING:
    from localllm.core.plan import Plan

Sort = Literal["name", "size", "used"]
Result = Literal["ok", "corrupt", "unknown", "missing"]
"""Of checking a file."""

KEEPERS: dict[Keeper, str] = {
    "hugging-face": "Hugging Face",
    "lm-studio": "LM Studio",
    "ollama": "Ollama",
    "llama.cpp": "llama.cpp",
}
"""Whose folder it is, for people."""

FOLDERS: dict[Keeper, str] = {
    "hugging-face": "the shared Hugging Face cache",
    "lm-studio": "LM Studio's folder",
    "ollama": "Ollama's folder",
    "llama.cpp": "llama.cpp's cache",
}

_SPANS = ((365.25 * 86400, "year"), (30.44 * 86400, "month"), (7 * 86400, "week"), (86400, "day"))
_LONG_S = 100 * 365.25 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A model that is here."""

    model: KeptModel
    plan: Plan | None = None
    """None where none was asked for, or none could be made."""
    problem: str | None = None
    """Why there is no plan, as a clause."""


def ordered(rows: Sequence[Row], sort: Sort) -> list[Row]:
    """Return the rows by name, the largest first, or the one used last first."""
    by_name = sorted(rows, key=lambda row: row.model.name.lower())
    if sort == "size":
        return sorted(by_name, key=lambda row: -row.model.n_bytes)
    if sort == "used":
        return sorted(by_name, key=lambda row: -row.model.last_used_s)
    return by_name


def holds(model: KeptModel, words: Sequence[str]) -> bool:
    """Whether a model's name, quantisation and keeper hold every word, in any case, no dashes."""
    return contains(f"{model.name} {model.quant} {KEEPERS[model.keeper]}", words)


def contains(text: str, words: Sequence[str]) -> bool:
    """Whether a text holds every word, in any case and without dashes."""
    plain = _plain(text)
    return all(_plain(word) in plain for each in words for word in each.split())


def ago(seconds: float) -> str:
    """Return how long ago something was: ``just now``, ``3 hours ago``, ``2 days ago``.

    Two clocks may differ by minutes; what a file system has a day ahead, or before anybody had
    models, is no time at all.
    """
    if seconds < -86400:
        return "in the future"
    if seconds > _LONG_S:
        return "long ago"
    for step, name in (*_SPANS, (3600, "hour"), (60, "minute")):
        n = int(seconds / step)
        if n > 0:
            return f"{n} {name}{'s' * (n > 1)} ago"
    return "just now"


def verdict(row: Row) -> str:
    """Return what a plan says in a few words: ``fits, 12 tok/s, 33/33 layers on GPU``."""
    model = row.model
    if not model.is_complete:
        return f"incomplete: {len(model.files)} of {model.n_parts} files"
    if row.plan is None:
        return "see below" if row.problem else ""
    return plan_words(row.plan)


def plan_words(plan: Plan) -> str:
    """Return a plan's verdict, speed and place in a few words."""
    if plan.verdict != "fits":
        from localllm.core.shrunk import short_of

        return f"short of {short_of(plan)}"
    words = ["fits"]
    if plan.speed is not None:
        words.append(f"{format_rate(plan.speed.tg_tok_s, digits=2)} tok/s")
    n, total = plan.n_gpu_layers, plan.n_layer_total
    words.append(f"{n}/{total} layers on GPU" if n else "CPU")
    if n and plan.tensor_overrides:
        words.append("experts in RAM")
    return ", ".join(words)


def left_over(leftovers: Sequence[Leftover]) -> Iterator[str]:
    """Yield which downloads can be continued, and what else of the cache no model needs."""
    partial: Counter[str] = Counter()
    others = []
    for each in leftovers:
        if each.kind == "partial" and each.repo is not None and each.path.suffix == ".part":
            partial[each.repo] += each.n_bytes
        else:
            others.append(each)
    for repo, n_bytes in sorted(partial.items()):
        yield (
            f"{repo}: {format_bytes(n_bytes)} of a download that was stopped are here, and"
            " localllm pull goes on there."
        )
    if others:
        n_bytes, n = sum(each.n_bytes for each in others), len(others)
        what = "files are" if n > 1 else "file is"
        yield (
            f"{n:,} {what} left over ({format_bytes(n_bytes)}): localllm prune lists and deletes"
            f" {'them' if n > 1 else 'it'}."
        )


def removal_lines(removal: Removal) -> Iterator[str]:
    """Yield what goes and what stays, a line each."""
    for model in removal.models:
        files = f"{len(model.files)} file{'s' * (len(model.files) != 1)}"
        yield f"{model.name}  {format_bytes(model.n_bytes)}, {files}"
    yield f"Deleting frees {format_bytes(removal.freed_bytes)}."
    if removal.shared_bytes:
        by = f" by {', '.join(removal.shared_with)}" if removal.shared_with else ""
        yield f"{format_bytes(removal.shared_bytes)} stay: they are needed{by}."


def removed_line(freed_bytes: int) -> str:
    """Return what a removal gave back."""
    return f"Deleted: {format_bytes(freed_bytes)} are free again."


def verdict_lines(model: KeptModel, checked: Verdict) -> Iterator[str]:
    """Yield what is said of one file of a model after its bytes were checked."""
    name = model.name if model.n_parts == 1 else f"{model.name} {checked.path.name}"
    yield f"{checked.result:<8} {name}  {format_bytes(checked.n_bytes)}"
    if checked.reason is not None:
        yield f"{'':<8} {checked.reason}"


def checked_line(checked: Sequence[Verdict], seconds: float) -> str:
    """Return how many files were checked in which time, and how many of them are what they are."""
    n, n_bytes = len(checked), sum(each.n_bytes for each in checked)
    counts = Counter(each.result for each in checked)
    results: tuple[Result, ...] = ("ok", "corrupt", "unknown", "missing")
    said = ", ".join(f"{counts[result]:,} {result}" for result in results if counts[result])
    files = f"{n:,} file{'s' * (n != 1)}"
    return f"{files}, {format_bytes(n_bytes)} in {format_duration(seconds)}: {said}"


def set_aside_line(model: KeptModel) -> str:
    """Return what to do once a corrupt file is out of the way."""
    return f"Set aside: `localllm pull {model.name}` fetches it anew."


def _plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())
