"""``localllm rm`` and ``localllm prune``: what goes is shown, asked about, and all that goes."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pexpect
import pytest

from localllm.cli.kept.prune import parse_age
from tests.cli.conftest import Command
from tests.cli.kept.conftest import COMMIT, OLDER, Cache

NAME = "maker/Toy-GGUF:F16"


def test_a_model_goes_with_all_that_only_it_needs(localllm: Command, toy: Cache) -> None:
    """40 bytes of it are the commit that ``main`` points to."""
    toy.put("maker/Other-GGUF", "Other-Q4_0.gguf", b"stays", ref="main")
    done = localllm("rm", NAME, "--yes")
    assert done.code == 0
    assert done.err == f"{NAME}  671.3 KiB, 1 file\nDeleting frees 671.4 KiB.\n"
    assert done.out == "Deleted: 671.4 KiB are free again.\n"
    assert [path for path in toy.left() if "Toy" in path] == []
    assert len([path for path in toy.left() if "Other" in path]) == 3


def test_what_another_revision_needs_stays(localllm: Command, toy: Cache, toy_model: Path) -> None:
    toy.put("maker/Toy-GGUF", "Toy-F16.gguf", toy_model, commit=OLDER, ref="old")
    done = localllm("rm", NAME, "--yes", "--json")
    document = json.loads(done.out)
    assert document["schema"] == "localllm.rm/1" and document["removed"] is True
    assert document["freed_bytes"] == 40  # what main pointed with
    assert document["shared_bytes"] == toy_model.stat().st_size
    assert document["shared_with"] == [f"maker/Toy-GGUF@{OLDER[:12]}"]
    assert len([path for path in toy.left() if "/blobs/" in path]) == 1


def test_a_dry_run_deletes_nothing(localllm: Command, toy: Cache) -> None:
    before = toy.left()
    done = localllm("rm", "MAKER/toy-gguf", "--dry-run")
    assert "Deleting frees 671.4 KiB." in done.out and done.err == ""
    assert json.loads(localllm("rm", NAME, "--dry-run", "--json").out)["removed"] is False
    assert toy.left() == before


def test_without_a_terminal_it_takes_yes(
    localllm: Command, toy: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALLLM_YES", "1")  # is for downloads
    before = toy.left()
    refused = localllm("rm", NAME)
    assert refused.code == 2 and f"localllm rm {NAME} --yes" in refused.err
    assert toy.left() == before


@pytest.mark.parametrize(("answer", "is_left"), [("y", False), ("", True)])
def test_at_a_terminal_it_asks_once(toy: Cache, answer: str, is_left: bool) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "localllm", "rm", NAME],
        env={**os.environ, "TERM": "dumb"},
        encoding="utf-8",
        timeout=30,
    )
    child.expect(r"Delete\? \[y/N\]: ")
    assert "Deleting frees" in child.before
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert bool(toy.left()) is is_left


def test_an_unknown_name_offers_the_nearest(localllm: Command, toy: Cache) -> None:
    failed = localllm("rm", "maker/Toi-GGUF:F16", "--yes")
    assert failed.code == 5 and f"Did you mean {NAME}?" in failed.err
    assert "`localllm list`" in localllm("rm", "zzz/zzzz", "--yes").err
    assert toy.left()


def test_after_a_removal_that_was_interrupted_the_error_names_the_command_that_ends_it(
    localllm: Command, toy: Cache
) -> None:
    (toy.folder("maker/Toy-GGUF") / "snapshots" / COMMIT / "Toy-F16.gguf").unlink()
    for name in (NAME, "maker/toy-gguf"):
        failed = localllm("rm", name, "--yes")
        assert failed.code == 5 and "`localllm prune`" in failed.err
    assert "`localllm prune`" not in localllm("rm", "maker/Other-GGUF", "--yes").err


def test_what_belongs_to_another_tool_is_only_read(
    localllm: Command, cache: Cache, tmp_path: Path, toy_model: Path
) -> None:
    folder = tmp_path / "home" / ".lmstudio" / "models" / "maker" / "Toy-GGUF"
    folder.mkdir(parents=True)
    (folder / "Toy-F16.gguf").write_bytes(toy_model.read_bytes())
    listed = localllm("list", "--no-plan").out
    assert "LM Studio" in listed
    refused = localllm("rm", str(folder / "Toy-F16.gguf"), "--yes")
    assert refused.code == 2 and "LM Studio" in refused.err
    assert (folder / "Toy-F16.gguf").exists()


# -- leftovers ---------------------------------------------------------------------------------


@pytest.fixture
def littered(toy: Cache) -> Cache:
    """Beside the model a partial file of a day ago, a corrupt one, and an orphan."""
    blobs = toy.folder("maker/Toy-GGUF") / "blobs"
    for name, size in ((f"{'a' * 64}.part", 300), (f"{'b' * 64}.part.corrupt", 200)):
        (blobs / name).write_bytes(b"x" * size)
    (blobs / ("c" * 64)).write_bytes(b"x" * 100)
    day_ago = time.time() - 90_000
    os.utime(blobs / f"{'a' * 64}.part", (day_ago, day_ago))
    return toy


def test_leftovers_go_and_the_model_stays(localllm: Command, littered: Cache) -> None:
    shown = localllm("prune", "--dry-run")
    assert [line.split()[0] for line in shown.out.splitlines()] == [
        "partial",
        "corrupt",
        "orphan",
        "Deleting",
    ]
    assert "maker/Toy-GGUF, 1 day ago: aaaaaaaaaaaa....part" in shown.out
    assert "Deleting frees 600 B." in shown.out
    done = localllm("prune", "--yes")
    assert (done.code, done.out) == (0, "Deleted: 600 B are free again.\n")
    assert len(littered.left()) == 3
    assert localllm("prune").out == "Nothing is left over in the cache.\n"


def test_what_is_younger_is_left(localllm: Command, littered: Cache) -> None:
    done = localllm("prune", "--older-than", "20h", "--yes", "--json")
    document = json.loads(done.out)
    assert document["schema"] == "localllm.prune/1" and document["pruned"] is True
    assert [each["kind"] for each in document["leftovers"]] == ["partial"]
    assert {each["kind"] for each in document["kept_back"]} == {"corrupt", "orphan"}
    assert document["freed_bytes"] == 300


def test_revisions_that_were_replaced_go_only_when_asked(localllm: Command, toy: Cache) -> None:
    toy.put("maker/Toy-GGUF", "Toy-F16.gguf", b"old and replaced", commit=OLDER)
    assert localllm("prune", "--yes").out == "Nothing is left over in the cache.\n"
    assert localllm("prune").code == 0
    assert localllm("prune", "--revisions").code == 2  # it asks
    done = localllm("prune", "--revisions", "--yes")
    assert f"maker/Toy-GGUF@{OLDER[:12]}" in done.err and "Deleted: 16 B" in done.out
    assert "No branch or tag points to this revision: it was replaced, or fetched by" in done.err
    assert not [path for path in toy.left() if OLDER in path]
    assert [path for path in toy.left() if COMMIT in path]


def test_pruning_asks_where_it_can(localllm: Command, littered: Cache) -> None:
    before = littered.left()
    assert localllm("prune").code == 2
    assert littered.left() == before


@pytest.mark.parametrize("text", ["7", "d", "-3d", "soon", ""])
def test_what_is_no_age_is_refused(localllm: Command, text: str) -> None:
    assert parse_age("2w") == 14 * 86400
    failed = localllm("prune", f"--older-than={text}")
    assert failed.code == 2 and "is no age" in failed.err
