"""Streamed Markdown: what is final is final, whatever the pieces it came in."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from localllm.cli.chat.markdown import MAX_CODE_LINES, MarkdownStream
from localllm.cli.chat.styled import Row, wrap, wrap_columns

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
| Q8_0 | 7.95 GiB | `a b`, nearly |

---
日本語のテキストは空白がないので、どこでも折り返せるようにしなければなりません。そうしないと長い。
Emoji 🎉 and a_very_long_word_that_is_longer_than_the_row_of_a_narrow_terminal_and_more_of_it end.
Unclosed **bold and `code, &lt;b&gt; \\*not italic\\*
"""


LONG_CODE = "Code:\n```python\n" + "".join(f"x_{n} = {n}\n\n" for n in range(120)) + "```\nEnd.\n"


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
    return [Text.from_ansi(row.ansi).plain for row in rows]


def letters(text: str) -> str:
    return re.sub(r"[^\w]", "", text)


@pytest.mark.parametrize(("width", "longest"), [(12, 9), (12, 40), (30, 4), (79, 9), (119, 40)])
def test_rows_do_not_depend_on_the_pieces_the_text_came_in(width: int, longest: int) -> None:
    assert render(split(SAMPLE, 0, longest), width) == render([SAMPLE], width)


def test_a_long_code_block_does_not_depend_on_the_pieces_either() -> None:
    whole = render([LONG_CODE], 60)
    assert render(split(LONG_CODE, 0, 60), 60) == whole
    lines = plain(whole)
    assert lines[:4] == ["Code:", "", "── python " + "─" * 38, "x_0 = 0"]
    assert lines[-4:] == ["", "─" * 48, "", "End."]
    assert len(lines) == 2 + 1 + 240 + 1 + 2


@given(
    st.lists(
        st.sampled_from(
            ["**", "*", "_", "`", "``", "~~", "[a](b)", "[", "](", ")", "\\", "word ", "x", " ",
             "\n", "\n\n", "- ", "1. ", "# ", "> ", "| a | b |\n", "|--|--|\n", "```\n", "    ",
             "---\n", "===\n", "[x]: y\n", "<div>", "日本", "&lt;", "<https://x.y/z>"]
        ),
        max_size=40,
    ),
    st.integers(1, 7),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_markup_makes_rows_depend_on_the_pieces(parts: list[str], longest: int) -> None:
    text = "".join(parts)
    assert render(split(text, 1, longest), 17) == render([text], 17)


@given(st.text(alphabet="ab *_`~[]()\\|>#-\n!<&;:1.", max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_letter_is_lost_or_doubled(text: str) -> None:
    assume("```" not in text and "~~~" not in text and "](" not in text)
    assume(not re.search(r"-\s*\n", text))  # a table may have fewer columns than a line has cells
    shown = "".join(plain(render(split(text, 2, 9), 21)))
    assert re.sub(r"[^ab]", "", shown) == re.sub(r"[^ab]", "", text)


def test_html_references_and_images_are_shown_not_swallowed() -> None:
    source = "Vec<T> and <b>\n\n<div>\nx\n\n[1]: https://x.y\n\n![alt](https://i.png)\n"
    assert plain(render([source], 60)) == [
        *("Vec<T> and <b>", "", "<div>", "x", "", "[1]: https://x.y"),
        *("", "alt (https://i.png)"),
    ]


@pytest.mark.parametrize("width", [20, 40, 79])
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    rows = render([SAMPLE + LONG_CODE], width)
    assert max(row.width for row in rows) <= width
    assert [row.width for row in rows] == [cell_len(line) for line in plain(rows)]


def test_prose_is_narrower_than_a_wide_terminal_and_code_is_not() -> None:
    rows = render(["word " * 50 + "\n```\n" + "x" * 150 + "\n```\n"], 160)
    widths = [row.width for row in rows]
    assert max(widths[:3]) <= 100
    assert 150 in widths


def test_emphasis_code_and_links_are_recognised() -> None:
    (row,) = render(["a **b** _c_ `d*` [e](f) g_h_i 2 * 3 * 4 <https://x.y>"], 79)
    assert plain([row]) == ["a b c d* e (f) g_h_i 2 * 3 * 4 https://x.y"]
    assert "\x1b[1mb\x1b[0m \x1b[3mc\x1b[0m \x1b[36md*\x1b[0m \x1b[4me\x1b[0m" in row.ansi


def test_only_the_terminals_own_colours_and_no_background() -> None:
    ansi = "".join(row.ansi for row in render([SAMPLE], 79))
    codes = {code for seq in re.findall(r"\x1b\[([\d;]*)m", ansi) for code in seq.split(";")}
    assert codes <= {
        "0",
        "1",
        "2",
        "3",
        "4",
        "9",
        *map(str, range(31, 38)),
        *map(str, range(90, 98)),
    }


def test_a_block_is_final_when_the_next_has_begun() -> None:
    stream = MarkdownStream()
    stream.feed("one\n\ntwo")
    assert plain(stream.final_rows(20)) == []
    assert plain(stream.open_rows(20)) == ["one", "", "two"]
    stream.feed(" more\n")
    assert plain(stream.final_rows(20)) == ["one"]
    assert plain(stream.open_rows(20)) == ["", "two more"]


def test_what_is_rendered_again_never_grows_beyond_the_open_block() -> None:
    stream = MarkdownStream()
    longest = max(map(len, SAMPLE.split("\n\n")))
    for piece in split(SAMPLE * 20, 3, 40):
        stream.feed(piece)
        stream.final_rows(80)
        assert len(stream._tail) < 2 * longest + 40
    for n in range(1000):
        stream.feed("x = 1\n" if n else "\n\n```\n")
        stream.final_rows(80)
        assert stream._tail.count("\n") <= MAX_CODE_LINES + 2


def test_an_unclosed_fence_is_code_while_it_streams() -> None:
    stream = MarkdownStream()
    stream.feed("```python\nx = 1\nif x")
    assert stream.final_rows(80) == []
    assert plain(stream.open_rows(80)) == ["── python " + "─" * 38, "x = 1", "if x"]


def test_code_is_shown_as_written() -> None:
    code = "\ndef f():\n\n        return '**not bold**'   # `x`\n\t| a |\n"
    rows = plain(render([f"```py\n{code}\n```\n"], 60))
    assert rows[1:-1] == code.expandtabs(4).split("\n")


def test_a_fence_in_a_list_item_keeps_its_own_indentation() -> None:
    rows = plain(render(["- item\n  ```\n  a\n    b\n  ```\n"], 60))
    assert rows[0] == " • item"
    assert rows[2:4] == ["   a", "     b"]


def test_a_longer_fence_holds_a_shorter_one() -> None:
    rows = plain(render(["````md\n```\ncode\n```\n````\nafter\n"], 60))
    assert rows[1:4] == ["```", "code", "```"]
    assert rows[-1] == "after"


def test_an_unknown_language_is_plain_text() -> None:
    assert render(["```no-such-language\nx = 1\n```"], 60)[1] == Row("x = 1", 5)


def test_table_columns_line_up_and_share_a_narrow_width() -> None:
    table = SAMPLE[SAMPLE.index("| Quant") : SAMPLE.index("---\n日")]
    rows = plain(render([table], 60))
    assert max(map(cell_len, rows)) <= 60
    assert rows[2].index("4.58 GiB") == rows[-1].index("7.95 GiB")
    narrow = letters("".join(plain(render([table], 30))))
    assert sorted(narrow) == sorted(letters(table))


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
    assert plain(wrap(Text("日本語日本語 abc"), 12)) == ["日本語日本語", "abc"]


def test_a_second_column_goes_on_under_itself() -> None:
    assert plain(wrap_columns("/set  what it does and more", 20)) == [
        "/set  what it does",
        "      and more",
    ]


def test_an_entity_cannot_smuggle_a_control_character() -> None:
    assert plain(render(["a &#x202e; b"], 60)) == ["a \\u202e b"]
