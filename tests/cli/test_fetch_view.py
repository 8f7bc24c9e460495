"""A download as a person watches it: every width, the log, the end, and the question before."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from typing import Any

import pexpect
import pytest

from localllm.cli.fetch_question import agrees_to_fetch
from localllm.cli.fetch_view import FetchView
from localllm.core.fetching import FetchNote, FetchProgress, FileState, Phase
from localllm.units import GiB

NAME = "llama-3-70b:Q4_K_M"
WHOLE = int(40.5 * GiB)


def one(done: float, phase: Phase = "fetching", **more: Any) -> FetchProgress:
    """One file of 40.5 GiB, so many GiB of it done."""
    state = FileState(path="m.gguf", n_bytes=WHOLE, n_done=int(done * GiB), phase=phase, **more)
    return FetchProgress(files=(state,))


class Clock:
    """A clock that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


# -- a log -------------------------------------------------------------------------------------


def test_a_log_stays_short_however_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    """Five minutes at ten events a second: a line for each tenth that took half a minute."""
    clock, stream = Clock(), io.StringIO()
    with FetchView(NAME, stream=stream, clock=clock) as view:
        for tick in range(3001):
            clock.now_s = tick / 10
            received = WHOLE * tick // 3000
            view.show(one(received / GiB, n_received=received))
        view.show(one(40.5, "done", n_received=WHOLE, verified_by="SHA-256"))
        view.end()
    lines = stream.getvalue().splitlines()
    assert lines[0] == f"fetching {NAME}: 40.5 GiB"
    assert lines[1] == f"{NAME}: 10 %, 4.1 of 40.5 GiB, 145 MB/s, 5 min left"
    assert lines[-1] == f"fetched {NAME}: 40.5 GiB in 5 min 00 s (145 MB/s), verified (SHA-256)"
    assert 8 <= len(lines) <= 12
    assert "\r" not in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_a_log_says_once_why_nothing_comes() -> None:
    clock, stream = Clock(), io.StringIO()
    view = FetchView(NAME, stream=stream, clock=clock)
    for tick in range(120):
        clock.now_s = float(tick)
        view.show(one(4.1, "waiting", waiting_for="no connection"))
    assert stream.getvalue().count("waiting: no connection") == 1


def test_a_note_is_said_beside_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    FetchView(NAME).show(FetchNote(text="This folder has no locks: no resuming."))
    assert capsys.readouterr().err == "note: This folder has no locks: no resuming.\n"


# -- the end -----------------------------------------------------------------------------------


def test_the_end_says_what_came_and_what_was_here() -> None:
    clock, stream = Clock(), io.StringIO()
    view = FetchView(NAME, stream=stream, clock=clock)
    view.show(one(3.2, n_resumed=int(3.2 * GiB)))
    clock.now_s = 723.0
    came = WHOLE - int(3.2 * GiB)
    here = int(3.2 * GiB)
    view.show(one(40.5, "done", n_resumed=here, n_received=came, verified_by="SHA-256"))
    view.end()
    assert stream.getvalue().splitlines()[-1] == (
        f"fetched {NAME}: 40.5 GiB in 12 min 03 s (55.4 MB/s), 3.20 GiB of it were here, "
        "verified (SHA-256)"
    )


def test_what_was_whole_is_not_called_fetched() -> None:
    stream = io.StringIO()
    view = FetchView(NAME, stream=stream)
    view.show(one(40.5, "done"))
    view.end()
    assert stream.getvalue().endswith(f"{NAME} was here: 40.5 GiB\n")
    view.show(one(40.5, "done", n_resumed=WHOLE, verified_by="SHA-256"))
    view.end()
    last = stream.getvalue().splitlines()[-1]
    assert last.startswith(f"checked {NAME}: 40.5 GiB in ") and last.endswith("(SHA-256)")
    view.show(one(8.1, "elsewhere"))
    view.show(one(40.5, "done", verified_by="SHA-256"))
    view.end()
    last = stream.getvalue().splitlines()[-1]
    assert last.startswith(f"another process fetched {NAME}: ") and last.endswith("(SHA-256)")


def test_verified_is_what_was_hashed_and_by_which_hash() -> None:
    def said(*hashes: str | None) -> str:
        stream = io.StringIO()
        view = FetchView(NAME, stream=stream)
        done = one(40.5, "done", n_received=WHOLE).files[0]
        view.show(FetchProgress(files=tuple(replace(done, verified_by=each) for each in hashes)))
        view.end()
        return stream.getvalue().rstrip()

    assert said("SHA-256", "SHA-256").endswith(", verified (SHA-256)")
    assert said("git SHA-1", "SHA-256").endswith(", verified (SHA-256, git SHA-1)")
    assert "verified" not in said("SHA-256", None)


def test_stopped_it_says_what_is_kept_and_what_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    view = FetchView(NAME, stream=io.StringIO())
    view.interrupted(f"localllm pull {NAME}")
    assert "Nothing was fetched yet" in capsys.readouterr().err
    view.show(one(16.9))
    view.interrupted(f"localllm pull {NAME}")
    assert capsys.readouterr().err == (
        f"note: 16.9 of 40.5 GiB are kept: `localllm pull {NAME}` continues.\n"
    )
    view.show(one(2.0, "checking"))  # of a file that may be whole
    view.interrupted(f"localllm pull {NAME}")
    assert "What was here is kept" in capsys.readouterr().err


# -- on a real terminal ------------------------------------------------------------------------

WATCHED = """
import time
from localllm.cli.fetch_view import FetchView
from localllm.core.fetching import FetchProgress, FileState
with FetchView("m:Q4_K_M") as view:
    for n in range(4):
        state = FileState(path="m", n_bytes=4000, n_done=1000 * n, n_received=1000 * n,
                          phase="fetching")
        view.show(FetchProgress(files=(state,)))
        time.sleep(0.06)
    view.interrupted("localllm pull m")
"""


def on_terminal(code: str, answer: str | None = None, **variables: str) -> str:
    child = pexpect.spawn(
        sys.executable,
        ["-c", code],
        env={"PATH": "/usr/bin:/bin", "TERM": "xterm", "LANG": "C.UTF-8", **variables},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=30,
    )
    before = ""
    if answer is not None:
        child.expect(r"\[y/N\]: ")
        before = child.before
        child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    return f"{before}{child.before}"


def test_at_a_terminal_one_line_is_redrawn_and_leaves_no_trace() -> None:
    seen = on_terminal(WATCHED)
    assert seen.count("\r") >= 4 and "\r\nfetching" not in seen
    assert "75%" in seen and "█" in seen
    assert seen.rstrip().split("\x1b[K")[-1].endswith("`localllm pull m` continues.")
    dumb = on_terminal(WATCHED, TERM="dumb")
    assert "\x1b" not in dumb and "fetching m:Q4_K_M: 3.91 KiB" in dumb


ASKED = """
from localllm.cli.fetch_question import agrees_to_fetch
print("GO" if agrees_to_fetch(20 * 10**9) else "NO")
"""


@pytest.mark.parametrize(("answer", "word"), [("y", "GO"), ("", "NO"), ("n", "NO")])
def test_a_large_download_is_asked_about_and_enter_means_no(answer: str, word: str) -> None:
    seen = on_terminal(ASKED, answer)
    assert word in seen


def test_nobody_is_asked_for_little_when_sure_or_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert agrees_to_fetch(10**10)
    assert agrees_to_fetch(WHOLE, sure=True)
    assert agrees_to_fetch(WHOLE)
    assert capsys.readouterr().err == ""
