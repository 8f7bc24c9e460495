"""The picture of speeds: true to its figures, well-formed whatever the names, written whole."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from localllm.cli.plot import Figure, Row, check_target, svg, write_picture
from localllm.cli.plot_axis import Range
from localllm.errors import UsageError

SVG = "{http://www.w3.org/2000/svg}"


def row(name: str, tok_s: float, *, prompt: float | None = None, detail: str = "Q4_K_M") -> Row:
    def around(value: float) -> Range:
        return Range(value=value, low=0.8 * value, high=1.25 * value)

    return Row(
        name=name,
        detail=detail,
        decode=around(tok_s),
        prompt=around(prompt or 20 * tok_s),
        aside=("310 W", "3.1 J/token"),
    )


def figure(*rows: Row, title: str = "model") -> Figure:
    return Figure(title=title, subtitle="context 8,192", rows=rows, footnote="Estimates.")


def drawn(*rows: Row, title: str = "model") -> ElementTree.Element:
    return ElementTree.fromstring(svg(figure(*rows, title=title)))


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def shapes(root: ElementTree.Element, tag: str, css: str) -> list[ElementTree.Element]:
    return [e for e in root.iter(f"{SVG}{tag}") if e.get("class") == css]


def test_bars_are_as_long_as_their_figures() -> None:
    bars = shapes(drawn(row("a", 20), row("b", 100)), "rect", "decode")
    widths = [float(bar.get("width", "0")) for bar in bars]
    assert widths[1] == pytest.approx(5 * widths[0], rel=0.01)


def test_whiskers_end_at_the_range() -> None:
    root = drawn(row("a", 20), row("b", 100))
    bar = shapes(root, "rect", "decode")[1]
    left, width = float(bar.get("x", "0")), float(bar.get("width", "0"))
    whisker = shapes(root, "path", "range")[2].get("d", "")  # two a row: decode, prompt
    low, high = map(float, re.findall(r"[MH](-?[\d.]+)", whisker)[:2])
    assert low - left == pytest.approx(0.8 * width, abs=0.2)
    assert high - left == pytest.approx(1.25 * width, abs=0.2)


def test_figures_far_apart_are_dots_on_a_logarithmic_axis_which_says_so() -> None:
    near, far = drawn(row("a", 10), row("b", 200)), drawn(row("a", 1), row("b", 200))
    assert shapes(near, "circle", "decode") == []
    dots = shapes(far, "circle", "decode")
    assert len(dots) == 2
    assert shapes(far, "rect", "decode") == []
    assert any("The decode axis is logarithmic: the fastest is 200 times" in t for t in texts(far))
    assert not any("logarithmic" in text for text in texts(near))


def test_what_does_not_fit_has_a_reason_and_no_bar() -> None:
    absent = Row(name="tiny", detail="", decode=None, prompt=None, absent="short of 12 GiB in RAM")
    root = drawn(row("a", 20), absent)
    assert "short of 12 GiB in RAM" in texts(root)
    assert len(shapes(root, "rect", "decode")) == 1
    assert drawn(absent) is not None  # nothing but such rows


def test_names_with_markup_and_control_characters_stay_text() -> None:
    nasty = 'a<b>&"c"\x1b[31m\u202e\n]]>'
    root = drawn(row(nasty, 20), title=nasty)
    everything = " ".join("".join(root.itertext()).split())
    assert 'a<b>&"c"' in everything
    assert "\x1b" not in everything
    assert "\u202e" not in everything


def boxes(root: ElementTree.Element) -> Iterator[tuple[float, float, float, str]]:
    """Where texts stand, a wide font: left, right, baseline."""
    for element in root.iter(f"{SVG}text"):
        text, x = element.text or "", float(element.get("x", "0"))
        width = 0.56 * {"title": 18, "dim": 12}.get(element.get("class", ""), 13) * len(text)
        anchor = element.get("text-anchor")
        left = x - width if anchor == "end" else x - width / 2 if anchor == "middle" else x
        yield left, left + width, float(element.get("y", "0")), text


@pytest.mark.parametrize(
    "rows",
    [
        (row("a", 3), row("b", 12000, prompt=150000)),
        (row("a", 98765.4), row("b", 98765.4)),
        (row("a", 0.00123), row("b", 0.004)),
        tuple(row("a machine with a very long name " * 3, 10.0 * n) for n in range(1, 9)),
        (row("x" * 90, 20, detail="IQ3_XXS, 49/49 ncmoe 36 layers, and more"),),
    ],
    ids=["apart", "large", "small", "many", "wide"],
)
def test_no_two_texts_overlap_and_none_leaves_the_picture(rows: tuple[Row, ...]) -> None:
    root = drawn(*rows, title="A title that is longer than one line of the picture " * 3)
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    placed = list(boxes(root))
    for index, (left, right, y, text) in enumerate(placed):
        assert left >= 0, text
        assert right <= width, text
        assert 0 < y < height, text
        for other_left, other_right, other_y, other in placed[index + 1 :]:
            apart = right <= other_left or other_right <= left or abs(y - other_y) >= 12
            assert apart, (text, other)


def test_it_is_readable_on_light_and_dark_pages() -> None:
    text = svg(figure(row("a", 20)))
    assert "prefers-color-scheme:dark" in text
    assert text.count(".page{fill:") == 2


def test_a_picture_takes_the_place_of_a_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "speeds.svg"
    target.write_text("old")
    link = tmp_path / "link.svg"
    link.symlink_to(target)
    write_picture(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.svg", "speeds.svg"]


def test_what_is_no_place_for_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.svg").mkdir()
    os.mkfifo(tmp_path / "pipe.svg")
    for name in ("folder.svg", "pipe.svg", "speeds.png", "none/speeds.svg"):
        with pytest.raises(UsageError):
            check_target(tmp_path / name)
    check_target(tmp_path / "speeds.SVG")
