"""One download as it goes: a bar, its figures, what is waited for, and its files if several."""

from __future__ import annotations

from collections.abc import Iterator

from textual.content import Content
from textual.widget import Widget

from localllm.core.fetching import FileState
from localllm.core.text import printable
from localllm.tui.fetching.fetches import Fetch
from localllm.units import format_part
from localllm.words.fetching import bar, doing, extras, figures, percent


class FetchProgressView(Widget):
    """Shows a download as it is now: ``show`` it again whenever it has told something."""

    DEFAULT_CSS = """
    FetchProgressView { height: auto; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        """Show nothing yet."""
        super().__init__(id=id)
        self._fetch: Fetch | None = None

    def show(self, fetch: Fetch) -> None:
        """Draw a download anew."""
        self._fetch = fetch
        self.refresh(layout=True)

    def render(self) -> Content:
        """Return the bar and what stands below it."""
        fetch = self._fetch
        if fetch is None:
            return Content("")
        return Content("\n").join(_lines(fetch, self.size.width or 60))


def row_words(fetch: Fetch) -> str:
    """Return a download in a cell of a list: ``fetching 42%, 16.9 of 40.5 GiB, 52.3 MB/s``."""
    progress = fetch.progress
    if fetch.state == "failed" and fetch.error is not None:
        return f"not fetched: {fetch.error.message}"
    if fetch.state in ("stopped", "done"):
        return fetch.said or ""
    if progress is None or fetch.state == "stopping":
        return "stopping" if fetch.state == "stopping" else "asking the Hub"
    said = figures(progress, fetch.account.bytes_per_s)
    return ", ".join((f"{doing(progress)} {percent(progress)}%", *said))


def _lines(fetch: Fetch, width: int) -> Iterator[Content]:
    progress = fetch.progress
    if progress is None:
        yield Content("asking the Hub")
        return
    share = f" {percent(progress):3d}%"
    yield Content.assemble(
        (bar(progress, max(width - len(share), 1), unicode=True), "$primary"), share
    )
    if fetch.is_running:
        does = doing(progress)
        said = figures(progress, fetch.account.bytes_per_s)
        head = () if does == "waiting" else (does,)  # the figures say why
        yield Content(printable(" · ".join((*head, *said, *extras(progress)))))
    for note in fetch.notes:
        yield Content(printable(note))
    if len(progress.files) > 1:
        yield Content("")
        for file in progress.files:
            yield Content.styled(_file_words(file), "" if file.phase != "done" else "$text-muted")


def _file_words(file: FileState) -> str:
    mark = {"done": "●", "queued": "○"}.get(file.phase, "↓")
    part = format_part(file.n_done, file.n_bytes)
    why = f": {file.waiting_for}" if file.waiting_for else ""
    return printable(f"{mark} {file.path}  {part}, {file.phase}{why}")
