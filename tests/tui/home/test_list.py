"""What Home lists and in which order, how a line looks, and what is typed on it. Without an app."""

from __future__ import annotations

from pathlib import Path

from localllm.core.kept import Inventory, KeptFile, KeptModel
from localllm.lookups import name_kind
from localllm.tui.home.cells import Told, columns, cut, entry_line, head_line
from localllm.tui.home.rows import Row, Sort, Verdict
from localllm.tui.home.seeking import offer_words
from localllm.tui.home.shelf import Entry, Shelf, here_rows
from localllm.units import GiB

FITS = Verdict(words="fits, 62 tok/s, CPU", fits=True, quant="Q4_K_M", n_bytes=5 * GiB, tok_s=62.0)
SLOW = Verdict(words="fits, 3 tok/s, CPU", fits=True, quant="Q8_0", n_bytes=9 * GiB, tok_s=3.0)
SHORT = Verdict(words="short of 9 GiB in RAM", fits=False, quant="Q2_K", n_bytes=99 * GiB)


def kept(name: str, *, n_bytes: int = GiB, used: float = 0.0, n_parts: int = 1) -> KeptModel:
    return KeptModel(
        name=name,
        keeper="ollama",
        repo=None,
        commit=None,
        quant="Q4_K_M",
        files=(KeptFile(path=Path("/m.gguf"), n_bytes=n_bytes),),
        n_parts=n_parts,
        last_used_s=used,
    )


def shelf() -> Shelf:
    models = (kept("ollama:b", n_bytes=2, used=1), kept("ollama:A", n_bytes=1, used=2))
    known = [("small", 1), ("huge", 400), ("fast", 8)]
    return Shelf(
        here=here_rows(Inventory(models=models)),
        known=tuple(Row(name=name, kind="known", n_params=n) for name, n in known),
    )


VERDICTS = {"known:small": SLOW, "known:huge": SHORT, "known:fast": FITS}


def listed(text: str = "", sort: Sort = "name") -> list[str]:
    entries = shelf().entries(text, sort, VERDICTS)
    return [entry.row.name if entry.row else entry.text for entry in entries]


def test_each_part_is_in_order_and_demo_is_always_here() -> None:
    heads = ("here (3)", "known, fetched when you choose one (3)")
    here, known = heads
    assert listed() == [here, "demo", "ollama:A", "ollama:b", known, "fast", "huge", "small"]
    assert listed(sort="size") == [
        here, "ollama:b", "ollama:A", "demo", known, "huge", "fast", "small",
    ]  # fmt: skip
    assert listed(sort="used")[1:3] == ["ollama:A", "ollama:b"]
    assert listed(sort="speed")[-3:] == ["fast", "small", "huge"]


def test_words_of_a_name_a_quantisation_a_keeper_and_what_holds() -> None:
    assert listed("OLLAMA q4km") == ["here (2)", "ollama:A", "ollama:b"]
    assert listed("fits")[1:] == ["fast", "small"]
    assert listed("fits q8") == ["known, fetched when you choose one (1)", "small"]
    assert listed("here")[1:] == ["demo", "ollama:A", "ollama:b"]
    assert listed("nothing of that name") == []


def test_an_empty_machine_is_told_what_to_press_and_what_is_not_readable_is_said() -> None:
    empty = Shelf(here=here_rows(Inventory(models=())), notes=("/x could not be read.",))
    texts = [entry.text for entry in empty.entries("", "name", {})]
    assert texts[2].startswith("demo comes with localllm: press enter")
    assert texts[3] == "! /x could not be read."
    assert [entry.kind for entry in empty.entries("demo", "name", {})] == ["head", "row"]


def test_no_line_is_wider_than_the_list_and_every_line_says_its_state_without_colour() -> None:
    rows = (
        Row(name="a-name-that-is-longer-than-any-column-of-it", kind="known", n_params=8),
        Row(name="ollama:part", kind="kept", kept=kept("ollama:part", n_parts=3)),
        Row(name="demo", kind="demo"),
    )
    entries = [Entry(kind="row", row=row) for row in rows]
    told = Told(verdicts={rows[0].key: SHORT}, fetches={})
    for width in (30, 79, 140):
        sizes = columns(entries, told, width)
        assert head_line(sizes, "size", "this machine").cell_length <= width
        for entry in entries:
            line = entry_line(entry, told, sizes, has_cursor=True)
            assert line.cell_length <= width
    lines = [entry_line(each, told, sizes, has_cursor=False).plain for each in entries]
    assert lines[0].startswith("  ○ a-name") and "✗ short of 9 GiB in RAM" in lines[0]
    assert lines[1].startswith("  % ollama:part") and "incomplete: 1 of 3 files" in lines[1]
    assert lines[2].startswith("  ● demo") and lines[2].rstrip().endswith("…")
    assert cut("user/a-long-repository:Q4_K_M", 20) == "user/a-lo…ory:Q4_K_M"


def test_only_what_can_be_a_name_is_offered_to_be_looked_up() -> None:
    assert name_kind("user/repo") == name_kind("hf.co/user/repo:Q4_K_M") == "repository"
    assert name_kind("./x.gguf") == name_kind("demo") == "path"
    assert name_kind("https://example.org/m.gguf") == "address"
    assert name_kind("ollama:llama3") == "tool" and name_kind("llama-3-8b:Q4_K_M") == "plain"
    assert name_kind("user/repo@") is None
    said = offer_words("user/repo", "repository", has_matches=True)
    assert said == "enter: look up user/repo on the Hub"
    assert offer_words("llama", "plain", has_matches=True) is None
    assert offer_words("user/repo@", None, has_matches=False) is None
