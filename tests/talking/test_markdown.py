"""Code is copied as it was written, and nothing that a model writes reaches a terminal raw."""

from __future__ import annotations

from localllm.talking.markdown import CodeBlock, PreparedParser, code_blocks

TEXT = """Do this:

```python title="x"
print(1)

print(2)
```

- and in a list

  ~~~
  plain
  ~~~

and

    indented

```sh
an open end"""


def test_every_block_of_code_is_found_with_its_language() -> None:
    blocks = code_blocks(TEXT)
    assert blocks[0] == CodeBlock(language="python", code="print(1)\n\nprint(2)\n")
    assert [(block.language, block.code.strip()) for block in blocks[1:]] == [
        ("", "plain"),
        ("", "indented"),
        ("sh", "an open end"),
    ]
    assert code_blocks("no code, `inline` apart") == ()


def test_controls_that_entities_make_are_escapes() -> None:
    attack = "# a &#27;[2J \x1b[2J\n\n`b\x1b[0m` c\x9b1m\n\n```\x1bx\n\x1b[31m\n```\n"
    shown = PreparedParser().parse(attack)
    texts = [token.content + token.info for token in shown]
    texts += [child.content for token in shown for child in token.children or ()]
    assert not any(character in text for text in texts for character in "\x1b\x9b")
    assert any("\\x1b[2J" in text for text in texts)


def test_a_newline_stays_one_and_a_picture_shows_its_address() -> None:
    (_, inline, _) = PreparedParser().parse("one\ntwo ![alt](https://example.org/x.png)")
    assert inline.children is not None
    assert [child.type for child in inline.children] == ["text", "hardbreak", "text", "text"]
    assert inline.children[-1].content == "alt (https://example.org/x.png)"
