"""What each place is for, and the first thing to do there. Short Markdown.

A screen with a ``HELP_TEXT`` of its own says it itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from localllm.tui.messages import Place

PLACE_TEXTS: Mapping[Place, str] = {
    "home": """\
The models that are on this machine, and the ones that are known by name, each with what it would \
do here: whether it fits, how fast it would be (est.), how large it is.

**First:** move with the arrow keys or type a part of a name, then press enter to see the plan of \
that model. A model that is not here yet is fetched only when you say so.""",
    "plan": """\
Where every layer of the model goes on this machine, what the memory of each device is filled \
with, and how fast and how hungry that is expected to be. The plan follows what you change, and \
says what binds it and what would help.

**First:** make the context larger until the plan breaks. Then try the same model on another \
machine.""",
    "chat": """\
Talk with the model. Beside the answer stand its speed, watts and memory as they are measured, \
each next to what the plan expected.

**First:** type a question and press enter. Nothing leaves this machine.""",
    "bench": """\
Measure how fast the model is on this machine: prompts, generation, at several depths of the \
context. Every figure stands beside its estimate, and runs are compared with earlier ones.

**First:** start the usual tests, and leave the machine alone while they run.""",
    "hardware": """\
Everything that was found of this machine, and why something is missing. The gauges move about \
once a second while you look, and rest when you leave; a GPU that sleeps is left asleep.

**First:** read the checks. Each problem has the line that mends it: press enter on it to copy \
it.""",
}
