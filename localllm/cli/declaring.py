"""How an option is declared: its heading in the help, its environment twin, its reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from localllm.cli.completers import items

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])


class Option(click.Option):
    """An option that knows its heading in the help, where its aliases are left out."""

    def __init__(self, *args: Any, group: str = "Options", **kwargs: Any) -> None:
        """Take click's arguments and the heading."""
        super().__init__(*args, **kwargs)
        self.group = group

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return the variable as one value, spaces included, also where the option may repeat."""
        if self.multiple and not self.is_flag:
            value = self.resolve_envvar_value(ctx)
            return None if value is None else (value,)
        return super().value_from_envvar(ctx)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the names and the help; of several long names only the first is shown."""
        record = super().get_help_record(ctx)
        if record is None:
            return None
        names, text = record
        for alias in [name for name in self.opts if name.startswith("--")][1:]:
            names = names.replace(f", {alias}", "", 1)
        return names, text


class Command(click.Command):
    """A command whose help lists its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section per heading, the command's own options first."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def value_option(
    *declarations: str,
    parse: Callable[[str], T],
    metavar: str,
    help: str,
    words: Sequence[str] = (),
    group: str = "Options",
) -> Callable[[Function], Function]:
    """Declare an option whose text ``parse`` reads; ``words`` serve the shell.

    The environment twin is ``LOCALLLM_`` and the long name. A bad value ends in exit code 2 with
    the option's name, or the variable's where it came from the environment.
    """
    long_name = next(d for d in declarations if d.startswith("--"))
    variable = "LOCALLLM_" + long_name.strip("-").replace("-", "_").upper()

    def read(ctx: click.Context, parameter: click.Parameter, value: str | None) -> T | None:
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            assert parameter.name is not None
            source = ctx.get_parameter_source(parameter.name)
            name = variable if source is ParameterSource.ENVIRONMENT else long_name
            raise click.UsageError(f"{name}: {value!r} {error}.", ctx=ctx) from None

    def complete_words(
        ctx: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return items(word for word in words if word.startswith(incomplete))

    return click.option(
        *declarations,
        cls=Option,
        group=group,
        callback=read,
        metavar=metavar,
        help=help,
        envvar=variable,
        shell_complete=complete_words,
    )
