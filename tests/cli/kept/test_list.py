"""``localllm list``: what is here, what it would need, and what could be done about the rest."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.cli.conftest import Command
from tests.cli.kept.conftest import OLDER, Cache


def test_what_is_here_is_listed_with_its_plan(localllm: Command, toy: Cache) -> None:
    done = localllm("list")
    assert done.code == 0 and done.err == ""
    lines = done.out.splitlines()
    assert lines[0].split() == ["name", "size", "used", "plan"]
    assert lines[1].startswith("maker/Toy-GGUF:F16  671.3 KiB  just now  fits, ")
    assert " tok/s, CPU" in lines[1] or "layers on GPU" in lines[1]
    assert "1 model, 671.3 KiB, all in the shared Hugging Face cache" in done.out
    assert "speeds are estimates" in " ".join(done.out.split())
    assert localllm("ls").out == done.out


def test_without_plans_no_header_is_read(localllm: Command, cache: Cache) -> None:
    cache.put("maker/Toy-GGUF", "Toy-Q4_0.gguf", b"not a model at all", ref="main")
    done = localllm("list", "--no-plan")
    assert "maker/Toy-GGUF:Q4_0  18 B  just now\n" in done.out and "estimates" not in done.out


def test_a_file_that_cannot_be_planned_is_listed_all_the_same(
    localllm: Command, toy: Cache
) -> None:
    toy.put("maker/Bad-GGUF", "Bad-Q4_0.gguf", b"<!DOCTYPE html>" * 9, ref="main")
    done = localllm("list")
    assert done.code == 0
    assert "maker/Bad-GGUF:Q4_0 cannot be planned: Bad-Q4_0.gguf: this is not a GGUF file" in (
        " ".join(done.out.split())
    )
    assert "see below" in done.out and "fits, " in done.out


def test_what_is_incomplete_says_how_to_go_on_and_leftovers_where_they_go(
    localllm: Command, cache: Cache
) -> None:
    blob = cache.put("u/Big-GGUF", "Big-Q4_0-00001-of-00002.gguf", b"GGUF" * 9, ref="main")
    (blob.parent / f"{'a' * 64}.part").write_bytes(b"x" * 2000)
    (blob.parent / f"{'b' * 64}.part.corrupt").write_bytes(b"x" * 1000)
    page = " ".join(localllm("list").out.split())
    assert "incomplete: 1 of 2 files" in page
    assert "localllm pull u/Big-GGUF:Q4_0 gets what is missing of it." in page
    assert "u/Big-GGUF: 1.95 KiB of a download that was stopped are here" in page
    assert "1 file is left over (1000 B): localllm prune lists and deletes it." in page


def test_long_names_stand_on_a_line_of_their_own(localllm: Command, cache: Cache) -> None:
    repo = "some-publisher/A-Model-With-A-Rather-Long-Name-70B-Instruct-v0.1-GGUF"
    cache.put(repo, "A-Model-Q4_K_M.gguf", b"x", ref="main")
    lines = localllm("list", "--no-plan").out.splitlines()
    assert lines[0] == f"{repo}:Q4_K_M" and lines[1].split() == ["1", "B", "just", "now"]


def test_words_narrow_it_down_and_nothing_says_what_to_do(localllm: Command, toy: Cache) -> None:
    assert "maker/Toy-GGUF" in localllm("list", "toy", "f16", "--no-plan").out
    assert localllm("list", "qwen").out.startswith("None of the 1 models here is like that.")


def test_an_empty_machine_says_what_to_do(localllm: Command, cache: Cache) -> None:
    done = localllm("list")
    assert done.code == 0 and "localllm chat NAME fetches one and runs it" in done.out
    assert json.loads(localllm("list", "--json").out)["models"] == []


def test_the_document_has_every_model_its_files_and_its_plan(localllm: Command, toy: Cache) -> None:
    toy.put("maker/Bad-GGUF", "Bad-Q4_0.gguf", b"<html>" * 9, ref="main")
    document = json.loads(localllm("list", "--json").out)
    assert document["schema"] == "localllm.list/1" and document["estimate"] is True
    bad, good = document["models"]
    assert bad["plan"] is None and "not a GGUF file" in bad["no_plan"]
    assert good["name"] == "maker/Toy-GGUF:F16" and good["complete"] and good["removable"]
    assert good["files"][0]["sha256"] == os.path.basename(
        os.path.realpath(good["files"][0]["path"])
    )
    assert good["plan"]["verdict"] == "fits" and good["plan"]["tg_tok_s"] > 0
    assert document["n_bytes"] == good["n_bytes"] + bad["n_bytes"]


def test_looking_is_not_using(localllm: Command, toy: Cache) -> None:
    """``relatime`` would note a reading of what was last read before it was written."""
    blob = next(toy.folder("maker/Toy-GGUF").glob("blobs/*"))
    day_ago = time.time() - 90_000
    os.utime(blob, (day_ago - 9, day_ago))
    assert "1 day ago  fits" in localllm("list").out
    assert "1 day ago  fits" in localllm("list").out


def test_a_revision_that_nothing_points_to_says_so(localllm: Command, toy: Cache) -> None:
    """That it was replaced is not known: it may have been fetched by its commit."""
    toy.put("maker/Toy-GGUF", "Toy-F16.gguf", b"older", commit=OLDER)
    name = f"maker/Toy-GGUF@{OLDER[:12]}:F16"
    assert f"{name} (no branch or tag)" in localllm("list", "--no-plan").out


@pytest.mark.parametrize("year", [-9000, 14_600])
def test_a_time_that_no_calendar_has_is_no_failure(
    localllm: Command, toy: Cache, year: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XFS and ZFS keep such times, as a disk with a broken clock has written them."""
    monkeypatch.setattr(
        "localllm.hub.kept.grouping.last_used_s", lambda of: (year - 1970) * 31_556_952.0
    )
    said = localllm("list", "--no-plan")
    assert said.code == 0 and ("long ago" if year < 0 else "in the future") in said.out
    for arguments in (("list", "--no-plan"), ("rm", "maker/Toy-GGUF", "--dry-run")):
        (model,) = json.loads(localllm(*arguments, "--json").out)["models"]
        assert model["last_used"] is None


def test_a_name_that_holds_escapes_does_not_reach_the_terminal(
    localllm: Command, cache: Cache
) -> None:
    cache.put("maker/Toy-GGUF", "Toy\x1b[2J.gguf", b"x", ref="main")
    done = localllm("list", "--no-plan")
    assert "\x1b" not in done.out + done.err
