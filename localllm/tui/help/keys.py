"""The keys that work now, in groups: the place's own, those of what has the focus, the app's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
        if binding.id is None and _is_a(node, _TYPING):  # what every editor does with its keys
            continue
        by_action = groups.setdefault(_title(node, binding), {})
        by_action.setdefault((id(node), binding.action), []).append(binding)
    everywhere = groups.pop(_EVERYWHERE, {})
    if everywhere:  # last, and in it what is the same in every app
        own = {key: same for key, same in everywhere.items() if key[1] not in _PLAINER}
        groups[_EVERYWHERE] = own | everywhere
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
_PLAINER = {
    "app.focus_next": ("Next", "Go on to the next thing that takes keys"),
    "app.focus_previous": ("Previous", "Go back to the one before it"),
    "screen.copy_text": ("Copy", "Copy the text that was marked with the mouse"),
}
"""What Textual's own actions are called here."""
_TYPING = ("Input", "TextArea", "MaskedInput")
_LISTS = ("OptionList", "ListView", "DataTable", "SelectionList", "Tree")


def _title(node: object, binding: Binding) -> str:
    """What a person would call that which has the keys."""
    if isinstance(node, App) or (isinstance(node, Screen) and binding.id is None):
        return _EVERYWHERE  # Textual's own keys have no id
    if isinstance(node, Screen):
        return "Here"
    if _is_a(node, _TYPING):
        return "While typing"
    if _is_a(node, _LISTS):
        return "In the list"
    title = getattr(node, "BINDING_GROUP_TITLE", None) or getattr(node, "border_title", None)
    return str(title) if title else "What has the focus"


def _is_a(node: object, names: Sequence[str]) -> bool:
    """Whether it is one of these kinds, by their names: none of them is imported for that."""
    kinds = {kind.__name__ for kind in type(node).__mro__}
    return not kinds.isdisjoint(names)


def _lines(
    bindings: Iterable[list[Binding]], shown_as: Callable[[Binding], str]
) -> Iterator[KeyHelp]:
    for same in bindings:
        keys = " ".join(dict.fromkeys(shown_as(binding) for binding in same))
        text = next((binding.tooltip for binding in same if binding.tooltip), "")
        name = same[0].description
        name, text = _PLAINER.get(same[0].action, (name[:1].upper() + name[1:], text))
        yield KeyHelp(keys=keys, name=name, text=text)
