"""Leftovers: which there are, which are somebody's at work, and what tidying takes away."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from localllm.core.kept import Leftover
from localllm.hub.kept.hf_cache import kept_in
from localllm.hub.kept.leftovers import find_leftovers
from localllm.hub.kept.pruning import plan_prune, prune
from tests.support.hf_cache import HFCache, commit, sha256, tree

_REPO = "bartowski/Toy-GGUF"
_Q4, _Q8, _GONE = b"four bits" * 10, b"eight bits" * 20, b"nobody's" * 5
_ETAG = "ab" * 32


def _kinds(found: tuple[Leftover, ...]) -> dict[str, str]:
    return {leftover.path.name: leftover.kind for leftover in found}


def _prune(cache: HFCache, **options: float | bool) -> int:
    """Tidy, and return what was freed: what was said, to the byte."""
    before = cache.n_bytes()
    plan = plan_prune(cache.root, **options)  # type: ignore[arg-type]  # by its own names
    assert prune(plan) == plan.freed_bytes == before - cache.n_bytes()
    assert cache.warnings() == []
    return plan.freed_bytes


def _litter(cache: HFCache) -> dict[str, str]:
    """Everything that killed downloads leave behind; by name, what it is."""
    at = cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    blobs = cache.folder(_REPO) / "blobs"
    litter = {
        f"{_ETAG}.part": "partial",
        f"{_ETAG}.0a1b2c3d.part": "partial",
        f"{_ETAG}.deadbeef.incomplete": "partial",
        f"{_ETAG}.downloadInProgress": "partial",
        f"{_ETAG}.part.corrupt": "corrupt",
        ".toy-Q4_K_M.gguf.0a1b2c3d.tmp": "temporary",
        f".{_ETAG}.0a1b2c3d.shared": "temporary",
        sha256(_GONE): "orphan",
    }
    for name in litter:
        (blobs / name).write_bytes(_GONE)
    (cache.folder(_REPO) / "snapshots" / at / "gone.gguf").symlink_to(f"../../blobs/{'0' * 64}")
    cache.point(_REPO, "main.tmp", "")
    cache.point(_REPO, "branch.tmp", at)
    for path in (*blobs.glob(".*"), cache.folder(_REPO) / "refs" / "main.tmp"):
        os.utime(path, (0, time.time() - 3700))
    return {**litter, "gone.gguf": "dangling", "main.tmp": "temporary"}


def test_every_kind_of_leftover_is_told_and_goes_and_the_model_stays(cache: HFCache) -> None:
    litter = _litter(cache)
    (cache.folder(_REPO) / "blobs" / "notes.txt").write_bytes(b"a person's own")
    found = find_leftovers(cache.root)
    assert _kinds(found) == litter
    assert {leftover.repo for leftover in found} == {_REPO}
    assert sum(leftover.n_bytes for leftover in found) == 8 * len(_GONE)
    assert _prune(cache) == 8 * len(_GONE)
    assert find_leftovers(cache.root) == ()
    assert (cache.folder(_REPO) / "blobs" / "notes.txt").exists()
    assert [model.is_complete for model in kept_in(cache.root).models] == [True]


def test_a_link_that_is_being_made_is_nobodys_litter(cache: HFCache) -> None:
    at = cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    link = cache.folder(_REPO) / "snapshots" / at / ".toy-Q8_0.gguf.0a1b2c3d.tmp"
    link.symlink_to(f"../../blobs/{sha256(_Q8)}")
    assert find_leftovers(cache.root) == ()
    os.utime(link, (0, time.time() - 3700), follow_symlinks=False)
    assert _kinds(find_leftovers(cache.root)) == {link.name: "temporary"}


def test_young_leftovers_stay_where_only_older_ones_are_meant(cache: HFCache) -> None:
    blobs = cache.folder(_REPO) / "blobs"
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    for name, age_s in (("aa" * 32, 10_000), ("bb" * 32, 10)):
        (blobs / f"{name}.part").write_bytes(_GONE)
        os.utime(blobs / f"{name}.part", (0, time.time() - age_s))
    plan = plan_prune(cache.root, older_than_s=3600)
    assert [leftover.path.name[:2] for leftover in plan.leftovers] == ["aa"]
    assert [leftover.path.name[:2] for leftover in plan.kept_back] == ["bb"]


def test_what_somebody_has_a_lock_on_or_open_is_in_use(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    blobs = cache.folder(_REPO) / "blobs"
    part, own = blobs / f"{_ETAG}.part", blobs / f"{'cd' * 32}.12345678.part"
    for path in (part, own):
        path.write_bytes(_GONE)
    plan = plan_prune(cache.root)
    assert [leftover.in_use for leftover in plan.leftovers] == [False, False]
    with cache.lock(_REPO, _ETAG).open("rb") as lock, own.open("r+b"):
        fcntl.flock(lock, fcntl.LOCK_EX)
        in_use = {leftover.path.name: leftover.in_use for leftover in find_leftovers(cache.root)}
        assert in_use == {part.name: True, own.name: os.path.exists("/proc/self/fd")}
        prune(plan)  # made before the lock was taken
        assert part.exists()


def test_an_orphan_that_a_revision_has_by_now_stays(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    cache.add_blob(_REPO, _Q8)
    plan = plan_prune(cache.root)
    assert _kinds(plan.leftovers) == {sha256(_Q8): "orphan"}
    cache.add(_REPO, {"toy-Q8_0.gguf": _Q8})
    assert prune(plan) == 0
    assert sorted(model.quant for model in kept_in(cache.root).models) == ["Q4_K_M", "Q8_0"]


def test_what_another_repository_links_to_is_no_orphan(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    blob = cache.add_blob(_REPO, _Q8)
    other = cache.folder("other/Toy") / "blobs" / sha256(_Q8)
    other.parent.mkdir(parents=True)
    other.symlink_to(f"../../{blob.parent.parent.name}/blobs/{blob.name}")
    assert _kinds(find_leftovers(cache.root)) == {sha256(_Q8): "orphan"}
    assert find_leftovers(cache.root)[0].path == other
    assert _prune(cache) == 0
    assert _prune(cache) == len(_Q8)


def test_a_shared_content_is_an_orphan_when_its_last_link_has_gone(cache: HFCache) -> None:
    for repo in (_REPO, "other/Toy"):
        cache.add(repo, {"toy-Q4_K_M.gguf": _Q4})
        store = cache.share(repo, _Q4)
    assert find_leftovers(cache.root) == ()
    for repo in (_REPO, "other/Toy"):
        assert find_leftovers(cache.root) == ()
        for path in tree(cache.folder(repo)):
            (cache.folder(repo) / path).unlink()
    (leftover,) = find_leftovers(cache.root)
    assert (leftover.path, leftover.kind, leftover.repo) == (store, "orphan", None)
    plan = plan_prune(cache.root)
    cache.add("third/Toy", {"toy-Q4_K_M.gguf": _Q4})
    cache.share("third/Toy", _Q4)
    assert prune(plan) == 0
    assert kept_in(cache.root).models[0].files[0].path.read_bytes() == _Q4
    (cache.folder("third/Toy") / "blobs" / sha256(_Q4)).unlink()
    prune(plan_prune(cache.root))
    assert not store.exists()


@pytest.mark.parametrize("closed", ["snapshots/" + commit(0), "blobs"])
def test_where_not_all_can_be_read_nothing_is_called_an_orphan(
    cache: HFCache, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    store = cache.share(_REPO, _Q4)
    store.with_name(f"{store.name}.refs").write_text("")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path) == cache.folder(_REPO) / closed:  # chmod would not keep root out
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_leftovers(cache.root) == ()


def test_revisions_that_were_replaced_go_only_if_that_is_asked_for(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _GONE, "toy-Q8_0.gguf": _Q8, "a.txt": b"a"}, at=commit(1))
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4, "toy-Q8_0.gguf": _Q8}, at=commit(2))
    cache.add("pinned/Toy", {"toy-Q4_K_M.gguf": _Q4}, at=commit(3), ref=None)
    cache.add("no/model", {"config.json": b"old"}, at=commit(4))
    cache.add("no/model", {"config.json": b"new"}, at=commit(5))
    before = tree(cache.root)
    assert _prune(cache) == 0
    assert tree(cache.root) == before
    assert _prune(cache, superseded=True) == len(_GONE) + 1
    assert not (cache.folder(_REPO) / "snapshots" / commit(1)).exists()
    assert len(kept_in(cache.root).models) == 3
    assert (cache.folder("no/model") / "snapshots" / commit(4)).exists()


def test_empty_folders_go_after_a_while_and_take_their_references_along(cache: HFCache) -> None:
    cache.add(_REPO, {}, at=commit(1))
    empty = cache.folder(_REPO) / "snapshots" / commit(1)
    empty.mkdir()
    assert _prune(cache) == 0
    assert empty.exists()  # a download may be about to put its first file there
    for folder in (empty, empty.parent, cache.folder(_REPO)):
        os.utime(folder, (0, 0))
    grave = cache.root / ".locks" / "models--a--b.1.removed" / "snapshots"
    grave.mkdir(parents=True)
    assert _prune(cache) == 40
    assert not cache.folder(_REPO).exists()
    assert not grave.parent.exists()


def test_a_repository_with_nothing_but_half_a_download_goes_with_it(cache: HFCache) -> None:
    cache.add(_REPO, {})
    (cache.folder(_REPO) / "refs" / "main").unlink()
    (cache.folder(_REPO) / "blobs" / f"{_ETAG}.part").write_bytes(_GONE)
    assert _prune(cache) == len(_GONE)
    assert not cache.folder(_REPO).exists()
