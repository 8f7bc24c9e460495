"""The question before a large download."""

from __future__ import annotations

import sys

import click

ASKED_ABOVE_BYTES = 10 * 10**9
"""More than this is asked about once."""


def agrees_to_fetch(n_bytes: int, *, sure: bool = False) -> bool:
    """Ask once whether to download ``n_bytes``, without what is here; return the answer.

    Without a question the answer is yes: for less than 10 GB, with ``sure`` (``--yes``), and where
    no terminal is there to answer. Enter means no.
    """
    if n_bytes <= ASKED_ABOVE_BYTES or sure or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    return click.confirm("Download?", default=False, err=True)
