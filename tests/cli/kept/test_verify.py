"""``localllm verify``: every byte is read, and what is wrong can be set aside."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command
from tests.cli.kept.conftest import Cache

NAME = "maker/Toy-GGUF:F16"


def flip(blob: Path, at: int = 70_000) -> None:
    """Change one bit of a blob."""
    body = bytearray(blob.read_bytes())
    body[at] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(body)


def blob_of(cache: Cache) -> Path:
    return next(cache.folder("maker/Toy-GGUF").glob("blobs/*"))


def test_what_is_right_is_said_to_be(localllm: Command, toy: Cache) -> None:
    done = localllm("verify")
    assert (done.code, done.err) == (0, "")
    first, last = done.out.splitlines()
    assert first == f"ok       {NAME}  671.3 KiB"
    assert last.startswith("1 file, 671.3 KiB in ") and last.endswith(": 1 ok")


def test_one_bit_makes_exit_code_7_and_can_be_set_aside(localllm: Command, toy: Cache) -> None:
    blob = blob_of(toy)
    flip(blob)
    failed = localllm("verify", NAME)
    assert failed.code == 7 and failed.out.startswith(f"corrupt  {NAME}")
    assert f"{blob.name[:12]}… is stated" in failed.out
    assert f"localllm verify {NAME} --repair" in failed.err and blob.exists()
    repaired = localllm("verify", NAME, "--repair", "--json")
    assert repaired.code == 7 and f"`localllm pull {NAME}` fetches it anew" in repaired.err
    (file,) = json.loads(repaired.out)["files"]
    assert file["result"] == "corrupt" and Path(file["set_aside"]).exists()
    assert not blob.exists()
    assert "corrupt" in localllm("prune", "--dry-run").out


def test_a_missing_part_makes_exit_code_5(localllm: Command, cache: Cache) -> None:
    cache.put("u/Big-GGUF", "Big-Q4_0-00001-of-00002.gguf", b"GGUF" * 9, ref="main")
    done = localllm("verify", "u/Big-GGUF")
    assert done.code == 5 and "localllm pull u/Big-GGUF:Q4_0" in done.err
    assert [line.split()[0] for line in done.out.splitlines()[:2]] == ["ok", "missing"]


def test_where_nothing_states_a_hash_that_is_said(
    localllm: Command, cache: Cache, tmp_path: Path, toy_model: Path
) -> None:
    folder = tmp_path / "home" / ".lmstudio" / "models" / "maker" / "Toy-GGUF"
    folder.mkdir(parents=True)
    (folder / "Toy-F16.gguf").write_bytes(toy_model.read_bytes())
    done = localllm("verify")
    assert done.code == 0 and done.out.startswith("unknown")
    assert "Nothing states what its content should be" in done.out
    assert done.out.endswith(": 1 unknown\n")
    assert json.loads(localllm("verify", "--json").out)["unknown"] == 1


def test_nothing_to_check_and_names_that_are_not_here(localllm: Command, cache: Cache) -> None:
    assert localllm("verify").out == "No model is here that could be checked.\n"
    assert json.loads(localllm("verify", "--json").out)["files"] == []
    assert localllm("verify", "nobody/nothing").code == 5
