from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localllm.engine.text import StopStrings, Utf8, held_back


def cut_up(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.binary(max_size=80), st.lists(st.integers(0, 80)))
def test_any_bytes_cut_anywhere_decode_as_in_one_piece(data: bytes, cuts: list[int]) -> None:
    utf8 = Utf8()
    text = "".join(utf8.feed(piece) for piece in cut_up(data, cuts)) + utf8.finish()
    assert text == data.decode("utf-8", "replace")


def test_bytes_that_never_form_a_character_are_not_withheld() -> None:
    utf8 = Utf8()
    shown = sum(len(utf8.feed(b"\xff")) for _ in range(1000))
    assert shown == 1000


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_text_before_the_first_stop_string_comes_through_however_it_is_cut(
    text: str, strings: list[str]
) -> None:
    found = [(text.find(string), string) for string in strings if string in text]
    for size in (1, 2, 3, 30):
        stops = StopStrings(strings)
        shown = "".join(stops.feed(text[at : at + size]) for at in range(0, len(text), size))
        if not found:
            assert (shown + stops.finish(), stops.hit) == (text, None)
        elif size == 30:
            assert shown == text[: min(found)[0]]
        else:
            # Cut in pieces, a short stop string can end before a longer one that began earlier.
            assert stops.hit in strings
            assert text.startswith(shown + stops.hit)


def test_only_what_may_become_a_stop_string_is_held_back() -> None:
    stops = StopStrings(["</answer>"])
    assert stops.feed("a < b </an") == "a < b "
    assert stops.feed("gle> c") == "</angle> c"


@pytest.mark.parametrize(
    ("text", "length"), [("", 0), ("abc", 0), ("ab<", 1), ("ab</thi", 5), ("<<<", 1)]
)
def test_held_back(text: str, length: int) -> None:
    assert held_back(text, ["</think>"]) == length
