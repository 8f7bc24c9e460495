"""What Home adds to the palette: its models, and what can be done with the one under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from localllm.core.text import printable

if TYPE_CHECKING:
    from localllm.tui.home.screen import HomeScreen

_ACTIONS = (
    ("chat", "Chat", "Talk with the model under the cursor"),
    ("bench", "Bench", "Measure the model under the cursor"),
    ("fetch", "Fetch", "Download the model under the cursor, or look at its download"),
    ("remove", "Remove", "Delete the files of the model under the cursor"),
    ("verify", "Verify", "Check every byte of the model under the cursor"),
    ("sort", "Sort", "Order by name, size, last use or speed"),
    ("filter", "Filter", "Type what the list is narrowed down by"),
    ("look_again", "Look again", "Look again at this machine and at what is here"),
)


class HomeCommands(Provider):
    """Actions, and every model by its name."""

    async def discover(self) -> Hits:
        """Yield the actions."""
        for action, name, text in _ACTIONS:
            yield DiscoveryHit(
                f"Models: {name}", getattr(self._home, f"action_{action}"), help=text
            )

    async def search(self, query: str) -> Hits:
        """Yield actions and models that are like what was typed."""
        matcher = self.matcher(query)
        for action, name, text in _ACTIONS:
            title = f"Models: {name}"
            if (score := matcher.match(title)) > 0:
                call = getattr(self._home, f"action_{action}")
                yield Hit(score, matcher.highlight(title), call, help=text)
        for row in self._home.rows:
            title = f"Models: plan {printable(row.name)}"
            if (score := matcher.match(title)) > 0:
                yield Hit(
                    score,
                    matcher.highlight(title),
                    lambda row=row: self._home.go_on_with(row, "plan"),
                    help="Look at how this model would run",
                )

    @property
    def _home(self) -> HomeScreen:
        return cast("HomeScreen", self.screen)
