"""The line of a download at every width, and what it costs before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from localllm.core.fetching import FetchProgress, FileState, Phase
from localllm.units import GiB, MiB, format_part, format_transfer
from localllm.words.fetching import bar, cost_words, left_words, live_line

NAME = "llama-3-70b:Q4_K_M"
LONG = "bartowski/Llama-3.3-70B-Instruct-GGUF:Q4_K_M"
WHOLE = int(40.5 * GiB)


def one(done: float, phase: Phase = "fetching", **more: Any) -> FetchProgress:
    """One file of 40.5 GiB, so many GiB of it done."""
    state = FileState(path="m.gguf", n_bytes=WHOLE, n_done=int(done * GiB), phase=phase, **more)
    return FetchProgress(files=(state,))


def line(
    progress: FetchProgress, *, name: str = NAME, width: int = 99, rate: float = 52.3e6
) -> str:
    return live_line(name, progress, rate, width=width, unicode=True)


def test_the_line_says_how_much_how_fast_and_how_long() -> None:
    shown = line(one(16.9, n_resumed=int(3.2 * GiB)), width=119)
    assert shown.startswith(f"fetching {NAME} ▓")
    assert "41% · 3.20 GiB were here · 16.9 of 40.5 GiB · 52.3 MB/s · 9 min left" in shown
    assert "41% · 16.9 of 40.5 GiB · 52.3 MB/s · 9 min left" in line(one(16.9), width=79)


def test_on_a_narrow_terminal_the_figures_stay_longest() -> None:
    figures = "41% · 16.9 of 40.5 GiB · 52.3 MB/s · 9 min left"
    assert line(one(16.9), name=LONG, width=79).startswith("Llama-3.3-70…GUF:Q4_K_M ██")
    assert line(one(16.9), name=LONG, width=79).endswith(figures)
    assert line(one(16.9), width=60) == f"████░░░░░░  {figures}"
    assert line(one(16.9), width=40) == "41% · 16.9 of 40.5 GiB · 52.3 MB/s"


def test_files_that_are_done_are_counted() -> None:
    here = FileState(path="a", n_bytes=GiB, n_done=GiB, phase="done")
    done = [replace(here, path=str(i), n_received=GiB) for i in range(2)]
    going = [FileState(path=str(i), n_bytes=GiB, n_done=i * MiB, phase="fetching") for i in (1, 2)]
    shown = line(FetchProgress(files=(here, *done, *going)), width=119)
    assert "3 of 5 files · 1.00 GiB were here · 3.0" in shown


def test_what_waits_says_why_and_what_another_process_does_is_not_ours() -> None:
    reason = "the server answers with status 429, again in 8 s"
    waiting = one(8.4, "waiting", waiting_for=reason)
    assert line(waiting, width=99).endswith(f"20% · 8.4 of 40.5 GiB · waiting: {reason}")
    assert line(waiting, width=79).endswith(f"waiting: {reason}")
    elsewhere = one(3.1, "elsewhere", waiting_for="another process (42) downloads it")
    assert line(elsewhere, width=55) == "another process (42) downloads it: 7% · 3.1 of 40.5 GiB"
    assert line(elsewhere, width=119).startswith(f"{NAME}: another process (42) downloads it ")


def test_a_part_that_moves_counts_before_one_that_waits() -> None:
    waiting = one(1.0, "waiting", waiting_for="no route").files[0]
    assert "no route" not in line(FetchProgress(files=(waiting, one(2.0).files[0])))
    assert "no route" in line(FetchProgress(files=(waiting, replace(waiting, phase="done"))))


@given(
    done=st.integers(0, WHOLE),
    here=st.integers(0, WHOLE),
    width=st.integers(10, 200),
    rate=st.none() | st.floats(0, 1e11),
    phase=st.sampled_from(["queued", "checking", "fetching", "waiting", "elsewhere", "done"]),
    name=st.sampled_from([NAME, LONG, "x"]),
)
def test_no_line_is_wider_than_its_terminal(
    done: int, here: int, width: int, rate: float | None, phase: Phase, name: str
) -> None:
    why = "the server is silent" if phase == "waiting" else None
    state = FileState(
        path="m", n_bytes=WHOLE, n_done=done, n_resumed=here, phase=phase, waiting_for=why
    )
    progress = FetchProgress(files=(state,))
    assert len(live_line(name, progress, rate, width=width, unicode=True)) <= width
    drawn = bar(progress, width, unicode=False)
    assert len(drawn) == width and (done == WHOLE) == ("." not in drawn)


def test_units_are_those_of_the_whole() -> None:
    assert format_part(512 * MiB, WHOLE) == "0.5 of 40.5 GiB"
    assert format_part(5, 700) == "5 of 700 B"
    assert [format_transfer(rate) for rate in (999.6, 52.34e6, 1.8e9, 7)] == [
        "1.00 kB/s",
        "52.3 MB/s",
        "1.80 GB/s",
        "7 B/s",
    ]
    assert [left_words(s) for s in (0.2, 59, 60, 61, 3599, 3601, 10**6)] == [
        "1 s",
        "59 s",
        "1 min",
        "2 min",
        "1 h 00 min",
        "1 h 01 min",
        "12 days",
    ]


def test_without_unicode_nothing_is_drawn_that_cannot_be_shown() -> None:
    drawn = live_line(LONG, one(16.9, n_resumed=GiB), 1e6, width=79, unicode=False)
    assert drawn.isascii() and "#" in drawn and "..." in drawn


def test_the_cost_is_size_disk_and_time() -> None:
    words = cost_words(20 * 10**9, free_bytes=2**40, bytes_per_s=1e8)
    assert words.startswith("18.6 GiB to download, 1,005 GiB stay free on the disk")
    assert words.endswith("about 4 min at 100 MB/s")
    assert cost_words(WHOLE, free_bytes=None) == "40.5 GiB to download"
