"""What goes with a model, what stays, and what other programs think of the rest."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm.core.kept import Keeper, KeptModel
from localllm.errors import LocalLLMError, UsageError
from localllm.hub.kept.hf_cache import find_kept, kept_in
from localllm.hub.kept.removal import plan_removal, remove
from tests.support.hf_cache import HFCache, commit, sha256, tree

_REPO = "bartowski/Toy-GGUF"
_Q4, _Q8, _OTHER = b"four bits" * 10, b"eight bits" * 20, b"another's" * 30


def _model(cache: HFCache, quant: str, repo: str = _REPO, revision: str | None = None) -> KeptModel:
    (model,) = find_kept(cache.root, repo, quant=quant, revision=revision)
    return model


def _remove(cache: HFCache, *models: KeptModel) -> tuple[int, int]:
    """Remove models, and return what was to be freed and shared; it was freed to the byte."""
    before = cache.n_bytes()
    removal = plan_removal(models, cache.root)
    assert cache.n_bytes() == before
    assert remove(removal) == removal.freed_bytes == before - cache.n_bytes()
    assert not any(os.path.lexists(path) for path in removal.delete)
    assert cache.warnings() == []
    return removal.freed_bytes, removal.shared_bytes


def test_one_quantisation_goes_and_the_rest_of_its_revision_stays(cache: HFCache) -> None:
    at = cache.add(_REPO, {"Q4/toy-Q4_K_M.gguf": _Q4, "toy-Q8_0.gguf": _Q8, "README.md": b"hi"})
    cache.add("other/Toy", {"toy-Q4_K_M.gguf": _Q4})
    assert _remove(cache, _model(cache, "Q4_K_M")) == (len(_Q4), 0)
    snapshot = cache.folder(_REPO) / "snapshots" / at
    assert sorted(path.name for path in snapshot.iterdir()) == ["README.md", "toy-Q8_0.gguf"]
    assert _model(cache, "Q8_0").is_complete
    assert _model(cache, "Q4_K_M", "other/Toy").is_complete


def test_with_its_last_model_a_repository_goes_altogether(cache: HFCache) -> None:
    at = cache.add(_REPO, {"Q4/toy-Q4_K_M.gguf": _Q4})
    cache.point(_REPO, "refs/pr/1", at)
    cache.point(_REPO, "old", commit(7))
    cache.lack(_REPO, at, "config.json")
    freed, _ = _remove(cache, _model(cache, "Q4_K_M"))
    assert freed == len(_Q4) + 3 * 40  # the references are files, too
    assert not cache.folder(_REPO).exists()
    assert tree(cache.root) == {f".locks/{cache.folder(_REPO).name}/{sha256(_Q4)}.lock"}


def test_what_is_left_of_a_download_keeps_its_folder_but_no_reference_to_nothing(
    cache: HFCache,
) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    part = cache.folder(_REPO) / "blobs" / f"{'0' * 64}.part"
    part.write_bytes(b"begun")
    _remove(cache, _model(cache, "Q4_K_M"))
    assert tree(cache.folder(_REPO)) == {f"blobs/{part.name}"}
    assert (cache.folder(_REPO) / "snapshots").is_dir()


def test_a_content_that_another_revision_has_stays_until_that_one_goes(cache: HFCache) -> None:
    same, before, now = b"unchanged" * 9, b"before" * 8, b"now" * 7
    files = {"toy-Q8_0-00001-of-00002.gguf": same}
    old = cache.add(_REPO, {**files, "toy-Q8_0-00002-of-00002.gguf": before}, at=commit(1))
    cache.add(_REPO, {**files, "toy-Q8_0-00002-of-00002.gguf": now}, at=commit(2))
    current = _model(cache, "Q8_0")
    removal = plan_removal([current], cache.root)
    assert removal.shared_with == (f"{_REPO}@{old[:12]}",)
    assert _remove(cache, current) == (len(now) + 40, len(same))
    assert _model(cache, "Q8_0").is_complete
    assert _remove(cache, _model(cache, "Q8_0")) == (len(same) + len(before), 0)
    assert not cache.folder(_REPO).exists()


def test_both_revisions_at_once_free_what_they_share(cache: HFCache) -> None:
    for number in (1, 2):
        cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4}, at=commit(number))
    models = find_kept(cache.root, _REPO, every_revision=True)
    assert _remove(cache, *models) == (len(_Q4) + 40, 0)


def test_a_content_in_the_shared_store_goes_with_the_last_repository_that_has_it(
    cache: HFCache,
) -> None:
    for repo in (_REPO, "other/Toy"):
        cache.add(repo, {"toy-Q4_K_M.gguf": _Q4})
        store = cache.share(repo, _Q4)
    removal = plan_removal([_model(cache, "Q4_K_M")], cache.root)
    assert removal.shared_with == ("other/Toy",)
    assert _remove(cache, _model(cache, "Q4_K_M")) == (40, len(_Q4))
    assert _model(cache, "Q4_K_M", "other/Toy").files[0].path.read_bytes() == _Q4
    freed, shared = _remove(cache, _model(cache, "Q4_K_M", "other/Toy"))
    assert (freed > len(_Q4), shared) == (True, 0)
    assert not store.exists()


def test_a_content_in_the_shared_store_without_a_list_is_never_deleted(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    store = cache.share(_REPO, _Q4)
    store.with_name(f"{store.name}.refs").unlink()
    assert _remove(cache, _model(cache, "Q4_K_M")) == (40, len(_Q4))
    assert store.read_bytes() == _Q4


def test_a_blob_that_a_person_linked_to_from_another_repository_stays(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    other = cache.add("other/Toy", {"toy-Q8_0.gguf": _Q8})
    link = cache.folder("other/Toy") / "snapshots" / other / "toy-Q4_K_M.gguf"
    link.symlink_to(cache.folder(_REPO) / "blobs" / sha256(_Q4))
    assert _remove(cache, _model(cache, "Q4_K_M")) == (40, len(_Q4))
    assert link.read_bytes() == _Q4


def test_a_link_to_a_file_elsewhere_goes_alone(cache: HFCache, tmp_path: Path) -> None:
    mine = tmp_path / "mine-Q4_K_M.gguf"
    mine.write_bytes(_Q4)
    at = cache.add(_REPO, {"toy-Q8_0.gguf": _Q8})
    (cache.folder(_REPO) / "snapshots" / at / mine.name).symlink_to(mine)
    assert _remove(cache, _model(cache, "Q4_K_M")) == (0, len(_Q4))
    assert mine.read_bytes() == _Q4


def test_a_hard_link_elsewhere_keeps_the_bytes_and_is_counted_so(
    cache: HFCache, tmp_path: Path
) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4, "toy-Q8_0.gguf": _Q8})
    os.link(_model(cache, "Q4_K_M").files[0].path.resolve(), tmp_path / "mine.gguf")
    removal = plan_removal([_model(cache, "Q4_K_M")], cache.root)
    assert (removal.freed_bytes, removal.shared_bytes) == (0, len(_Q4))
    assert removal.shared_with == ("a hard link elsewhere on this disk",)
    assert remove(removal) == 0


def test_without_links_the_file_itself_goes(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4, "toy-Q8_0.gguf": _Q8}, linked=False)
    assert _remove(cache, _model(cache, "Q4_K_M")) == (len(_Q4), 0)


def test_half_a_model_goes_with_its_dangling_links(cache: HFCache) -> None:
    files = {f"toy-Q8_0-0000{part}-of-00002.gguf": b"%d" % part * 9 for part in (1, 2)}
    cache.add(_REPO, files)
    (cache.folder(_REPO) / "blobs" / sha256(b"2" * 9)).unlink()
    _remove(cache, _model(cache, "Q8_0"))
    assert not cache.folder(_REPO).exists()


@pytest.mark.parametrize(
    ("keeper", "name", "hint"),
    [
        ("ollama", "ollama:llama3:8b", "Remove it with: ollama rm llama3:8b"),
        ("lm-studio", "/models/a/b/c.gguf", "Remove it there, under My Models."),
        ("llama.cpp", "/cache/c.gguf", "Delete its file: /cache/c.gguf"),
    ],
)
def test_models_of_other_programs_are_left_to_them(
    cache: HFCache, keeper: Keeper, name: str, hint: str
) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    model = replace(_model(cache, "Q4_K_M"), keeper=keeper, name=name)
    with pytest.raises(UsageError) as error:
        plan_removal([model], cache.root)
    assert error.value.hint == hint


def test_a_model_of_another_cache_is_not_looked_for_in_this_one(
    cache: HFCache, tmp_path: Path
) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    with pytest.raises(UsageError, match="not in the cache"):
        plan_removal([_model(cache, "Q4_K_M")], tmp_path / "another")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_model_that_is_being_written_is_not_removed_unless_forced(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4})
    model = _model(cache, "Q4_K_M")
    planned = plan_removal([model], cache.root)
    lock = cache.lock(_REPO, sha256(_Q4))
    with _locked(lock):
        for attempt in (lambda: plan_removal([model], cache.root), lambda: remove(planned)):
            with pytest.raises(LocalLLMError, match="another process"):
                attempt()
        assert _model(cache, "Q4_K_M").is_complete
        forced = plan_removal([model], cache.root, force=True)
        assert remove(forced, force=True) == len(_Q4) + 40
    assert lock.exists()  # to remove it would let two processes hold two locks of one name


@contextmanager
def _open(path: Path) -> Iterator[None]:
    with path.open("rb"):
        yield


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    """Mapped, and closed again, as llama.cpp has it; Python's own mmap keeps the file open."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    with path.open("rb") as file:
        place = libc.mmap(None, 1, mmap.PROT_READ, mmap.MAP_PRIVATE, file.fileno(), 0)
    yield
    assert libc.munmap(place, 1) == 0


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
@pytest.mark.parametrize("hold", [_open, _mapped])
def test_a_model_that_a_process_has_open_is_not_removed_and_the_process_is_named(
    cache: HFCache, hold: Callable[[Path], AbstractContextManager[None]]
) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4, "toy-Q8_0.gguf": _Q8})
    model = _model(cache, "Q4_K_M")
    with hold(model.files[0].path):
        with pytest.raises(LocalLLMError, match=rf"in use by .* \(process {os.getpid()}\)"):
            plan_removal([model], cache.root)
        plan_removal([_model(cache, "Q8_0")], cache.root)
    plan_removal([model], cache.root)


def test_what_is_needed_since_the_plan_was_made_stays(cache: HFCache) -> None:
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4}, at=commit(1))
    removal = plan_removal([_model(cache, "Q4_K_M")], cache.root)
    cache.add(_REPO, {"toy-Q4_K_M.gguf": _Q4}, at=commit(2))
    assert remove(removal) == 0
    model = _model(cache, "Q4_K_M")
    assert (model.commit, model.is_complete) == (commit(2), True)
    assert cache.warnings() == []


class _Killed(BaseException):
    """As a signal would end it: no handler of ours runs."""


def _dying(function: Callable[..., object], left: list[int]) -> Callable[..., object]:
    def call(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise _Killed
        return function(*args, **kwargs)

    return call


def test_killed_at_any_moment_it_leaves_nothing_broken_and_the_same_again_finishes(
    tmp_path: Path,
) -> None:
    n_deaths = 0
    ends: set[int] = set()
    while True:
        cache = HFCache(tmp_path / str(n_deaths))
        for repo in (_REPO, "other/Toy"):
            at = cache.add(repo, {"Q4/toy-Q4_K_M.gguf": _Q4, "Q4/toy-Q8_0.gguf": _Q8})
            cache.lack(repo, at, "config.json")
            cache.share(repo, _Q4)
        removal = plan_removal(find_kept(cache.root, _REPO), cache.root)
        left = [n_deaths]
        with pytest.MonkeyPatch.context() as patch:
            for name in ("unlink", "rmdir", "rename"):
                patch.setattr(os, name, _dying(getattr(os, name), left))
            try:
                remove(removal)
                is_done = True
            except _Killed:
                is_done = False
        assert cache.warnings() == []
        assert all(model.is_complete for model in find_kept(cache.root, "other/Toy"))
        remove(removal)
        assert cache.warnings() == []
        assert not cache.folder(_REPO).exists()
        assert [model.repo for model in kept_in(cache.root).models] == ["other/Toy"] * 2
        ends.add(cache.n_bytes())
        if is_done:
            break
        n_deaths += 1
    assert n_deaths > 10
    assert len(ends) == 1


_CONTENTS = st.integers(0, 5)
_REVISIONS = st.dictionaries(
    st.sampled_from(["toy-Q4_K_M.gguf", "toy-Q8_0.gguf", "Q6/toy-Q6_K.gguf", "README.md"]),
    _CONTENTS,
    min_size=1,
)
_CACHES = st.dictionaries(
    st.tuples(st.sampled_from(["a/x", "b/y"]), st.integers(0, 2)), _REVISIONS, min_size=1
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(revisions=_CACHES, shared=st.sets(_CONTENTS), index=st.integers(0, 20), data=st.data())
def test_whatever_shares_what_a_removal_frees_what_it_says_and_hurts_nobody(
    revisions: dict[tuple[str, int], dict[str, int]],
    shared: set[int],
    index: int,
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cache = HFCache(tmp_path_factory.mktemp("hub"))
    for (repo, number), files in revisions.items():
        ref = data.draw(st.sampled_from(["main", "v1", None]))
        contents = {name: b"%d" % each * (each + 1) * 100 for name, each in files.items()}
        cache.add(repo, contents, at=commit(number), ref=ref)
    for repo in {repo for repo, _ in revisions}:
        for each in shared:
            content = b"%d" % each * (each + 1) * 100
            blob = cache.folder(repo) / "blobs" / sha256(content)
            if blob.exists() and not blob.is_symlink():
                cache.share(repo, content)
    models = kept_in(cache.root).models
    if not models:
        return
    gone = models[index % len(models)]
    others = {model: [f.path.read_bytes() for f in model.files] for model in models}
    del others[gone]
    _remove(cache, gone)
    for model, intact in others.items():
        assert [file.path.read_bytes() for file in model.files] == intact
    left = {(model.repo, model.commit, model.quant) for model in kept_in(cache.root).models}
    assert left == {(model.repo, model.commit, model.quant) for model in others}
