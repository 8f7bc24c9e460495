"""One download as it goes: its rate, and what is said of it at its end, or where it was stopped."""

from __future__ import annotations

from localllm.core.fetching import FetchProgress, Rate
from localllm.core.text import printable
from localllm.units import format_bytes, format_duration, format_part, format_transfer
from localllm.words.fetching import Mode, here_bytes, mode_of


class FetchAccount:
    """What a download has told so far. Told the time, so that it needs no clock."""

    def __init__(self, name: str) -> None:
        """Know nothing yet of the download of ``name``."""
        self.name = printable(name)
        self.last: FetchProgress | None = None
        """What it told last."""
        self._mode: Mode | None = None
        self._rate = Rate()
        self._began_s: float | None = None
        self._seen: set[Mode] = set()

    def hear(self, progress: FetchProgress, now_s: float) -> None:
        """Take what it tells at a time."""
        if self._began_s is None:
            self._began_s = now_s
        mode = mode_of(progress)
        self._seen.add(mode)
        if mode != self._mode:
            self._mode, self._rate = mode, Rate()
        counted = progress.n_received if mode == "fetching" else progress.n_done
        self._rate.add(now_s, counted)
        self.last = progress

    @property
    def bytes_per_s(self) -> float | None:
        """Of what goes on: over the network, or of what counts as done; None before it is known."""
        return self._rate.bytes_per_s

    def ended(self, now_s: float) -> str | None:
        """Return what was fetched, in which time, and what its bytes were held to.

        None where it has told nothing.
        """
        last = self.last
        if last is None or self._began_s is None:
            return None
        seconds = now_s - self._began_s
        text = f"{format_bytes(last.n_bytes)} in {format_duration(seconds)}"
        verified = f", verified ({', '.join(last.verified_by)})" if last.verified_by else ""
        if last.n_received:
            text += f" ({format_transfer(last.n_received / seconds)})" if seconds > 0 else ""
            if n_here := here_bytes(last):
                text += f", {format_bytes(n_here)} of it were here"
            return f"fetched {self.name}: {text}{verified}"
        if "elsewhere" in self._seen:
            return f"another process fetched {self.name}: {text}{verified}"
        if verified:
            return f"checked {self.name}: {text}{verified}"
        return f"{self.name} was here: {format_bytes(last.n_bytes)}"

    def stopped(self, continues: str) -> str:
        """Return what is kept of it. ``continues``: what goes on with it, as `` `a command` ``."""
        last = self.last
        if last is None or not last.n_done:
            return f"Nothing was fetched yet: {continues} begins again."
        if any(file.phase == "checking" for file in last.files):  # how much is here is not told
            return f"What was here is kept: {continues} continues."
        return f"{format_part(last.n_done, last.n_bytes)} are kept: {continues} continues."
