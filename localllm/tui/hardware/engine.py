"""The installed llama.cpp: which build it is, what it sees, and what it was compiled for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from textual.content import Content
from textual.reactive import var
from textual.widget import Widget

from localllm.core.generation import EngineDevice, EngineInfo
from localllm.core.text import printable
from localllm.doctor import Facts, diagnose
from localllm.tui.looks import Panel
from localllm.tui.widgets.labelled import Labelled, Row
from localllm.units import format_part


class EnginePanel(Panel):
    """Give it ``facts``."""

    facts: var[Facts | None] = var[Facts | None](None, init=False, always_update=True)

    def __init__(self) -> None:
        """Begin before it was asked."""
        super().__init__(title="llama.cpp", id="engine")
        self._lines = Labelled()

    def compose_body(self) -> Iterable[Widget]:
        """Yield the lines."""
        yield self._lines

    def watch_facts(self, facts: Facts | None) -> None:
        """Show what was found, or why there is no llama.cpp."""
        if facts is None:
            return
        if facts.engine is None:
            problem = facts.engine_problem or "llama.cpp cannot be used."
            self.show_failed(problem, facts.engine_fix)
        else:
            self._lines.rows = tuple(rows(facts, facts.engine))
            self.show_ready()


def rows(facts: Facts, engine: EngineInfo) -> Iterator[Row]:
    """Yield the build in the doctor's words, its devices, its backends with their features."""
    build = next((f.text for f in diagnose(facts) if f.topic == "llama.cpp"), engine.version)
    yield Row(label=Content.styled("Build", "bold"), lines=(Content(printable(build)),))
    devices = tuple(_device(device) for device in engine.devices)
    yield Row(label=Content.styled("Sees", "bold"), lines=devices or (Content("no device"),))
    for backend, features in compiled_in(engine.system_info):
        said = Content(printable(" ".join(features))) if features else Content("compiled in")
        yield Row(label=Content.styled(printable(backend), "bold"), lines=(said,))
    path = Content.styled(printable(engine.library_path), "$text-muted")
    yield Row(label=Content.styled("File", "bold"), lines=(path,))


def compiled_in(system_info: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each backend of ``llama_print_system_info`` with what it has: ``CPU : AVX2 = 1 | ...``.

    A switch that is on is named, a number is told with its value, one that is off is left out.
    """
    backend, features = "", list[str]()
    for part in (piece.strip() for piece in system_info.split("|")):
        head, colon, rest = part.partition(" : ")
        if colon:
            if backend:
                yield backend, tuple(features)
            backend, features, part = head.strip(), [], rest.strip()
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if equals and value != "0":
            features.append(name.lower() if value == "1" else f"{name.lower()}={value}")
    if backend:
        yield backend, tuple(features)


def _device(device: EngineDevice) -> Content:
    free = (
        f", {format_part(device.free_bytes, device.total_bytes)} free" if device.total_bytes else ""
    )
    what = f"  {printable(device.description.strip())}{free}"
    return Content.assemble((printable(device.name), "bold"), what)
