"""``localllm show``: what a model is, from its header alone."""

from __future__ import annotations

import click

from localllm.cli.completers import complete_plannable
from localllm.cli.options import Command, json_option, offline_option
from localllm.cli.output import LiveLine, emit_json, result, stdout_console
from localllm.core.text import printable
from localllm.errors import NotFoundError, UsageError

EXAMPLES = """\
\b
Examples:
  localllm show llama-3-8b
  localllm show bartowski/Qwen2.5-7B-Instruct-GGUF:Q4_K_M
  localllm show model.gguf --metadata
  localllm show model.gguf --tensors
  localllm show model.gguf --template > template.jinja

Nothing but a header is read. What is not here is read at its address or on the Hub, or described
by its recorded shape.
"""


@click.command(cls=Command, epilog=EXAMPLES)
@click.argument("model", metavar="MODEL", shell_complete=complete_plannable)
@click.option("--metadata", is_flag=True, help="Show every key of the header.")
@click.option("--tensors", is_flag=True, help="List every tensor.")
@click.option("--template", is_flag=True, help="Print the chat template and nothing else.")
@offline_option
@json_option
def show(model: str, metadata: bool, tensors: bool, template: bool, as_json: bool) -> None:
    """Show what a model is: shape, licence, tensor types, template.

    With --json, --metadata, --tensors and --template add these to the document.
    """
    from localllm import keeping, session
    from localllm.cli.obtaining import watch_on
    from localllm.cli.signals import ended_by_signals
    from localllm.core.policy import Policy

    if template and not as_json and (metadata or tensors):
        raise UsageError(
            "--template prints the chat template and nothing else.",
            hint="Leave out --metadata and --tensors, or add --json.",
        )
    with ended_by_signals(), session.Session(basis="formula") as open_session, LiveLine() as line:
        decided = open_session.find_for_plan(model, Policy(), watch=watch_on(line))
        shown = keeping.described(decided.name or model, decided.model, listed=decided.fetch)
    if as_json:
        from localllm.core.described_document import show_document

        emit_json(show_document(shown, metadata=metadata, tensors=tensors, template=template))
    elif template:
        if shown.template is None:
            raise NotFoundError(
                f"{printable(model)} has no chat template.",
                hint=None
                if shown.known_by != "its recorded shape"
                else "Only its shape is recorded: name a file, or a repository on the Hub.",
            )
        result(printable(shown.template))
    else:
        from localllm.cli.kept.show_view import print_model

        print_model(stdout_console(), shown, metadata=metadata, tensors=tensors)
