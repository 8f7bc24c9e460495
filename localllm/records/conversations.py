"""The store of conversations: one JSON Lines file each, appended and flushed after every message.

A file belongs to one chat at a time (an advisory lock), is readable by its owner only, and does not
exist before the first message. Nothing is ever rewritten: a crash can only tear the last line, and
a torn line is skipped when the file is read.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from localllm.core.generation import Message
from localllm.errors import LocalLLMError, NotFoundError, UsageError
from localllm.records.entries import (
    Entry,
    Header,
    Transcript,
    entry_line,
    header_line,
    messages_of,
    parse,
    turns_of,
)
from localllm.records.searching import excerpt, may_hold, words_of
from localllm.records.state import private_dir

try:
    import fcntl
except ImportError:  # Windows: two chats in one file are then not refused
    fcntl = None  # type: ignore[assignment]  # asked for before it is used


class Conversation:
    """An open conversation. Made by the store; ``append`` keeps a message on disk at once."""

    def __init__(self, path: Path | None, transcript: Transcript, fd: int | None = None) -> None:
        """Take the file's content and, when it exists already, its locked descriptor.

        Without a path nothing is written down.
        """
        self.path = path
        self.header = transcript.header
        self.n_bad_lines = transcript.n_bad_lines
        self._entries = list(transcript.entries)
        self._fd = fd

    @property
    def entries(self) -> Sequence[Entry]:
        """Everything said, in order, replaced answers included."""
        return self._entries

    @property
    def messages(self) -> tuple[Message, ...]:
        """What the next answer continues."""
        return messages_of(self.header, self._entries)

    def append(self, entry: Entry) -> None:
        """Remember an entry and write it. Raises OSError; it is then remembered all the same."""
        self._entries.append(entry)
        if self.path is None:
            return
        lines = [entry_line(entry)]
        if self._fd is None:
            private_dir(self.path.parent)
            self._fd = _open_locked(self.path, new=True)
            lines.insert(0, header_line(self.header))
        _write(self._fd, "".join(line + "\n" for line in lines))

    def set_system(self, text: str | None, *, time: str) -> None:
        """Change the system prompt from here on; an untouched conversation changes its header."""
        if not self._entries:
            self.header = replace(self.header, system=text or None)
        else:
            self.append(Entry(role="system", content=text or "", time=time))

    def forget_file(self) -> None:
        """Write nothing down from here on."""
        self.close()
        self.path = None

    def close(self) -> None:
        """Give the file free for another chat."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One stored conversation in a list."""

    id: str
    model: str
    modified_s: float
    """Seconds since the epoch."""
    n_messages: int
    title: str
    """The first question, in one line."""
    excerpt: str | None = None
    """What was said around the words that were looked for, in one line."""


class ConversationStore:
    """The conversations under one folder."""

    def __init__(self, root: Path) -> None:
        """Take the folder; it is made when the first message is kept."""
        self.root = root

    def start(
        self, *, model: str, now: datetime, content_id: str | None = None, system: str | None = None
    ) -> Conversation:
        """Return a new conversation, which has no file until something is said."""
        created = now.astimezone()
        name = f"{created:%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"
        header = Header(
            id=name,
            created=created.isoformat(timespec="seconds"),
            model=model,
            content_id=content_id,
            system=system or None,
        )
        return Conversation(self.root / f"{name}.jsonl", Transcript(header=header, entries=()))

    def open(self, prefix: str | None = None) -> Conversation:
        """Return the conversation whose id begins so, or the one used last, ready to be continued.

        Raises NotFoundError (exit 5) without one, UsageError (2) when several match or when
        another chat has it open, IntegrityError (7) when the file is not a conversation.
        """
        path = self._latest() if prefix is None else self._match(prefix)
        fd = _open_locked(path, new=False)
        try:
            data = path.read_bytes()
            transcript = parse(data)
            if data and not data.endswith(b"\n"):
                _write(fd, "\n")  # so that the next message does not continue a torn line
        except BaseException:
            os.close(fd)
            raise
        return Conversation(path, transcript, fd)

    def ids(self) -> tuple[str, ...]:
        """All conversations, the one used last first."""
        stamped = []
        for path in self.root.glob("*.jsonl"):
            with contextlib.suppress(OSError):
                stamped.append((path.stat().st_mtime_ns, path.stem))
        return tuple(name for _, name in sorted(stamped, reverse=True))

    def summaries(self, limit: int = 10) -> tuple[Summary, ...]:
        """Return the conversations used last; files that cannot be read are left out."""
        return tuple(itertools.islice(self.search(""), limit))

    def search(self, query: str) -> Iterator[Summary]:
        """Yield the conversations in which every word of a query was said, the last used first.

        Words count in any case and within others; without any, all conversations are found. Files
        that cannot be read are left out.
        """
        words = words_of(query)
        for name in self.ids():
            path = self.root / f"{name}.jsonl"
            with contextlib.suppress(OSError, LocalLLMError):
                found = _found(path, words)
                if found is not None:
                    yield found

    def delete(self, name: str) -> None:
        """Delete a conversation by its whole id.

        Raises NotFoundError (exit 5) without it, UsageError (2) while a chat has it open,
        LocalLLMError (1) where it cannot be deleted.
        """
        if name not in self.ids():
            raise NotFoundError(f"There is no conversation {name}.")
        path = self.root / f"{name}.jsonl"
        try:
            fd = _open_locked(path, new=False)
        except OSError as error:
            raise LocalLLMError(f"{path} cannot be deleted: {error.strerror}.") from error
        try:
            path.unlink()
        except OSError as error:
            raise LocalLLMError(f"{path} cannot be deleted: {error.strerror}.") from error
        finally:
            os.close(fd)

    def _latest(self) -> Path:
        names = self.ids()
        if not names:
            raise NotFoundError(
                "There is no conversation to resume.",
                hint="A conversation is kept from its first question on: localllm chat MODEL.",
            )
        return self.root / f"{names[0]}.jsonl"

    def _match(self, prefix: str) -> Path:
        names = self.ids()
        wanted = prefix.removesuffix(".jsonl")
        matches = [n for n in names if n == wanted] or [n for n in names if n.startswith(wanted)]
        if len(matches) == 1:
            return self.root / f"{matches[0]}.jsonl"
        if matches:
            raise UsageError(
                f"{len(matches)} conversations begin with {prefix!r}.",
                hint=f"They are {', '.join(matches[:5])}.",
            )
        import difflib  # only for whoever mistypes

        near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4) or list(names[:3])
        raise NotFoundError(
            f"No conversation begins with {prefix!r}.",
            hint=f"The nearest: {', '.join(near)}." if near else "None has been kept yet.",
        )


def _found(path: Path, words: Sequence[str]) -> Summary | None:
    """Return a conversation in a line; None where the words were not said in it."""
    data = path.read_bytes()
    if not may_hold(data, words):
        return None
    transcript = parse(data)
    around = excerpt(transcript, words)
    if words and around is None:
        return None
    said = [e for e in transcript.entries if e.role in ("user", "assistant")]
    first = next((e.content for e in turns_of(transcript.entries) if e.role == "user"), "")
    return Summary(
        id=path.stem,
        model=transcript.header.model,
        modified_s=path.stat().st_mtime,
        n_messages=len(said),
        title=" ".join(first.split())[:60],
        excerpt=around,
    )


def _open_locked(path: Path, *, new: bool) -> int:
    flags = os.O_WRONLY | os.O_APPEND | (os.O_CREAT | os.O_EXCL if new else 0)
    fd = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
    if fcntl is not None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise UsageError(
                f"The conversation {path.stem} is open in another chat.",
                hint="Leave that chat first, or name another conversation with --resume ID.",
            ) from error
        except OSError:
            pass  # a file system without locks: no lock is better than no conversation
    return fd


def _write(fd: int, text: str) -> None:
    data = memoryview(text.encode("utf-8", "replace"))
    while data:
        data = data[os.write(fd, data) :]
