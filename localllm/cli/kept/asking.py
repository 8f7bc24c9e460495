"""The one question before something is deleted, and the option that answers it."""

from __future__ import annotations

import sys

import click

from localllm.cli.declaring import Function, Option
from localllm.errors import UsageError


def sure_option(function: Function) -> Function:
    """Add ``--yes``; the command receives ``yes``. It has no twin in the environment: there it
    would delete what it was not meant for."""
    return click.option("-y", "--yes", is_flag=True, cls=Option, help="Delete without asking.")(
        function
    )


def agreed(question: str, *, command: str) -> bool:
    """Ask, Enter meaning no. Raises UsageError (exit 2) where nobody can be asked.

    ``command``: what deletes without asking.
    """
    if not sys.stdin.isatty():
        raise UsageError(
            "Nobody can be asked: standard input is no terminal.",
            hint=f"{command} deletes without asking; --dry-run only shows what would go.",
        )
    return click.confirm(question, default=False, err=True)
