"""What a download costs, and what its line says for a given width.

Pure, so that every state of it can be looked at:
``fetching NAME ██████░░░░ 42% · 16.9 of 40.5 GiB · 52.3 MB/s · 7 min left``. Where the terminal is
narrow the extras go first, then the name's user and middle, then name and bar; figures stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from localllm.core.fetching import FetchProgress, ToFetch, time_left_s
from localllm.core.text import printable
from localllm.units import format_bytes, format_part, format_transfer

if TYPE_CHECKING:
    from localllm.core.plan import Plan

Mode = Literal["fetching", "checking", "waiting", "elsewhere"]

_WIDEST_BAR, _LEAST_BAR = 24, 6
_LEAST_NAME = 12
_BETWEEN = " · "
_ELSEWHERE = "another process downloads it"
_WIDEST_RATE, _WIDEST_LEFT = len("999 MB/s"), len("59 min left")


def cost_words(n_bytes: int, *, free_bytes: int | None, bytes_per_s: float | None = None) -> str:
    """Return what a download of so many bytes means: size, disk, and time where a rate is known.

    ``free_bytes``: on the disk, before; None where nobody tells.
    """
    words = [f"{format_bytes(n_bytes)} to download"]
    if free_bytes is not None:
        stays = free_bytes - n_bytes
        words.append(
            f"{format_bytes(stays)} stay free on the disk"
            if stays >= 0
            else f"and the disk has {format_bytes(free_bytes)} free"
        )
    seconds = time_left_s(n_bytes, bytes_per_s)
    if seconds is not None and bytes_per_s is not None:
        words.append(f"about {left_words(seconds)} at {format_transfer(bytes_per_s)}")
    return ", ".join(words)


def cost_of(wanted: ToFetch) -> str:
    """Return the same of a model that is to be fetched."""
    return cost_words(
        wanted.left_bytes, free_bytes=wanted.free_bytes, bytes_per_s=wanted.bytes_per_s
    )


def before_line(wanted: ToFetch) -> str:
    """Return what is about to be fetched, and what it costs; or that it is here, to be checked."""
    if wanted.left_bytes:
        return f"{printable(wanted.name)}: {cost_of(wanted)}."
    return f"{printable(wanted.name)} is here and up to date; it is checked."


def not_fitting(plan: Plan) -> str | None:
    """Say that what is fetched would not run on the machine of a plan; None where it would."""
    if plan.verdict == "fits":
        return None
    from localllm.core.shrunk import short_of

    return f"It does not fit this machine, short of {short_of(plan)}: it is fetched all the same."


def licence_words(licence: str, *, is_gated: bool | None) -> str:
    """Return a licence, and whether it must be accepted before a download."""
    return f"{licence}, gated: to be accepted before a download" if is_gated else licence


def reading_words(n_bytes: int, waiting_for: str | None) -> str:
    """Return how far the reading of a header is, and why nothing comes where that is so."""
    waiting = f", waiting: {waiting_for}" if waiting_for else ""
    return f"reading the model's header: {format_bytes(n_bytes)}{waiting}"


def mode_of(progress: FetchProgress) -> Mode:
    """Return what a download does: what moves counts before what waits."""
    phases = {file.phase for file in progress.files}
    if "fetching" in phases:
        return "fetching"
    if "checking" in phases:
        return "checking"
    if "elsewhere" in phases:
        return "elsewhere"
    return "waiting" if progress.waiting_for else "fetching"


def here_bytes(progress: FetchProgress) -> int:
    """Return what this run did not have to fetch: parts of files, and whole ones."""
    return sum(
        file.n_bytes if file.phase == "done" and not file.n_received else file.n_resumed
        for file in progress.files
    )


def live_line(
    name: str,
    progress: FetchProgress,
    bytes_per_s: float | None,
    *,
    width: int,
    unicode: bool,
    verb: str = "fetching",
) -> str:
    """Return one line of at most ``width`` columns; ``verb``: what is done to what moves."""
    mode = mode_of(progress)
    said = figures(progress, bytes_per_s)
    if mode == "waiting":
        more, reserved = [], 0
    else:
        more = extras(progress)
        reserved = len(format_part(progress.n_bytes, progress.n_bytes))
        if mode != "checking":
            reserved += 2 * len(_BETWEEN) + _WIDEST_RATE + _WIDEST_LEFT
    tail = _BETWEEN.join(said)
    share = f"{percent(progress):3d}%"
    room = width - len(share) - len(_BETWEEN) - max(len(tail), reserved)
    why = progress.waiting_for or _ELSEWHERE
    if mode == "elsewhere":
        heads = [f"{name}: {why}", why, ""]
    else:
        label = verb if mode in ("waiting", "fetching") else mode
        heads = _heads(name, label, room - _LEAST_BAR - 2, unicode=unicode)
    head = next((each for each in heads if len(each) + _LEAST_BAR + 2 <= room), None)
    if not head and mode == "elsewhere":
        line = _narrow(f"{why}: {share.strip()}", said, width)
    elif head is None:
        line = _narrow(share.strip(), said, width)
    else:
        room -= len(head) + 2
        shown: list[str] = []
        for each in more:
            if _LEAST_BAR + len(each) + len(_BETWEEN) <= room:
                shown.append(each)
                room -= len(each) + len(_BETWEEN)
        drawn = bar(progress, min(room, _WIDEST_BAR), unicode=unicode)
        line = _BETWEEN.join([f"{head} {drawn} {share}".lstrip(), *shown, tail])
    return line if unicode else line.replace(_BETWEEN, " - ")


def figures(progress: FetchProgress, bytes_per_s: float | None) -> list[str]:
    """Return how much of how much, then how fast and how long, or why nothing comes."""
    mode = mode_of(progress)
    part = format_part(progress.n_done, progress.n_bytes)
    if mode == "waiting":
        return [part, f"waiting: {progress.waiting_for}"]
    return [part, *_speed(progress, mode, bytes_per_s)]


def doing(progress: FetchProgress) -> str:
    """Return what a download does, in a word or two; that another process does it."""
    mode = mode_of(progress)
    if mode == "elsewhere":
        return progress.waiting_for or _ELSEWHERE
    return mode


def percent(progress: FetchProgress) -> int:
    """Return how many of a hundred parts are here, rounded down."""
    return int(100 * (progress.n_done / progress.n_bytes)) if progress.n_bytes else 0


def plain_line(name: str, progress: FetchProgress, bytes_per_s: float | None) -> str:
    """Return the same as a line of a log."""
    mode = mode_of(progress)
    words = [f"{percent(progress)} %"]
    if mode == "elsewhere":
        part = format_part(progress.n_done, progress.n_bytes)
        words += [part, progress.waiting_for or _ELSEWHERE]
    else:
        words += figures(progress, bytes_per_s)
    checking = "checking " if mode == "checking" else ""
    return f"{checking}{name}: {', '.join(words)}"


def first_line(name: str, progress: FetchProgress) -> str:
    """Return how a log begins."""
    parts = f" in {len(progress.files)} files" if len(progress.files) > 1 else ""
    return f"fetching {name}: {format_bytes(progress.n_bytes)}{parts}"


def extras(progress: FetchProgress) -> list[str]:
    """Return what is said where there is room: files that are done, and bytes that were here."""
    words = []
    if len(progress.files) > 1:
        n_done = sum(file.phase == "done" for file in progress.files)
        words.append(f"{n_done} of {len(progress.files)} files")
    if n_here := here_bytes(progress):
        words.append(f"{format_bytes(n_here)} were here")
    return words


def left_words(seconds: float) -> str:
    """Return a time that is a guess, without false digits: ``42 s``, ``7 min``, ``2 h 10 min``."""
    if seconds < 59.5:
        return f"{max(seconds, 1):.0f} s"
    minutes = -(-round(seconds) // 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes / (24 * 60):.0f} days"


def bar(progress: FetchProgress, width: int, *, unicode: bool) -> str:
    """Return a bar of so many columns: what was here, what came since, what is missing.

    It is full only where all is done.
    """
    n_bytes = max(progress.n_bytes, 1)
    done = min(progress.n_done, n_bytes) * width // n_bytes
    here = min(here_bytes(progress) * width // n_bytes, done)
    old, new, missing = ("▓", "█", "░") if unicode else ("=", "#", ".")
    return old * here + new * (done - here) + missing * (width - done)


def _narrow(before: str, figures: Sequence[str], width: int) -> str:
    """The line without a name and a bar, with as many figures as there is room for."""
    words = [before, *figures]
    waits = figures[-1].startswith("waiting: ")
    while len(words) > 2 and len(_BETWEEN.join(words)) > width:
        words.pop(1 if waits else -1)
    return _BETWEEN.join(words)[:width]


def _heads(name: str, label: str, room: int, *, unicode: bool) -> list[str]:
    """How a line may begin, the fullest first."""
    bare = name.rpartition("/")[2]
    each = [f"{label} {name}", f"{label} {bare}"]
    if label != "checking":
        each += [name, bare]
    if room >= _LEAST_NAME:
        n_end = min(room // 2, 10)
        dots = "…" if unicode else "..."
        each.append(f"{bare[: room - n_end - len(dots)]}{dots}{bare[-n_end:]}")
    return [*each, ""]


def _speed(progress: FetchProgress, mode: Mode, bytes_per_s: float | None) -> list[str]:
    if bytes_per_s is None or bytes_per_s < 1:
        return []
    left_s = time_left_s(progress.n_bytes - progress.n_done, bytes_per_s)
    words = [format_transfer(bytes_per_s)]
    if left_s is not None and mode != "checking":
        words.append(f"{left_words(left_s)} left")
    return words
