"""What ``/set`` and the command line's sampling options change, and how each value is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from localllm.core.generation import Sampling
from localllm.core.model import MetadataValue
from localllm.errors import UsageError

ReasoningDisplay = Literal["live", "show", "hide"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How answers are asked for and shown."""

    recommended: Mapping[str, float | int] = field(default_factory=dict)
    """Sampling that the model's header asks for, by Sampling's names."""
    chosen: Mapping[str, float | int | None] = field(default_factory=dict)
    """Sampling that the person asked for; wins."""
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    think: bool | None = None
    """None leaves it to the model's template."""
    reasoning_effort: str | None = None
    context_shift: bool = False
    markdown: bool = True
    reasoning: ReasoningDisplay = "live"
    """``live``: shown while it is thought, then folded; ``show``: kept; ``hide``: only counted."""
    footer: bool = True
    """A line of figures under each answer."""

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn: localllm's defaults, the model's wishes, the person's choices."""
        values: dict[str, Any] = {**self.recommended, **self.chosen}
        return Sampling(**values)

    @property
    def template_kwargs(self) -> Mapping[str, object]:
        """Arguments for the chat template; templates differ in what they call the switch."""
        arguments: dict[str, object] = {}
        if self.think is not None:
            arguments["enable_thinking"] = arguments["thinking"] = self.think
        if self.reasoning_effort is not None:
            arguments["reasoning_effort"] = self.reasoning_effort
        return arguments


def recommended_sampling(metadata: Mapping[str, MetadataValue]) -> dict[str, float | int]:
    """Return what the model's own header recommends (``general.sampling.*``), by Sampling's names.

    Values outside the range that ``/set`` accepts are left out.
    """
    found: dict[str, float | int] = {}
    for key, name in _RECOMMENDED.items():
        value = metadata.get(f"general.sampling.{key}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                found[_SAMPLING[name]] = SETTINGS[name].read(f"{value:g}")
            except ValueError:
                continue
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One name that ``/set`` knows."""

    help: str
    read: Callable[[str], Any]
    """The value of a text. Raises ValueError with the end of a sentence."""
    words: tuple[str, ...] = ()
    """What can be completed."""


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a reader of numbers in a range, both ends included."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"is not a number from {low:g} to {high:g}")
        return value

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers in a range, both ends included."""

    def read(text: str) -> int:
        digits = text.strip().removesuffix(".0")
        if not digits.isdecimal() or not low <= int(digits) <= high:
            raise ValueError(f"is not a whole number from {low} to {high}")
        return int(digits)

    return read


def or_none(reader: Callable[[str], Any], *words: str) -> Callable[[str], Any]:
    """Return a reader that takes ``words`` for None."""

    def read(text: str) -> Any:
        return None if text.strip().lower() in words else reader(text)

    return read


def switch(text: str) -> bool:
    """Read on or off."""
    word = text.strip().lower()
    if word in ("on", "true", "yes", "1"):
        return True
    if word in ("off", "false", "no", "0"):
        return False
    raise ValueError("is neither on nor off")


def one_of(*words: str) -> Callable[[str], str]:
    """Return a reader of one word of several."""

    def read(text: str) -> str:
        word = text.strip().lower()
        if word not in words:
            raise ValueError(f"is none of {', '.join(words)}")
        return word

    return read


MAX_SEED = 2**32 - 2
"""llama.cpp takes 2^32 - 1 for "draw one"."""

SETTINGS: dict[str, Setting] = {
    "temp": Setting(help="randomness; 0 always takes the likeliest token", read=number(0, 5)),
    "top_k": Setting(help="choose among the k likeliest; 0 is off", read=whole(0, 10_000_000)),
    "top_p": Setting(help="choose among those that make up this probability", read=number(0, 1)),
    "min_p": Setting(help="leave out tokens below this share of the best", read=number(0, 1)),
    "repeat_penalty": Setting(
        help="makes recent tokens less likely; 1 is off", read=number(0.1, 5)
    ),
    "repeat_last_n": Setting(help="tokens that the penalty looks back", read=whole(0, 10_000_000)),
    "seed": Setting(
        help="same seed, same answer; random draws one each time",
        read=or_none(whole(0, MAX_SEED), "random", "none", "-1"),
        words=("random",),
    ),
    "max_tokens": Setting(
        help="cut answers after so many tokens",
        read=or_none(whole(1, 10_000_000), "none", "off", "-1"),
        words=("none",),
    ),
    "think": Setting(
        help="reasoning before the answer, where the model can switch it",
        read=or_none(switch, "default", "auto"),
        words=("on", "off", "default"),
    ),
    "reasoning_effort": Setting(
        help="how long to reason, where the model knows it",
        read=or_none(one_of("minimal", "low", "medium", "high"), "default"),
        words=("minimal", "low", "medium", "high", "default"),
    ),
    "reasoning": Setting(
        help="live: shown, then folded; show: kept on the screen; hide",
        read=one_of("live", "show", "hide"),
        words=("live", "show", "hide"),
    ),
    "context_shift": Setting(
        help="when the context is full, drop its oldest half and go on",
        read=switch,
        words=("on", "off"),
    ),
    "markdown": Setting(help="render Markdown", read=switch, words=("on", "off")),
    "footer": Setting(help="figures under each answer", read=switch, words=("on", "off")),
}

_SAMPLING = {
    "temp": "temperature",
    **{
        name: name
        for name in ("top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n", "seed")
    },
}
_RECOMMENDED = {
    "temp": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repeat_penalty",
    "penalty_last_n": "repeat_last_n",
}
_ALIASES = {
    "temperature": "temp",
    "num_predict": "max_tokens",
    "n_predict": "max_tokens",
    "thinking": "think",
    "shift": "context_shift",
    "stats": "footer",
}


def setting_name(text: str) -> str:
    """Return the name that a person means. Raises UsageError with the nearest ones."""
    name = text.strip().lower().replace("-", "_")
    name = _ALIASES.get(name, name)
    if name not in SETTINGS:
        import difflib  # only for whoever mistypes

        near = difflib.get_close_matches(name, [*SETTINGS, *_ALIASES], n=3, cutoff=0.5)
        near = list(dict.fromkeys(_ALIASES.get(n, n) for n in near))
        raise UsageError(
            f"There is no setting {text!r}.",
            hint=f"Did you mean {' or '.join(near)}?" if near else "/set lists them all.",
        )
    return name


def changed(settings: Settings, name: str, text: str) -> Settings:
    """Return the settings with one changed. Raises UsageError for a name or a value."""
    name = setting_name(name)
    try:
        value = SETTINGS[name].read(text)
    except ValueError as error:
        raise UsageError(f"{name}: {text!r} {error}.") from None
    if name in _SAMPLING:
        return replace(settings, chosen={**settings.chosen, _SAMPLING[name]: value})
    return replace(settings, **{name: value})


def value_text(settings: Settings, name: str) -> str:
    """Return a setting's value as ``/set`` would read it."""
    if name in _SAMPLING:
        value = getattr(settings.sampling, _SAMPLING[name])
    else:
        value = getattr(settings, name)
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return {"seed": "random", "max_tokens": "none"}.get(name, "default")
    return f"{value:g}" if isinstance(value, float) else str(value)
