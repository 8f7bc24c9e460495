"""Contents checked against what is stated of them."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.core.kept import KeptModel
from localllm.errors import LocalLLMError, UsageError
from localllm.hub.kept.hf_cache import find_kept, kept_in
from localllm.hub.kept.leftovers import find_leftovers
from localllm.hub.kept.lm_studio import kept_by_lm_studio
from localllm.hub.kept.locks import hold
from localllm.hub.kept.verifying import set_aside, verify
from tests.support.hf_cache import HFCache, git_sha1, sha256

_REPO = "bartowski/Toy-GGUF"
_MiB = 1 << 20
_Q4 = bytes(range(256)) * 10_000


def _flip(path: Path) -> None:
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_right_file_is_ok_and_its_bytes_are_told_as_they_are_read(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    (model,) = kept_in(cache.root).models
    told: list[int] = []
    (verdict,) = verify(model, on_bytes=told.append)
    assert (verdict.result, verdict.reason) == ("ok", None)
    assert verdict.path == model.files[0].path
    assert sum(told) == verdict.n_bytes == len(_Q4)
    assert max(told) <= _MiB < len(_Q4)


def test_checking_is_not_using(cache: HFCache) -> None:
    """``relatime`` would note a reading of what was last read before it was written."""
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    (blob,) = (cache.folder(_REPO) / "blobs").iterdir()
    os.utime(blob, (1000.0, 2000.0))
    (model,) = kept_in(cache.root).models
    assert [verdict.result for verdict in verify(model)] == ["ok"]
    assert blob.stat().st_atime == 1000.0


def test_one_flipped_bit_and_one_missing_byte_are_found(cache: HFCache) -> None:
    files = {f"toy-Q8_0-0000{part}-of-00003.gguf": _Q4 + b"%d" % part for part in (1, 2, 3)}
    cache.add(_REPO, files)
    (model,) = kept_in(cache.root).models
    _flip(model.files[1].path)
    model.files[2].path.resolve().write_bytes(_Q4)
    first, second, third = verify(model)
    assert [each.result for each in (first, second, third)] == ["ok", "corrupt", "corrupt"]
    assert second.reason is not None and sha256(_Q4 + b"2")[:12] in second.reason


def test_a_file_that_git_names_is_checked_as_git_does(cache: HFCache) -> None:
    at = cache.add(_REPO, {})
    blob = cache.add_blob(_REPO, b"tiny", is_small=True)
    path = cache.folder(_REPO) / "snapshots" / at / "toy-Q4_K_M.gguf"
    path.parent.mkdir()
    path.symlink_to(f"../../blobs/{git_sha1(b'tiny')}")
    (model,) = kept_in(cache.root).models
    assert [verdict.result for verdict in verify(model)] == ["ok"]
    _flip(blob)
    assert [verdict.result for verdict in verify(model)] == ["corrupt"]


def test_a_missing_part_is_missing_and_a_stopped_check_says_nothing_of_the_rest(
    cache: HFCache,
) -> None:
    files = {f"toy-Q8_0-0000{part}-of-00003.gguf": _Q4 + b"%d" % part for part in (1, 2, 3)}
    cache.add(_REPO, files)
    (model,) = kept_in(cache.root).models
    model.files[2].path.unlink()
    (model,) = kept_in(cache.root).models
    assert [verdict.result for verdict in verify(model)] == ["ok", "ok", "missing"]
    stop = threading.Event()
    found = []
    for verdict in verify(model, stop=stop):
        found.append(verdict.result)
        stop.set()
    assert found == ["ok"]


def _lm_studio(home: Path, toy_model: Path) -> tuple[KeptModel, Path]:
    path = home / ".lmstudio" / "models" / "a" / "b" / "toy-F16.gguf"
    path.parent.mkdir(parents=True)
    shutil.copy(toy_model, path)
    (model,) = kept_by_lm_studio({"HOME": str(home)}).models
    return model, path


def test_without_a_hash_only_the_header_tells_and_says_so(tmp_path: Path, toy_model: Path) -> None:
    model, path = _lm_studio(tmp_path, toy_model)
    (verdict,) = verify(model)
    assert verdict.result == "unknown"
    assert verdict.reason is not None and "header is sound" in verdict.reason
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    (verdict,) = verify(model)
    assert verdict.result == "corrupt"
    assert verdict.reason is not None and "incomplete" in verdict.reason
    path.unlink()
    assert [verdict.result for verdict in verify(model)] == ["missing"]


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_corrupt_blob_is_set_aside_and_the_same_content_heals_every_revision(
    cache: HFCache, is_shared: bool
) -> None:
    for number in (1, 2):
        cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4}, at=f"{number}" * 40)
    if is_shared:
        cache.share(_REPO, _Q4)
    old, new = find_kept(cache.root, _REPO, every_revision=True)
    _flip(new.files[0].path)
    (verdict,) = verify(new)
    aside = set_aside(verdict, cache.root)
    blob = cache.folder(_REPO) / "blobs" / sha256(_Q4)
    assert aside.name == f"{blob.name}.part.corrupt"
    assert aside.stat().st_size == len(_Q4)
    assert sorted(leftover.kind for leftover in find_leftovers(cache.root)) == [
        "corrupt",
        "dangling",
        "dangling",
    ]
    blob.write_bytes(_Q4)
    assert [verdict.result for model in (old, new) for verdict in verify(model)] == ["ok"] * 2


def test_only_a_corrupt_blob_of_ours_that_nobody_writes_is_set_aside(
    cache: HFCache, tmp_path: Path, toy_model: Path
) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    (model,) = kept_in(cache.root).models
    (verdict,) = verify(model)
    with pytest.raises(UsageError):
        set_aside(verdict, cache.root)
    with (
        hold([cache.lock(_REPO, sha256(_Q4))]),
        pytest.raises(LocalLLMError, match="another process"),
    ):
        set_aside(replace(verdict, result="corrupt"), cache.root)
    theirs, path = _lm_studio(tmp_path, toy_model)
    _flip_header(path)
    (verdict,) = verify(theirs)
    assert verdict.result == "corrupt"
    with pytest.raises(UsageError, match="cannot be repaired"):
        set_aside(verdict, cache.root)
    assert path.exists()


def _flip_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"NOPE")
