"""Models in the Hugging Face cache, as huggingface_hub and people leave them there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm.hub.kept.hf_cache import find_kept, kept_in
from localllm.hub.kept.leftovers import find_leftovers
from localllm.hub.kept.pruning import plan_prune
from tests.support.hf_cache import HFCache, commit, git_sha1, sha256

_REPO = "bartowski/Toy-GGUF"
_Q4, _Q8 = b"four bits" * 10, b"eight bits" * 20


def _parts(n: int, quant: str = "Q8_0") -> dict[str, bytes]:
    return {
        f"{quant}/toy-{quant}-{part:05d}-of-{n:05d}.gguf": b"%d" % part * 50
        for part in range(1, n + 1)
    }


def test_a_model_has_its_name_its_parts_and_their_hashes(cache: HFCache) -> None:
    at = cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4, "README.md": b"hello", **_parts(2)})
    split, single = sorted(kept_in(cache.root).models, key=lambda model: -model.n_parts)
    assert (single.name, single.quant) == (f"{_REPO}:Q4_K_M", "Q4_K_M")
    assert (single.repo, single.commit, single.keeper) == (_REPO, at, "hugging-face")
    assert [file.sha256 for file in single.files] == [sha256(_Q4)]
    assert single.n_bytes == len(_Q4)
    assert single.is_complete and single.is_current and single.can_be_removed
    assert split.name == f"{_REPO}:Q8_0"
    assert [file.path.name[9:14] for file in split.files] == ["00001", "00002"]
    assert split.files[0].path.parent == cache.folder(_REPO) / "snapshots" / at / "Q8_0"
    assert (split.n_parts, split.n_bytes, split.missing) == (2, 100, ())


def test_last_used_is_the_latest_time_that_the_file_system_knows(cache: HFCache) -> None:
    cache.add(_REPO, _parts(2))
    first, second = (cache.folder(_REPO) / "blobs").iterdir()
    os.utime(first, (5000.0, 1000.0))
    os.utime(second, (2000.0, 3000.0))
    assert kept_in(cache.root).models[0].last_used_s == 5000.0


def test_a_missing_part_is_named_whether_its_link_is_gone_or_its_content(cache: HFCache) -> None:
    at = cache.add(_REPO, _parts(3))
    folder = cache.folder(_REPO) / "snapshots" / at / "Q8_0"
    (folder / "toy-Q8_0-00001-of-00003.gguf").unlink()
    (folder / "toy-Q8_0-00003-of-00003.gguf").resolve().unlink()
    (model,) = kept_in(cache.root).models
    assert not model.is_complete
    assert (model.n_parts, len(model.files)) == (3, 1)
    assert [path.name[9:14] for path in model.missing] == ["00001", "00003"]
    assert {path.parent for path in model.missing} == {folder}
    (folder / "toy-Q8_0-00001-of-00003.gguf").touch()
    assert kept_in(cache.root).models == (model,)


def test_without_links_the_file_itself_is_the_model(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4}, linked=False)
    (model,) = kept_in(cache.root).models
    assert model.n_bytes == len(_Q4)
    assert model.files[0].sha256 is None


def test_a_small_file_named_by_git_and_a_shared_one_keep_the_hash_of_their_own_name(
    cache: HFCache,
) -> None:
    at = cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    store = cache.share(_REPO, _Q4)
    small = cache.folder(_REPO) / "snapshots" / at / "toy-Q2_K.gguf"
    cache.add_blob(_REPO, b"tiny", is_small=True)
    small.symlink_to(f"../../blobs/{git_sha1(b'tiny')}")
    shared, tiny = kept_in(cache.root).models
    assert shared.files[0].path.resolve() == store
    assert shared.files[0].sha256 == sha256(_Q4)
    assert shared.n_bytes == len(_Q4)
    assert tiny.files[0].sha256 is None


def test_the_current_revision_comes_first_and_the_one_it_replaced_is_named_by_its_commit(
    cache: HFCache,
) -> None:
    old = cache.add(_REPO, {"toy-Q4_K_M.gguf": b"old", "toy-Q8_0.gguf": _Q8}, at=commit(1))
    new = cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4}, at=commit(2))
    tag = cache.add(_REPO, {"toy-Q4_K_M.gguf": b"tagged"}, at=commit(3), ref="v1")

    def named(**wanted: str) -> list[tuple[str, str | None]]:
        found = find_kept(cache.root, _REPO, every_revision=True, **wanted)
        return [(model.name, model.commit) for model in found]

    assert named(quant="Q4_K_M") == [
        (f"{_REPO}:Q4_K_M", new),
        (f"{_REPO}@v1:Q4_K_M", tag),
        (f"{_REPO}@{old[:12]}:Q4_K_M", old),
    ]
    assert named(revision="v1") == [(f"{_REPO}@v1:Q4_K_M", tag)]
    assert {at for _, at in named(revision=old[:12])} == {old}
    assert named(revision="v2") == []
    # of each quantisation one, and where the current revision lacks it an older one's
    found = find_kept(cache.root, _REPO, revision="main")
    assert {(model.quant, model.commit, model.is_current) for model in found} == {
        ("Q4_K_M", new, True),
        ("Q8_0", old, False),
    }


def test_a_whole_model_of_an_older_revision_comes_before_half_of_a_newer_one(
    cache: HFCache,
) -> None:
    old = cache.add(_REPO, _parts(2), at=commit(1))
    new = cache.add(_REPO, {"Q8_0/toy-Q8_0-00001-of-00002.gguf": b"new"}, at=commit(2))
    (model,) = find_kept(cache.root, _REPO)
    assert (model.commit, model.is_complete) == (old, True)
    found = find_kept(cache.root, _REPO, every_revision=True)
    assert [model.commit for model in found] == [new, old]


@pytest.mark.parametrize("text", ["", "main", "0123", "x" * 40, "\0" * 40])
def test_where_main_names_nothing_the_newest_whole_revision_stands_in_and_says_so(
    cache: HFCache, text: str
) -> None:
    old = cache.add(_REPO, {"toy-Q4_K_M.gguf": b"old"}, at=commit(1))
    new = cache.add(_REPO, {"toy-Q4_K_M.gguf": b"new"}, at=commit(2))
    half = cache.add(_REPO, {"toy-Q4_K_M-00001-of-00002.gguf": b"half"}, at=commit(3))
    for index, at in enumerate((old, new, half)):
        for path in (cache.folder(_REPO) / "snapshots" / at).iterdir():
            os.utime(path, (index, index), follow_symlinks=False)
    cache.point(_REPO, "main", text)
    (model,) = find_kept(cache.root, _REPO)
    assert (model.name, model.commit) == (f"{_REPO}:Q4_K_M", new)
    assert model.is_current
    assert model.note is not None and new[:12] in model.note


def test_a_newline_after_the_commit_does_no_harm(cache: HFCache) -> None:
    at = cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    cache.point(_REPO, "main", f"{at}\n")
    (model,) = find_kept(cache.root, _REPO)
    assert (model.name, model.note) == (f"{_REPO}:Q4_K_M", None)


def test_what_was_fetched_by_its_commit_alone_was_replaced_by_nothing(cache: HFCache) -> None:
    at = cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4}, ref=None)
    (model,) = find_kept(cache.root, _REPO)
    assert (model.name, model.is_current) == (f"{_REPO}@{at[:12]}:Q4_K_M", True)


def test_another_branch_does_not_stand_for_main(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4}, at=commit(1), ref="experimental")
    assert find_kept(cache.root, _REPO, revision="main") == ()
    (model,) = find_kept(cache.root, _REPO, revision="experimental")
    assert model.note is None
    cache.add(_REPO, {"toy-Q8_0.gguf": _Q8}, at=commit(2), ref=None)
    (model,) = find_kept(cache.root, _REPO, revision="main")
    assert (model.quant, model.commit) == ("Q8_0", commit(2))
    assert model.note is not None and "replaced, or fetched by its commit" in model.note
    assert all(each.note is None for each in kept_in(cache.root).models)
    cache.point(_REPO, "main", "")  # now one stands in, and says so
    cache.point(_REPO, "v1", commit(2))
    (model,) = find_kept(cache.root, _REPO, revision="main", quant="Q8_0")
    assert model.note is not None and "names no revision" in model.note


def test_a_file_is_found_by_its_path_in_the_repository_and_by_no_end_of_it(cache: HFCache) -> None:
    names = ("toy-Q4_K_M.gguf", "a/toy-Q4_K_M.gguf", "b/a/toy-Q4_K_M.gguf", "c/toy-Q4_K_M.gguf")
    cache.add(_REPO, {name: name.encode() for name in names})
    for name in names:
        (model,) = find_kept(cache.root, _REPO, path=name, revision="main", quant="Q2_K")
        assert model.files[0].path.read_bytes() == name.encode()
    assert find_kept(cache.root, _REPO, path="b/toy-Q4_K_M.gguf") == ()
    assert len(find_kept(cache.root, _REPO)) == 4
    cache.add("other/Toy", {"other/toy-Q4_K_M.gguf": _Q4})
    assert find_kept(cache.root, "other/Toy", path="toy-Q4_K_M.gguf") == ()


def test_names_are_found_in_any_case(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4, "toy-Q8_0.gguf": _Q8})
    (model,) = find_kept(cache.root, _REPO.lower(), quant="q4-k-m")
    assert model.name == f"{_REPO}:Q4_K_M"
    assert find_kept(cache.root, _REPO, quant="Q5_K_M") == ()
    assert find_kept(cache.root, "nobody/nothing") == ()
    assert find_kept(cache.root / "nowhere", _REPO) == ()
    assert kept_in(cache.root / "nowhere").models == ()


def test_what_is_no_model_is_none(cache: HFCache, tmp_path: Path) -> None:
    at = cache.add(_REPO, {"mmproj-F16.gguf": b"eyes", "toy-Q4_K_M.gguf": _Q4, "a.txt": b"x"})
    folder = cache.folder(_REPO) / "snapshots" / at
    os.mkfifo(folder / "pipe-Q8_0.gguf")
    (folder / "folder-Q8_0.gguf").mkdir()
    (folder / "loop-Q8_0.gguf").symlink_to("loop-Q8_0.gguf")
    (folder / "up").symlink_to("..")
    (folder / "device-Q8_0.gguf").symlink_to("/dev/zero")
    (folder / "gone-Q8_0.gguf").symlink_to("../../blobs/" + "0" * 64)
    (folder / "empty-Q8_0.gguf").touch()
    (folder / "esc\x1b]0;\x07-Q8_0.gguf").write_bytes(b"x")
    (folder / os.fsdecode(b"\xff-Q8_0.gguf")).write_bytes(b"x")
    (cache.folder(_REPO) / "snapshots" / "no-commit").mkdir()
    (cache.folder(_REPO) / "snapshots" / commit(9)).symlink_to(at)
    for name in ("models--", "models--gpt2", "models--..--..", "models--a--b--c", "datasets--a--b"):
        (cache.root / name).mkdir()
    (cache.root / "models--a--file").touch()
    inventory = kept_in(cache.root)
    assert [model.name for model in inventory.models] == [f"{_REPO}:Q4_K_M"]
    assert all(note.isprintable() for note in inventory.notes)
    assert any("esc\\x1b" in note for note in inventory.notes)


def test_a_folder_that_may_not_be_read_is_left_away_with_a_note(
    cache: HFCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    cache.add("other/Toy", {"toy-Q4_K_M.gguf": _Q4})
    closed = cache.folder(_REPO) / "snapshots"
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path) == closed:  # chmod would not keep root out
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    inventory = kept_in(cache.root)
    assert [model.repo for model in inventory.models] == ["other/Toy"]
    assert inventory.notes == (f"{closed} could not be read: Permission denied.",)
    assert [leftover.kind for leftover in find_leftovers(cache.root)] == []


_NAMES = st.sampled_from(
    f"models--a--b datasets--a--b blobs snapshots refs .no_exist .locks main {commit(1)} .x.tmp"
    f" x.REFS {'0' * 64} {'0' * 64}.part x-Q4_K_M.gguf x-Q8_0-00001-of-00002.gguf é\x1b"
    " x-Q8_0-00001-of-99999.gguf x-Q8_0-00000-of-00000.gguf".split(" ")
)
_PATHS = st.lists(_NAMES, min_size=1, max_size=5)
_THINGS = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(["folder", "pipe"]),
    st.builds(lambda path: ("link", "/".join(path)), st.lists(_NAMES | st.just(".."), max_size=4)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(things=st.lists(st.tuples(_PATHS, _THINGS), max_size=14))
def test_no_garbage_makes_it_fail(
    things: list[tuple[list[str], object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("hub")
    for path, thing in things:
        place = root.joinpath(*path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(place):
                continue
            if isinstance(thing, bytes):
                place.write_bytes(thing)
            elif isinstance(thing, tuple):
                place.symlink_to(thing[1] or ".")
            elif thing == "pipe":
                os.mkfifo(place)
            else:
                place.mkdir()
        except OSError:
            continue  # something else lies there
    assert all(model.files for model in kept_in(root).models)
    find_kept(root, "a/b")
    plan = plan_prune(root, superseded=True)
    assert all(path.is_relative_to(root) for path in plan.superseded.delete)
