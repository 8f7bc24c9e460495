"""The cells, columns and sentences that a comparison is put together from, in whatever form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from localllm.cli.folding import Column, markdown_text
from localllm.core.comparison import Entry, Shortage
from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.option import Option
from localllm.core.policy import Prices, kv_label
from localllm.core.quality import describe_loss, grade
from localllm.units import format_bytes, format_count, format_range, format_rate
from localllm.words.flags import command_line

NONE = "-"
"""What is not known, or not to be had."""

FOLDING = ("loss", "prompt tok/s", "context", "W", "J/token", "KV", "cost", "quant")
"""The order in which columns give way on a narrow terminal. The rest always stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the rows have in common: whose they are, and how they were asked for."""

    title: str
    n_params: int
    depth: int
    prices: Prices | None
    version: str
    command: tuple[str, ...]


def columns(entries: Sequence[Entry]) -> list[Column]:
    """Return every column, in the order in which they are read."""

    def cells(text: Callable[[Option], str]) -> tuple[str, ...]:
        return tuple(text(entry.option) if entry.option else NONE for entry in entries)

    def column(heading: str, text: Callable[[Option], str], *, fold: str = "") -> Column:
        place = FOLDING.index(fold) if fold else None
        return Column(heading=heading, cells=cells(text), folds=place, right=True)

    return [
        Column(heading="machine", cells=tuple(e.machine.label for e in entries), bold=True),
        Column(heading="fits", cells=tuple("yes" if e.fits else "no" for e in entries)),
        Column(heading="quant", cells=cells(lambda o: o.model.quant), folds=FOLDING.index("quant")),
        column("loss", loss_word, fold="loss"),
        column("layers", gpu_layers),
        column("context", lambda o: f"{o.n_ctx:,}", fold="context"),
        column("KV", kv_types, fold="KV"),
        Column(heading="tok/s (80 %)", cells=tuple(map(_decode_or_why_not, entries)), right=True),
        column("prompt tok/s", prompt, fold="prompt tok/s"),
        column("W", watts, fold="W"),
        column("J/token", joules, fold="J/token"),
        *_cost(entries, cells),
    ]


def gpu_layers(option: Option) -> str:
    """How much lies on GPUs: ``33/33``, ``CPU``, and of which layers the experts do not."""
    placement = option.solution.placement
    if not placement.n_gpu_layers:
        return "CPU"
    text = f"{placement.n_gpu_layers}/{option.model.n_layer_total}"
    n_host = len(placement.host_expert_layers)
    return f"{text} ncmoe {n_host}" if n_host else text


def loss_word(option: Option) -> str:
    """How much quality a choice costs, in a word."""
    return grade(option.loss.kld) if option.loss.kld else "none"


def kv_types(option: Option) -> str:
    """The cache's type, or both."""
    shape = option.solution.settings.shape
    return kv_label(shape.type_k, shape.type_v)


def decode(option: Option) -> str:
    """Decode speed with its range."""
    speed = option.speed
    if speed is None:
        return NONE
    return f"{format_rate(speed.tg_tok_s)} ({format_range(speed.tg_low, speed.tg_high)})"


def prompt(option: Option) -> str:
    """Speed of a prompt."""
    speed = option.speed
    return NONE if speed is None or speed.pp_tok_s is None else format_rate(speed.pp_tok_s)


def watts(option: Option) -> str:
    """Mean draw while decoding."""
    return NONE if option.power is None else format_rate(option.power.board_w)


def joules(option: Option) -> str:
    """Energy of one token."""
    return NONE if option.power is None else format_rate(option.power.j_per_token)


def lacking(shortages: Sequence[Shortage]) -> str:
    """What is short, and where: ``12.3 GiB in RAM``."""
    return ", ".join(
        f"{format_bytes(s.n_bytes)} {'in' if s.place == 'RAM' else 'on'} {s.place}"
        for s in shortages
    )


def notes(entries: Sequence[Entry]) -> Iterator[str]:
    """Sentences on single machines, and on columns that have nothing to say."""
    for entry in entries:
        if entry.refusal is not None:
            yield f"{entry.machine.label}: {entry.refusal.message}"
        elif not entry.fits:
            yield f"{entry.machine.label}: short of {lacking(entry.shortages)}."
        if entry.choice is not None and entry.choice.unmet is not None:
            yield f"{entry.machine.label}: {entry.choice.unmet}"
    much = [e for e in entries if e.option and e.fits and grade(e.option.loss.kld) == "large"]
    for entry in much:
        assert entry.option is not None
        yield f"{entry.machine.label}: {_loses_much(entry.option)}."
    options = [entry.option for entry in entries if entry.option and entry.fits]
    if any("ncmoe" in gpu_layers(option) for option in options):
        yield "ncmoe N: the experts of N layers stay in RAM."
    scopes = {option.power.scope for option in options if option.power}
    if scopes:
        yield f"W and J/token: {' or '.join(sorted(scopes))} while decoding, estimated."
    without = [e.machine.label for e in entries if e.option and e.fits and not e.option.power]
    if without:
        where = "any of them" if len(without) == len(options) else ", ".join(without)
        yield f"W and J/token are not estimated for {where}: the draw of its devices is not known."


def _loses_much(option: Option) -> str:
    """What loses: a cache has a cure of its own."""
    loss = option.loss
    much = f"loses much, {describe_loss(loss)}"
    by_cache = f"the {kv_types(option)} KV cache at {option.n_ctx:,} tokens"
    if grade(loss.weights_kld) == "large":
        return f"{option.model.quant} {much}; a smaller model in more bits answers better"
    if grade(loss.kv_kld) == "large" or loss.kv_kld > loss.weights_kld:
        return f"{by_cache} {much}; --kv q8_0 loses less, and so does a shorter context (-c)"
    return f"{option.model.quant} with {by_cache} {much}; --kv q8_0 loses less"


def _decode_or_why_not(entry: Entry) -> str:
    """Decode speed; of a machine without one, what is missing in all."""
    missing = sum(shortage.n_bytes for shortage in entry.shortages)
    if missing:
        return f"{format_bytes(missing)} short"
    return decode(entry.option) if entry.option else "see below"


def _cost(
    entries: Sequence[Entry], cells: Callable[[Callable[[Option], str]], tuple[str, ...]]
) -> Iterator[Column]:
    currency = next((e.option.cost.currency for e in entries if e.option and e.option.cost), None)
    if currency is None:
        return
    texts = cells(lambda o: f"{o.cost.per_million_tokens:,.2f}" if o.cost else NONE)
    heading = f"{currency}/M tok"
    yield Column(heading=heading, cells=texts, folds=FOLDING.index("cost"), right=True)


_SAID_ONCE = ("quant", "loss", "context", "KV")


def parted(every: Sequence[Column], entries: Sequence[Entry]) -> tuple[list[str], list[Column]]:
    """Return what is the same on all machines, in words, and the columns that differ."""
    shown = [i for i, entry in enumerate(entries) if entry.option is not None]
    alike, differing = list[str](), list[Column]()
    for column in every:
        values = {column.cells[i] for i in shown}
        if column.heading not in _SAID_ONCE or len(values) != 1 or len(entries) == 1:
            differing.append(column)
            continue
        value = values.pop()
        words = {"quant": value, "loss": f"loss {value}", "KV": f"KV {value}"}
        alike.append(words.get(column.heading, f"{column.heading} {value}"))
    return alike, differing


def facts(asked: Asked, alike: Sequence[str]) -> str:
    """What is the same in every row, after the model's name."""
    return ", ".join([f"{format_count(asked.n_params)} parameters", *alike, depth(asked)])


def markdown_title(asked: Asked, alike: Sequence[str]) -> str:
    """The same with the name, for GitHub."""
    return f"**{markdown_text(asked.title)}**: {markdown_text(facts(asked, alike))}"


def depth(asked: Asked) -> str:
    """Where in the context the speeds hold."""
    if not asked.depth:
        return "speeds at the start of the context"
    return f"speeds {asked.depth:,} tokens into the context"


def estimates(asked: Asked) -> str:
    """That these are estimates, whose, and what their ranges hold."""
    return (
        f"Estimates by localllm {asked.version}, not measurements: ranges hold some 8 of 10 public "
        "measurements, fewer with experts in RAM."
    )


def with_source(lines: list[str], asked: Asked) -> str:
    """End a page for GitHub with how it was made."""
    lines += [
        "",
        f"{estimates(asked)} Made with:",
        "",
        "```sh",
        command_line(asked.command),
        "```",
    ]
    return "\n".join(lines) + "\n"


def this_machine(entries: Sequence[Entry]) -> Iterator[str]:
    """A pasted table says what "this machine" was."""
    for entry in entries:
        hardware = entry.machine.hardware
        if hardware.source == THIS_MACHINE:
            yield f"{entry.machine.label}: {describe(hardware)}."


def describe(hardware: Hardware) -> str:
    """A machine in a few words: its GPUs, its CPU, its RAM; no host name."""
    parts = [device.description for device in hardware.usable_devices] or ["no GPU"]
    host = hardware.host
    return ", ".join([*parts, host.cpu, f"{format_bytes(host.total_bytes)} RAM"])
