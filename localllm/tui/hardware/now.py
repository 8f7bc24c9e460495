"""What moves: memory, load, temperature and watts of this moment, and of the last minute."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from textual.content import Content
from textual.reactive import var
from textual.widget import Widget

from localllm.core.hardware import Device
from localllm.core.metered.gauged import Instant, MeterNow, watts_of
from localllm.core.metered.meters import Missing
from localllm.core.metered.readings import Health
from localllm.core.text import printable
from localllm.tui.looks import Panel
from localllm.tui.widgets.blocks import flowed, gauge, spark
from localllm.tui.widgets.labelled import Drawn, Labelled, Row
from localllm.units import format_bytes, format_part, format_rate
from localllm.words.hardware import meter_words

_CAPTION = 26
"""Cells for the figure between a bar and its curve."""

_Series = Sequence[float | None]


class NowPanel(Panel):
    """The gauges. Give it ``instants``: the last looks, the newest at the end."""

    instants: var[tuple[Instant, ...]] = var[tuple[Instant, ...]](
        (), init=False, always_update=True
    )

    def __init__(self) -> None:
        """Begin before the first look."""
        super().__init__(title="now", id="now")
        self._lines = Labelled()

    def compose_body(self) -> Iterable[Widget]:
        """Yield the lines."""
        yield self._lines

    def watch_instants(self, instants: tuple[Instant, ...]) -> None:
        """Draw what was read last."""
        if instants:
            self._lines.rows = tuple(rows(instants))
            self.show_ready()


def rows(instants: Sequence[Instant]) -> Iterator[Row]:
    """Yield a row for the processors, the RAM, each device and each meter."""
    now = instants[-1]
    yield Row(label=_label("CPU"), lines=tuple(_cpu(instants)))
    yield Row(label=_label("RAM"), lines=tuple(_ram(now)))
    for index, device in enumerate(now.hardware.devices):
        lines = tuple(_device(instants, device, index))
        yield Row(label=_label(printable(device.name)), lines=lines)
    for meter in now.meters:
        lines = tuple(_meter(instants, meter))
        yield Row(label=_label(f"{meter.source.scope}"), lines=lines)
    if not now.meters:
        yield Row(label=_label("watts"), lines=(Content("— no power meter"),))
    asleep = {d.pci_id for d in now.hardware.devices if d.name in now.asleep}
    for missing in now.missing:
        if missing.device not in asleep:
            yield Row(label=Content(""), lines=(_missing(missing),))


def _cpu(instants: Sequence[Instant]) -> Iterator[Drawn]:
    load = instants[-1].cpu
    if load is None:
        if len(instants) > 1:
            yield Content("— the system does not tell how busy it is")
        else:
            yield Content.styled("…", "$text-muted")
        return
    own = load.own / load.of
    caption = f"{load.share:4.0%} of {load.of} CPUs, ours {own:.0%}"
    shares = [None if instant.cpu is None else instant.cpu.share for instant in instants]
    yield partial(_figure, share=load.share, caption=caption, series=shares, top=1.0)


def _ram(now: Instant) -> Iterator[Drawn]:
    host = now.hardware.host
    used = host.total_bytes - host.available_bytes
    caption = f"{format_part(host.available_bytes, host.total_bytes)} free"
    yield partial(_figure, share=used / max(host.total_bytes, 1), caption=caption)
    if now.page_cache_bytes is not None:
        text = f"{format_bytes(now.page_cache_bytes)} of files cached: free when it is needed"
        yield Content.styled(text, "$text-muted")


def _device(instants: Sequence[Instant], device: Device, index: int) -> Iterator[Drawn]:
    now = instants[-1]
    if device.name in now.asleep:
        yield Content("asleep, and left so")
        return
    total, free = device.total_bytes, device.free_bytes
    if device.unified:
        yield Content.styled("its memory is the RAM", "$text-muted")
    elif total is None or free is None:
        reason = device.unknown.get("free_bytes") or device.unknown.get("total_bytes") or ""
        yield Content(f"— memory{f': {printable(reason)}' if reason else ''}")
    else:
        caption = f"{format_part(free, total)} free"
        yield partial(_figure, share=1 - free / max(total, 1), caption=caption)
    health = now.health(device)
    if health is None:
        yield Content.styled("— load and temperature: it tells nothing of itself", "$text-muted")
        return
    busy: list[float | None] = []
    for instant in instants:
        then = instant.health(instant.hardware.devices[index])
        busy.append(None if then is None else then.utilisation)
    if health.utilisation is not None:
        caption = f"{health.utilisation:4.0%} busy"
        yield partial(_figure, share=health.utilisation, caption=caption, series=busy, top=1.0)
    pieces = [Content(piece) for piece in _health_pieces(health)]
    if health.throttle:
        pieces.append(Content.styled(f"held back: {' + '.join(health.throttle)}", "$text-warning"))
    yield partial(_flowed, pieces=pieces)


def _health_pieces(health: Health) -> Iterator[str]:
    """Temperature, clocks, and who else computes there."""
    yield "— °C" if health.temperature_c is None else f"{health.temperature_c:.0f} °C"
    if health.clock_mhz is not None:
        most = f" of {health.clock_max_mhz:,.0f}" if health.clock_max_mhz else ""
        yield f"{health.clock_mhz:,.0f}{most} MHz"
    if health.memory_clock_mhz is not None:
        yield f"memory {health.memory_clock_mhz:,.0f} MHz"
    if health.power_limit_w is not None:
        yield f"limit {health.power_limit_w:.0f} W"
    n_others = len(health.other_pids)
    if n_others:
        yield f"{n_others} other process{'es' * (n_others > 1)}"


def _meter(instants: Sequence[Instant], meter: MeterNow) -> Iterator[Drawn]:
    source = meter.source
    if meter.lost is not None:
        yield Content(f"— {printable(meter.lost)}")
    else:
        watts = "—" if meter.watts is None else format_rate(meter.watts)
        series = watts_of(instants, source)
        limit = next(
            (h.power_limit_w for h in instants[-1].healths if h.pci_id == source.pci_id), None
        )
        of = f" of {limit:.0f}" if limit is not None and source.pci_id is not None else ""
        share = meter.watts / limit if of and limit and meter.watts is not None else None
        caption, top = f"{watts}{of} W", limit if of else None
        yield partial(_figure, share=share, caption=caption, series=series, top=top)
    yield Content.styled(printable(f"{source.device}: {meter_words(source)}"), "$text-muted")
    if source.note is not None:
        yield Content.styled(printable(source.note), "$text-muted")


def _missing(missing: Missing) -> Content:
    return Content.styled(printable(f"— {missing.label}: {missing.reason}"), "$text-muted")


def _flowed(width: int, *, pieces: Sequence[Content]) -> Content:
    return Content("\n").join(flowed(pieces, width=width))


def _figure(
    width: int,
    *,
    share: float | None,
    caption: str,
    series: _Series = (),
    top: float | None = None,
) -> Content:
    """A bar, its figure, and the last minute at the right end where there is room for it.

    ``share`` None: a figure without a whole has no bar, and its curve takes the room.
    """
    bar_width = min(max((width - _CAPTION - 2) // 2, 6), 24)
    bar = Content(" " * bar_width) if share is None else gauge(share, width=bar_width)
    left = Content.assemble(bar, "  ", caption)
    room = width - bar_width - 2 - max(_CAPTION, len(caption) + 1)
    if not series or room < 4:
        return left
    known = [value for value in series if value is not None]
    high = max(known, default=0.0) if top is None else top
    shown = series[-room:]
    curve = spark(shown, high=high)[0].rjust(room)
    gap = width - left.cell_length - room
    return Content.assemble(left, " " * gap, (curve, "$text-primary"))


def _label(text: str) -> Content:
    return Content.styled(text, "bold")
