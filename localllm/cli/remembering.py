"""A command that knows how it was called: what is pasted elsewhere says how to make it again."""

from __future__ import annotations

import os

import click
from click.core import ParameterSource

from localllm.cli.options import Command


class Remembering(Command):
    """A command that keeps the arguments it was called with, for ``command_line``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments, then parse them."""
        ctx.meta[__name__] = tuple(args)
        return super().parse_args(ctx, args)


def command_line(ctx: click.Context) -> tuple[str, ...]:
    """Return the command as it was typed, with the variables that stood in for options."""
    set_by = [
        f"{variable}={os.environ[variable]}"
        for parameter in ctx.command.params
        if parameter.name is not None
        and ctx.get_parameter_source(parameter.name) is ParameterSource.ENVIRONMENT
        and isinstance(variable := parameter.envvar, str)
    ]
    return (*(["env", *set_by] if set_by else []), *ctx.command_path.split(), *ctx.meta[__name__])
