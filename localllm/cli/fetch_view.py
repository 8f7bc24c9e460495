"""A download on standard error: one redrawn line at a terminal, a few plain lines in a log.

Nothing of it goes to standard output, so that ``--json`` stays one document.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

import click

from localllm.cli.output import LiveLine, note, unicode_output
from localllm.core.fetching import FetchNote, FetchProgress
from localllm.core.text import printable
from localllm.words import fetching as words
from localllm.words.fetch_account import FetchAccount

LOG_EVERY_S = 30.0
LOG_EVERY_SHARE = 0.1
"""A log gets a line when both have passed: a fast download writes few, a slow one not too many."""


class FetchView:
    """One download. Use it in ``with``: leaving it wipes the line, whatever happened."""

    def __init__(
        self,
        name: str,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Draw the download of ``name`` to a stream, standard error by default."""
        self._account = FetchAccount(name)
        self._name = self._account.name
        self._stream = sys.stderr if stream is None else stream
        self._line = LiveLine(self._stream)
        self._unicode = unicode_output(self._stream)
        self._clock = clock
        self._logged_s = self._logged_share = 0.0
        self._logged_wait: str | None = None

    def __enter__(self) -> Self:
        """Return the view itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wipe the line."""
        self._line.wipe()

    def show(self, event: FetchProgress | FetchNote) -> None:
        """Show how far it is, or say what a person should know."""
        if isinstance(event, FetchNote):
            self._line.wipe()
            note(event.text)
            return
        now_s = self._clock()
        is_first = self._account.last is None
        self._account.hear(event, now_s)  # before Ctrl-C can come in between
        bytes_per_s = self._account.bytes_per_s
        if self._line.live:
            width = self._line.columns - 1
            self._line.draw(
                words.live_line(self._name, event, bytes_per_s, width=width, unicode=self._unicode)
            )
        else:
            self._log(event, bytes_per_s, now_s, is_first=is_first)

    def end(self) -> None:
        """Say what was fetched, in which time, and what its bytes were held to."""
        self._line.wipe()
        text = self._account.ended(self._clock())
        if text is not None:
            self._say(text)

    def interrupted(self, command: str) -> None:
        """Say what is kept and which command continues."""
        self._line.wipe()
        note(self._account.stopped(f"`{command}`"))

    def _log(
        self, progress: FetchProgress, bytes_per_s: float | None, now_s: float, *, is_first: bool
    ) -> None:
        share = progress.n_done / progress.n_bytes if progress.n_bytes else 0.0
        if is_first:
            self._say(words.first_line(self._name, progress))
            self._logged_s, self._logged_share = now_s, share
            return
        if now_s - self._logged_s < LOG_EVERY_S:
            return
        waits = progress.waiting_for if words.mode_of(progress) == "waiting" else None
        is_news = waits is not None and waits != self._logged_wait
        if share - self._logged_share >= LOG_EVERY_SHARE or is_news:
            self._say(words.plain_line(self._name, progress, bytes_per_s))
            self._logged_s, self._logged_share, self._logged_wait = now_s, share, waits

    def _say(self, text: str) -> None:
        click.echo(printable(text), file=self._stream)
