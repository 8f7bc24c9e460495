"""``localllm hardware``: this machine as the planner sees it."""

from __future__ import annotations

import click

from localllm.cli.options import Command, complete_hardware, json_option
from localllm.cli.output import LiveLine, emit_json, hint, note, stdout_console

EXAMPLES = """\
\b
Examples:
  localllm hardware
  localllm hardware --measure
  localllm hardware rtx-4090            (a profile, as a plan takes it)
  localllm hardware --list              (the names of all profiles)
  localllm hardware --json > machine.json
  localllm plan model.gguf --hardware machine.json
"""


@click.command(cls=Command, epilog=EXAMPLES)
@click.option(
    "--measure", is_flag=True, help="Measure the memory bandwidth too, in about a second."
)
@click.option(
    "--wake-gpus", is_flag=True, help="Wake sleeping GPUs to read them; a laptop's takes seconds."
)
@click.option("--list", "list_names", is_flag=True, help="List the names of all profiles.")
@click.argument("names", metavar="[NAME|FILE]...", nargs=-1, shell_complete=complete_hardware)
@json_option
def hardware(
    names: tuple[str, ...], measure: bool, wake_gpus: bool, list_names: bool, as_json: bool
) -> None:
    """Show this machine as the planner sees it, or a machine by name.

    GPUs, memory, CPU, what llama.cpp can use of them, and which power meters there are. Nothing
    leaves this machine; --json is complete enough to plan for it elsewhere.
    """
    from localllm import session
    from localllm.lookups import power_meters

    if list_names:
        known = session.hardware_names()
        if as_json:
            emit_json({"schema": "localllm.hardware-names/1", "names": list(known)})
        else:
            click.echo("\n".join(known))
        return
    if names:
        if measure or wake_gpus:
            raise click.UsageError("--measure and --wake-gpus are for this machine, not a profile.")
        machine, meters = session.hardware_named(*names), None
    else:
        with LiveLine() as live:
            live.draw("measuring the memory bandwidth" if measure else "looking at this machine")
            machine = session.detect_hardware(measure_bandwidth=measure, wake_gpus=wake_gpus)
            meters = power_meters(machine)
    if as_json:
        from localllm.core.hardware_document import hardware_document

        emit_json(hardware_document(machine) | (meters.document if meters is not None else {}))
        return
    from localllm.cli.hardware_view import print_hardware

    observations, problem = session.own_measurements(machine)
    print_hardware(stdout_console(), machine, observations, meters)
    if problem is not None:
        note(problem)
    if any(device.visible and device.backend == "none" for device in machine.devices):
        hint("localllm doctor says how to get a llama.cpp that uses this GPU.")
