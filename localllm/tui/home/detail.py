"""What is said of the model under the cursor: all that a line of the list has no room for."""

from __future__ import annotations

from collections.abc import Iterator

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from localllm.core.text import printable
from localllm.tui.fetching.fetches import Fetch
from localllm.tui.fetching.ways import in_keys
from localllm.tui.home.cells import Told
from localllm.tui.home.rows import Row, Verdict
from localllm.tui.home.shelf import Entry
from localllm.units import format_bytes, format_count
from localllm.words.kept import FOLDERS, ago


class Detail(Widget):
    """Some lines of text about one entry."""

    DEFAULT_CSS = """
    Detail {
        height: 4;
        padding: 0 1;
        background: $surface;
    }
    """

    content: reactive[Content] = reactive(Content(""))

    def show(self, entry: Entry | None, told: Told, *, now_s: float) -> None:
        """Say what is known of an entry. ``now_s``: seconds since 1970."""
        self.content = Content("") if entry is None else detail(entry, told, now_s=now_s)

    def render(self) -> Content:
        """Return what was said last."""
        return self.content


def detail(entry: Entry, told: Told, *, now_s: float) -> Content:
    """Return the name and the facts in a line, then what a plan says, or what went wrong."""
    problem, doing = told.problems.get(entry.key), told.doings.get(entry.key)
    fetch = told.fetches.get(entry.key)
    if entry.row is None:
        lines = [Content(printable(entry.text))]
        verdict = None
    else:
        verdict = told.verdicts.get(entry.row.key)
        lines = [
            Content.assemble(
                (printable(entry.row.name), "bold"),
                ("  " + " · ".join(_facts(entry.row, verdict, fetch, now_s)), "$text-muted"),
            )
        ]
    if doing is not None:
        lines.append(Content(f"… {printable(doing)} (escape leaves it)"))
    elif problem is not None:
        hint = f" → {in_keys(problem.hint)}" if problem.hint else ""
        lines.append(Content(printable(f"{problem.message}{hint}")))
    elif entry.row is not None:
        if fetch is not None and fetch.said and fetch.state == "stopped":
            lines.append(Content(printable(fetch.said)))
        elif fetch is not None and fetch.error is not None:
            hint = f" → {in_keys(fetch.error.hint)}" if fetch.error.hint else ""
            lines.append(Content(printable(f"{fetch.error.message}{hint}")))
        elif verdict is not None:
            said = verdict.more if verdict.fits else (f"{verdict.words}:", *verdict.more)
            lines.append(Content(printable(in_keys(" ".join(said)))))
        elif entry.row.kept is not None and entry.row.kept.note:
            lines.append(Content(printable(in_keys(entry.row.kept.note))))
    return Content("\n").join(lines)


def _facts(row: Row, verdict: Verdict | None, fetch: Fetch | None, now_s: float) -> Iterator[str]:
    quant, n_bytes = row.quant(verdict), row.n_bytes(verdict)
    yield from filter(None, [printable(quant)])
    if n_bytes is not None:
        yield format_bytes(n_bytes)
    if row.n_params:
        yield f"{format_count(row.n_params)} parameters"
    if row.kind == "demo":
        yield "comes with localllm"
    elif row.kept is not None:
        yield f"in {FOLDERS[row.kept.keeper]}"
        yield f"used {ago(now_s - row.kept.last_used_s)}"
        if not row.kept.is_current:
            yield "no branch or tag"
        if row.is_incomplete:
            yield "f fetches what is missing" if row.kept.can_be_removed else "incomplete"
    elif verdict is not None and verdict.is_here:
        yield "here"
    else:
        yield "being fetched" if fetch is not None and fetch.is_running else "to fetch"
