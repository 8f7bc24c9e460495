"""Streamed Markdown: what is final is final, whatever the pieces it came in."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from localllm.cli.chat.code import MAX_WINDOW, Highlighter
from localllm.cli.chat.inline import parse_inline
from localllm.cli.chat.markdown import MarkdownStream
from localllm.cli.chat.styled import Row, Run, width_of, wrap

SAMPLE = """\
# The plan, in short

A **local model** is a *file*. A paragraph with **bold text that goes on for so long that it has
to wrap around the row's end somewhere, whatever the width** and then `inline code with spaces`,
a [link to the docs](https://example.org/a_(b)), ~~gone~~, 5 * 3 * 2 = 30, snake_case_name.

## Steps
1. First, *measure*
2. Then **plan**: this item is long enough to need a hanging indent on most terminals there are.
   - nested item with `code`
   - [x] done
> A quote that is rather long, so that the bar is repeated at the beginning of its second row.

```python
def greet(name: str) -> str:
    \"\"\"Say hello.

    Twice.
    \"\"\"
    return f"hello {name}" * 2  # 日本語
```

| Quant | Size | Note |
|:------|-----:|:----:|
| Q4_K_M | 4.58 GiB | a **good** default for people who have eight gigabytes of memory |
| Q8_0 | 7.95 GiB | `a|b`, nearly |

---
日本語のテキストは空白がないので、どこでも折り返せるようにしなければなりません。そうしないと長い。
Emoji 🎉 and a_very_long_word_that_is_longer_than_the_row_of_a_narrow_terminal_and_more_of_it end.
Unclosed **bold and `code, &lt;b&gt; \\*not italic\\*
"""


def render(pieces: list[str], width: int) -> list[Row]:
    stream, rows = MarkdownStream(), []
    for piece in pieces:
        stream.feed(piece)
        rows += stream.final_rows(width)
        stream.open_rows(width)  # looking at what is open changes nothing
    stream.finish()
    return rows + stream.final_rows(width, finished=True)


def split(text: str, seed: int, longest: int) -> list[str]:
    rng, pieces, at = random.Random(seed), [], 0
    while at < len(text):
        n = rng.randint(1, longest)
        pieces.append(text[at : at + n])
        at += n
    return pieces


def plain(rows: list[Row]) -> list[str]:
    return [row.plain.rstrip() for row in rows]


@pytest.mark.parametrize("width", [12, 30, 79, 119])
def test_rows_do_not_depend_on_the_pieces_the_text_came_in(width: int) -> None:
    whole = [row.ansi() for row in render([SAMPLE], width)]
    for seed in range(4):
        pieces = split(SAMPLE, seed, longest=(1, 4, 9, 40)[seed])
        assert [row.ansi() for row in render(pieces, width)] == whole


@given(
    st.lists(
        st.sampled_from(
            ["**", "*", "_", "`", "``", "~~", "[a](b)", "[", "](", ")", "\\", "word ", "x", " ",
             "\n", "\n\n", "- ", "# ", "> ", "| a | b |\n", "|--|--|\n", "```\n", "日本", "&lt;", "<https://x.y/z>"]
        ),
        max_size=60,
    ),
    st.integers(1, 7),
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_no_markup_makes_rows_depend_on_the_pieces(parts: list[str], longest: int) -> None:
    text = "".join(parts)
    whole = [row.ansi() for row in render([text], 17)]
    assert [row.ansi() for row in render(split(text, 1, longest), 17)] == whole


@given(st.text(alphabet="ab *_`~[]()\\|>#-\n!<&;:1.", max_size=200))
@settings(max_examples=120, deadline=None)
def test_no_letter_is_lost_or_doubled(text: str) -> None:
    assume("```" not in text and "~~~" not in text and "](" not in text)
    assume(not re.search(r"^\s*\|", text, re.MULTILINE))  # a table may have fewer columns
    shown = "".join(row.plain for row in render(split(text, 2, 5), 21))
    assert re.sub(r"[^ab]", "", shown) == re.sub(r"[^ab]", "", text)


@pytest.mark.parametrize("width", [20, 40, 79])
def test_no_row_of_prose_is_wider_than_the_terminal(width: int) -> None:
    prose = SAMPLE.replace("```python", "").replace("```", "")
    assert max(row.width for row in render([prose], width)) <= width


def test_emphasis_code_and_links_are_recognised() -> None:
    runs, settled = parse_inline("a **b** _c_ `d*` [e](f) g_h_i 2 * 3 * 4")
    assert settled == 39
    styles = {run.text: run.style for run in runs if run.text.isalpha()}
    assert styles["b"] == "1"
    assert styles["c"] == "3"
    assert styles["d"] == "36"
    assert styles["e"] == "4"
    assert styles["h"] == ""
    assert "".join(run.text for run in runs) == "a b c d* e (f) g_h_i 2 * 3 * 4"


def test_an_open_marker_is_shown_as_if_closed_and_is_not_settled() -> None:
    runs, settled = parse_inline("see **bold", final=False)
    assert ("".join(r.text for r in runs), settled) == ("see bold", 4)
    assert {r.style for r in runs[-4:]} == {"1"}
    runs, _ = parse_inline("see **bold")
    assert "".join(r.text for r in runs) == "see **bold"


def test_a_full_row_is_final_before_its_line_ends() -> None:
    stream = MarkdownStream()
    stream.feed("one two three four five six seven eight nine ten")
    assert plain(stream.final_rows(20)) == ["one two three four", "five six seven eight"]
    assert plain(stream.open_rows(20)) == ["nine ten"]


def test_what_is_repainted_stays_small_however_long_the_line() -> None:
    stream = MarkdownStream()
    for _ in range(2000):
        stream.feed("some **words** and `code`, ")
        stream.final_rows(80)
        assert len(stream.open_rows(80)) <= 2
        assert len(stream._open) < 300


def test_a_marker_that_is_never_closed_holds_back_a_bounded_stretch() -> None:
    stream = MarkdownStream()
    stream.feed("an **open marker ")
    n_rows = 0
    for _ in range(200):
        stream.feed("and then more words ")
        n_rows += len(stream.final_rows(80))
        assert len(stream.open_rows(80)) < 12
    assert n_rows > 30


def test_a_code_block_streams_line_by_line() -> None:
    stream = MarkdownStream()
    stream.feed("```python\nx = 1\nif x")
    assert plain(stream.final_rows(80)) == ["── python " + "─" * 38, "x = 1"]
    assert plain(stream.open_rows(80)) == ["if x"]
    stream.feed(":\n")
    assert plain(stream.final_rows(80)) == ["if x:"]


def test_code_is_shown_as_written() -> None:
    code = "def f():\n\n        return '**not bold**'   # `x`\n\t| a |"
    rows = plain(render([f"```py\n{code}\n```\n"], 60))
    assert rows[1:-1] == code.expandtabs(4).split("\n")


def test_a_fence_in_a_list_item_loses_its_indentation_only() -> None:
    assert plain(render(["- item\n  ```\n  a\n    b\n  ```\n"], 60))[-3:-1] == ["a", "  b"]


def test_a_longer_fence_holds_a_shorter_one() -> None:
    rows = plain(render(["````md\n```\ncode\n```\n````\nafter\n"], 60))
    assert rows[1:4] == ["```", "code", "```"]
    assert rows[-1] == "after"


def test_code_colours_follow_strings_over_several_lines() -> None:
    highlighter = Highlighter("python")
    for line in ("def f():", '    """Doc', "    if not code"):
        runs = highlighter.line(line)
    assert {run.style for run in runs if run.text.strip()} == {"32"}


def test_a_long_code_block_is_read_in_bounded_windows() -> None:
    highlighter = Highlighter("python")
    for i in range(300):
        runs = highlighter.line(f"    value_{i} = 'text'")
        assert sum(map(len, highlighter._window)) <= MAX_WINDOW
    assert "32" in {run.style for run in runs}


def test_an_unknown_language_is_plain_text() -> None:
    assert Highlighter("no-such-language").line("x = 1") == [Run("x = 1")]


def test_table_columns_line_up_and_share_a_narrow_width() -> None:
    rows = plain(render([SAMPLE[SAMPLE.index("| Quant") :].split("---\n日")[0]], 60))
    header, rule = rows[0], rows[1]
    assert [m.start() for m in re.finditer("│", header)] == [
        m.start() for m in re.finditer("┼", rule)
    ]
    assert max(map(width_of, rows)) <= 60
    assert "a|b, nearly" in "\n".join(rows)
    assert rows[2].split("│")[1] == " 4.58 GiB "


def test_a_long_table_becomes_final_in_parts_with_the_same_columns() -> None:
    stream = MarkdownStream()
    stream.feed("| n | square |\n|--:|--:|\n")
    rows: list[Row] = []
    for n in range(100):
        stream.feed(f"| {n} | {n * n} |\n")
        rows += stream.final_rows(60)
        assert len(stream.open_rows(60)) < 45
    stream.finish()
    rows += stream.final_rows(60, finished=True)
    assert len(rows) == 102
    assert len({row.plain.index("│") for row in rows if "│" in row.plain}) == 1


def test_a_bar_without_a_table_is_text() -> None:
    assert plain(render(["| just a line\nand another\n"], 60)) == ["| just a line", "and another"]


def test_empty_lines_are_one_and_none_at_the_ends() -> None:
    assert plain(render(["\n\n\na\n\n\n\nb\n\n\n"], 60)) == ["a", "", "b"]


def test_lines_of_a_poem_stay_lines() -> None:
    assert plain(render(["Roses are red\nViolets are blue\n"], 60)) == [
        "Roses are red",
        "Violets are blue",
    ]


def test_wrapping_counts_cells_not_characters() -> None:
    runs = [Run(c, "", i + 1) for i, c in enumerate("日本語 abc")]
    rows = wrap(runs, 6, Row(()), Row(()))
    assert [row.plain for row in rows] == ["日本語", "abc"]
    assert [row.source_end for row in rows] == [4, 7]
