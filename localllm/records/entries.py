"""One conversation as lines of JSON: the header, the entries, and how a torn file is read.

The first line is the header, each further line one message. A file only grows: an answer that was
asked for again and a question that was changed say ``replaces_last``, and a changed system prompt
is one more ``system`` line.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from localllm.core.generation import Message, Role, RunStats
from localllm.errors import IntegrityError

SCHEMA = "localllm.conversation/1"
_ROLES = get_args(Role)
_STATS = {f.name: f.type for f in dataclasses.fields(RunStats)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a conversation is and which model it began with."""

    id: str
    created: str
    """ISO 8601, with the offset from UTC."""
    model: str
    content_id: str | None = None
    """Identity of the model's content, when it is known: names move, content does not."""
    system: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One message as it was said, and for an answer how it came about."""

    role: Role
    content: str
    time: str
    """ISO 8601, with the offset from UTC."""
    reasoning: str | None = None
    finish_reason: str | None = None
    """A ``FinishReason``, or ``died`` when the engine was lost in mid-answer."""
    stats: RunStats | None = None
    model: str | None = None
    """The model that answered."""
    replaces_last: bool = False
    """This answer takes the place of the one before it; this question of the last one and of its
    answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A conversation as read from its lines."""

    header: Header
    entries: tuple[Entry, ...]
    n_bad_lines: int = 0
    """Lines that could not be read: torn by a crash or edited by hand."""


def header_line(header: Header) -> str:
    """Return the first line of a conversation file, without its newline."""
    return _dumps({"schema": SCHEMA, **dataclasses.asdict(header)})


def entry_line(entry: Entry) -> str:
    """Return one message as a line, without its newline; what is not known is left out."""
    fields = {
        name: value
        for name, value in dataclasses.asdict(entry).items()
        if value is not None and value is not False
    }
    if entry.stats is not None:
        fields["stats"] = {
            **dataclasses.asdict(entry.stats),
            "tg_tok_s": entry.stats.tg_tok_s,
            "pp_tok_s": entry.stats.pp_tok_s,
        }
    return _dumps(fields)


def parse(data: bytes) -> Transcript:
    """Read a whole file. A torn or foreign line is counted and skipped.

    Raises IntegrityError (exit 7) when the first line is not a conversation's header.
    """
    lines = data.split(b"\n")  # not splitlines: JSON strings may hold U+2028
    header = _header(_object(lines[0]))
    entries: list[Entry] = []
    n_bad_lines = 0
    for line in lines[1:]:
        if not line.strip():
            continue
        entry = _entry(_object(line))
        if entry is None:
            n_bad_lines += 1
        else:
            entries.append(entry)
    return Transcript(header=header, entries=tuple(entries), n_bad_lines=n_bad_lines)


def messages_of(header: Header, entries: Sequence[Entry]) -> tuple[Message, ...]:
    """Return the conversation that the next answer continues, the system prompt first."""
    system = header.system
    for entry in entries:
        if entry.role == "system":
            system = entry.content or None
    prefix = (Message(role="system", content=system),) if system else ()
    turns = (
        Message(role=entry.role, content=entry.content, reasoning=entry.reasoning)
        for entry in turns_of(entries)
    )
    return (*prefix, *turns)


def turns_of(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the questions and answers that count: what was replaced is left out.

    A question that never got an answer counts only when it is the last entry.
    """
    turns: list[Entry] = []
    for entry in entries:
        if entry.role == "system":
            continue
        if entry.role == "user" and entry.replaces_last:
            while turns and turns[-1].role != "user":
                turns.pop()
        follows = turns[-1].role if turns else None
        replaced_answer = (
            entry.role == "assistant" and entry.replaces_last and follows == "assistant"
        )
        if replaced_answer or (entry.role == "user" and follows == "user"):
            turns.pop()
        turns.append(entry)
    return tuple(turns)


def _dumps(value: Mapping[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _object(line: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return cast(Mapping[str, Any], value) if isinstance(value, dict) else None


def _header(fields: Mapping[str, Any] | None) -> Header:
    if fields is None or not str(fields.get("schema", "")).startswith("localllm.conversation/"):
        raise IntegrityError(
            "The file is not a conversation of localllm.",
            hint="Its first line should be a JSON object with the schema " + SCHEMA + ".",
        )
    if fields["schema"] != SCHEMA:
        raise IntegrityError(
            f"The conversation has the schema {fields['schema']}, newer than {SCHEMA}.",
            hint="Update localllm to read it.",
        )
    return Header(
        id=_text(fields.get("id")) or "",
        created=_text(fields.get("created")) or "",
        model=_text(fields.get("model")) or "",
        content_id=_text(fields.get("content_id")),
        system=_text(fields.get("system")),
    )


def _entry(fields: Mapping[str, Any] | None) -> Entry | None:
    if fields is None or fields.get("role") not in _ROLES:
        return None
    content = _text(fields.get("content"))
    if content is None:
        return None
    return Entry(
        role=cast(Role, fields["role"]),
        content=content,
        time=_text(fields.get("time")) or "",
        reasoning=_text(fields.get("reasoning")),
        finish_reason=_text(fields.get("finish_reason")),
        stats=_stats(fields.get("stats")),
        model=_text(fields.get("model")),
        replaces_last=fields.get("replaces_last") is True,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _stats(value: object) -> RunStats | None:
    if not isinstance(value, dict):
        return None
    known = {name: value.get(name) for name in _STATS}
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in known.values()):
        return None
    return RunStats(**cast(dict[str, Any], known))
