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

from localllm.cli import fetch_words as words
from localllm.cli.output import LiveLine, note, unicode_output
from localllm.core.fetching import FetchNote, FetchProgress, Rate
from localllm.core.text import printable
from localllm.units import format_bytes, format_duration, format_part, format_transfer

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
        self._name = printable(name)
        self._stream = sys.stderr if stream is None else stream
        self._line = LiveLine(self._stream)
        self._unicode = unicode_output(self._stream)
        self._clock = clock
        self._mode: words.Mode | None = None
        self._rate = Rate()
        self._began_s: float | None = None
        self._last: FetchProgress | None = None
        self._seen: set[words.Mode] = set()
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
        if self._began_s is None:
            self._began_s = now_s
        bytes_per_s = self._rated(event, now_s)
        is_first, self._last = self._last is None, event  # before Ctrl-C can come in between
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
        last = self._last
        if last is None or self._began_s is None:
            return
        seconds = self._clock() - self._began_s
        text = f"{format_bytes(last.n_bytes)} in {format_duration(seconds)}"
        verified = f", verified ({', '.join(last.verified_by)})" if last.verified_by else ""
        if last.n_received:
            text += f" ({format_transfer(last.n_received / seconds)})" if seconds > 0 else ""
            if n_here := words.here_bytes(last):
                text += f", {format_bytes(n_here)} of it were here"
            self._say(f"fetched {self._name}: {text}{verified}")
        elif "elsewhere" in self._seen:
            self._say(f"another process fetched {self._name}: {text}{verified}")
        elif verified:
            self._say(f"checked {self._name}: {text}{verified}")
        else:
            self._say(f"{self._name} was here: {format_bytes(last.n_bytes)}")

    def interrupted(self, command: str) -> None:
        """Say what is kept and which command continues."""
        self._line.wipe()
        last = self._last
        if last is None or not last.n_done:
            note(f"Nothing was fetched yet: `{command}` begins again.")
            return
        if any(file.phase == "checking" for file in last.files):  # how much is here is not told
            note(f"What was here is kept: `{command}` continues.")
            return
        kept = format_part(last.n_done, last.n_bytes)
        note(f"{kept} are kept: `{command}` continues.")

    def _rated(self, progress: FetchProgress, now_s: float) -> float | None:
        """Bytes a second of what goes on: over the network, or of what counts as done."""
        mode = words.mode_of(progress)
        self._seen.add(mode)
        if mode != self._mode:
            self._mode, self._rate = mode, Rate()
        counted = progress.n_received if mode == "fetching" else progress.n_done
        self._rate.add(now_s, counted)
        return self._rate.bytes_per_s

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
