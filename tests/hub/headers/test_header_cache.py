"""The store of headers: complete or not there, bounded, and never believed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localllm.hub.headers.cache import HeaderCache, cache_dir

URL = "https://host/m.gguf"


def put(cache: HeaderCache, url: str, data: bytes, *, etag: str | None = '"e"') -> bool:
    return cache.put(
        url, data, file_bytes=10**9, etag=etag, last_modified=None, shown=url.partition("?")[0]
    )


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_is_stored_comes_back(cache: HeaderCache) -> None:
    assert cache.get(URL) is None
    assert put(cache, URL, b"header")
    stored = cache.get(URL)
    assert stored is not None
    assert (stored.data, stored.file_bytes, stored.etag) == (b"header", 10**9, '"e"')
    assert stored.can_be_checked and abs(stored.stored_at_s - time.time()) < 60
    assert cache.get(URL + "?other") is None


def test_a_later_header_replaces_an_earlier_one(cache: HeaderCache) -> None:
    for data in (b"one", b"two"):
        put(cache, URL, data, etag=None)
    stored = cache.get(URL)
    assert stored is not None and stored.data == b"two" and not stored.can_be_checked


def test_equal_headers_are_stored_once(cache: HeaderCache, tmp_path: Path) -> None:
    for n in range(3):
        put(cache, f"{URL}?{n}", b"same")
    assert len(list((tmp_path / "cache" / "blobs").iterdir())) == 1
    assert len(list((tmp_path / "cache" / "urls").iterdir())) == 3


@pytest.mark.parametrize("damage", [b"", b"hea", b"headex", b"header and more"])
def test_a_damaged_blob_is_dropped(cache: HeaderCache, tmp_path: Path, damage: bytes) -> None:
    put(cache, URL, b"header")
    only(tmp_path / "cache" / "blobs").write_bytes(damage)
    assert cache.get(URL) is None
    assert not list((tmp_path / "cache" / "blobs").iterdir())
    assert not list((tmp_path / "cache" / "urls").iterdir())


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "../../../etc/passwd"},
        {"sha256": "0" * 63},
        {"sha256": 5},
        {"sha256": "é" * 64},
        {"header_bytes": -1},
        {"header_bytes": True},
        {"header_bytes": 2**70},
        {"file_bytes": 1},
        {"file_bytes": "9"},
        {"etag": 7},
        {"stored_at_s": None},
        {"stored_at_s": 1e20},
        {"stored_at_s": float("nan")},
        {"schema": "localllm.header/9"},
        {"more": 1},
    ],
)
def test_an_entry_that_is_not_ours_is_dropped(
    cache: HeaderCache, tmp_path: Path, change: dict[str, object]
) -> None:
    put(cache, URL, b"header")
    path = only(tmp_path / "cache" / "urls")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert cache.get(URL) is None
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", "[" * 9000, "\xff", "9" * 5000])
def test_an_entry_that_is_no_entry_is_dropped(
    cache: HeaderCache, tmp_path: Path, text: str
) -> None:
    put(cache, URL, b"header")
    path = only(tmp_path / "cache" / "urls")
    path.write_bytes(text.encode("latin-1"))
    assert cache.get(URL) is None
    assert not path.exists()


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = HeaderCache(tmp_path, max_bytes=2500)
    for n in range(2):
        put(cache, f"{URL}{n}", bytes([n]) * 1000)
    for path in (tmp_path / "blobs").iterdir():
        os.utime(path, (1, 1))
    assert cache.get(URL + "0") is not None  # used: now the younger one
    put(cache, URL + "2", b"2" * 1000)
    assert [cache.get(f"{URL}{n}") is not None for n in range(3)] == [True, False, True]


def test_a_header_larger_than_the_store_is_not_stored(tmp_path: Path) -> None:
    cache = HeaderCache(tmp_path, max_bytes=10)
    assert not put(cache, URL, b"x" * 11)
    assert cache.get(URL) is None


def test_old_entries_and_abandoned_files_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localllm.hub.headers.cache.MAX_ENTRIES", 5)
    cache = HeaderCache(tmp_path)
    put(cache, URL, b"x")
    (tmp_path / "blobs" / ".abandoned").touch()
    os.utime(tmp_path / "blobs" / ".abandoned", (1, 1))
    (tmp_path / "blobs" / ".under-way").touch()
    for n in range(9):
        put(cache, f"{URL}{n}", b"x")
    assert len(list((tmp_path / "urls").iterdir())) == 5
    assert cache.get(URL + "8") is not None
    assert [p.name for p in (tmp_path / "blobs").iterdir() if p.name[0] == "."] == [".under-way"]


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = HeaderCache(tmp_path / "file" / "cache")
    assert not put(cache, URL, b"header")
    assert cache.get(URL) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_still_serves(cache: HeaderCache, tmp_path: Path) -> None:
    put(cache, URL, b"header")
    folders = [tmp_path / "cache" / "urls", tmp_path / "cache" / "blobs"]
    for folder in folders:
        folder.chmod(0o500)
    assert not put(cache, URL + "2", b"other")
    assert cache.get(URL) is not None
    for folder in folders:
        folder.chmod(0o700)


def test_only_the_owner_may_look(cache: HeaderCache, tmp_path: Path) -> None:
    put(cache, URL, b"header")
    for path in (tmp_path / "cache").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_several_processes_may_share_the_store(tmp_path: Path) -> None:
    """Each stores and reads under a limit that makes all of them evict all the time."""
    program = f"""
import sys
from pathlib import Path
from localllm.hub.headers.cache import HeaderCache
cache = HeaderCache(Path({str(tmp_path)!r}), max_bytes=20_000)
n_found = 0
for n in range(150):
    url = f"https://host/{{n % 7}}"
    data = bytes([n % 7]) * 5000
    cache.put(url, data, file_bytes=10**6, etag="e", last_modified=None, shown=url)
    found = cache.get(url)
    assert found is None or found.data == data
    n_found += found is not None
print(n_found)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=-1, text=True) for _ in range(3)
    ]
    counts = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert min(counts) > 0
    left = sum(path.stat().st_size for path in (tmp_path / "blobs").iterdir())
    assert left <= 40_000


def test_the_folder_is_the_system_s_or_the_one_named() -> None:
    assert cache_dir({"LOCALLLM_CACHE_DIR": "/x/y"}) == Path("/x/y")
    assert cache_dir({}).name == "localllm"
