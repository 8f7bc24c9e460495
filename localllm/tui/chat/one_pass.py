"""Widgets that are laid out once where Textual would do it twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.geometry import Size

if TYPE_CHECKING:
    from textual.widget import Widget as _Base
else:
    _Base = object  # styles are inherited along the first widget among the bases


class OnePass(_Base):
    """To be inherited first, by widgets that grow several times a second.

    Textual 8.2.8 lays out the whole screen again for every widget whose size a layout has changed,
    so that what depends on a size can follow. A scroll bar that comes or goes asks for that itself.
    """

    def _size_updated(
        self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True
    ) -> bool:
        return super()._size_updated(size, virtual_size, container_size, layout=False)
