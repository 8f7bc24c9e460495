"""What a download costs, in a line, and the question before a large one."""

from __future__ import annotations

import sys

import click

from localllm.cli.fetch_words import left_words
from localllm.core.fetching import ToFetch, time_left_s
from localllm.units import format_bytes, format_transfer

ASKED_ABOVE_BYTES = 10 * 10**9
"""More than this is asked about once."""


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


def agrees_to_fetch(n_bytes: int, *, sure: bool = False) -> bool:
    """Ask once whether to download ``n_bytes``, without what is here; return the answer.

    Without a question the answer is yes: for less than 10 GB, with ``sure`` (``--yes``), and where
    no terminal is there to answer. Enter means no.
    """
    if n_bytes <= ASKED_ABOVE_BYTES or sure or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    return click.confirm("Download?", default=False, err=True)
