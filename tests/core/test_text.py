"""Joiners stay where they join; whatever else could move or hide text is written out."""

from __future__ import annotations

import pytest

from localllm.core.text import printable


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f469\u200d\U0001f469\u200d\U0001f467",  # a family
        "\U0001f469\U0001f3fd\u200d\U0001f680",  # behind a colour of skin
        "\u2764\ufe0f\u200d\U0001f525",  # behind a variation selector
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian
        "\u0915\u094d\u200d\u0937",  # Devanagari
    ],
)
def test_a_joiner_between_what_it_joins_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u200d\U0001f469", "\\u200d\U0001f469"),
        ("\U0001f469\u200d", "\U0001f469\\u200d"),
        ("\U0001f469\u200d\u200d\U0001f467", "\U0001f469\\u200d\\u200d\U0001f467"),
        ("lla\u200dma", "lla\\u200dma"),  # looks like another name
        ("\u0645\u200c\u202e\u062e", "\u0645\\u200c\\u202e\u062e"),  # bidi overrides never stay
        ("\u0645\u2066\u062e", "\u0645\\u2066\u062e"),
    ],
)
def test_any_other_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
