"""The keys that work now, in groups: the place's own, those of what has the focus, the app's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from textual.app import App
from textual.binding import ActiveBinding, Binding
from textual.screen import Screen


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHelp:
    """One action: its keys, its name, and what it does."""

    keys: str
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyGroup:
    """Actions that belong together."""

    title: str
    keys: tuple[KeyHelp, ...]


def key_groups(
    active: Iterable[ActiveBinding], *, shown_as: Callable[[Binding], str]
) -> tuple[KeyGroup, ...]:
    """Return the active keys: the screen's first, the app's last; one line for each action.

    ``shown_as``: how a key is written for a person. What has no name is left out.
    """
    groups: dict[str, dict[tuple[int, str], list[Binding]]] = {"Here": {}}
    for node, binding, enabled, _ in active:
        if binding.action in _SCROLLING or binding.system or not (enabled and binding.description):
            continue
        by_action = groups.setdefault(_title(node, binding), {})
        by_action.setdefault((id(node), binding.action), []).append(binding)
    everywhere = groups.pop(_EVERYWHERE, {})
    if everywhere:
        groups[_EVERYWHERE] = everywhere
    return tuple(
        KeyGroup(title=title, keys=tuple(_lines(by_action.values(), shown_as)))
        for title, by_action in groups.items()
        if by_action
    )


_EVERYWHERE = "Everywhere"
_SCROLLING = frozenset(
    f"{how}_{where}"
    for how in ("scroll", "page")
    for where in ("up", "down", "left", "right", "home", "end")
)
"""What everything that is longer than its box does with the arrow keys: no news."""
_TYPING = ("Input", "TextArea", "MaskedInput")
_LISTS = ("OptionList", "ListView", "DataTable", "SelectionList", "Tree")


def _title(node: object, binding: Binding) -> str:
    """What a person would call that which has the keys."""
    if isinstance(node, App) or (isinstance(node, Screen) and binding.id is None):
        return _EVERYWHERE  # Textual's own keys have no id
    if isinstance(node, Screen):
        return "Here"
    kinds = [kind.__name__ for kind in type(node).__mro__]
    if any(name in kinds for name in _TYPING):
        return "While typing"
    if any(name in kinds for name in _LISTS):
        return "In the list"
    title = getattr(node, "BINDING_GROUP_TITLE", None) or getattr(node, "border_title", None)
    return str(title) if title else "What has the focus"


def _lines(
    bindings: Iterable[list[Binding]], shown_as: Callable[[Binding], str]
) -> Iterator[KeyHelp]:
    for same in bindings:
        keys = " ".join(dict.fromkeys(shown_as(binding) for binding in same))
        text = next((binding.tooltip for binding in same if binding.tooltip), "")
        name = same[0].description
        yield KeyHelp(keys=keys, name=name[:1].upper() + name[1:], text=text)
