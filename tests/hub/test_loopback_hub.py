"""The Hub of the tests is one for the client that people use, and its faults are what they say."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.loopback_hub import Asked, Fault, LoopbackHub, Zeros

CLIENT = Path(__file__).with_name("official_client.py")
BODY = bytes(range(256)) * 2000
GIB = 1024**3


@dataclass(frozen=True)
class Official:
    """What came of the calls, and what they asked."""

    results: Mapping[str, Any]
    requests: list[Asked]


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Official:
    """The unmodified client went through all its calls, in a process of its own."""
    with LoopbackHub() as hub:
        hub.page_size = 2
        commit = hub.add_repo(
            "user/repo",
            {"README.md": b"# M", "m.gguf": BODY[:1000], "a b/ü.gguf": BODY, "a b/c/d.gguf": BODY},
            licence="apache-2.0",
            downloads=5,
            gguf={"total": 8, "architecture": "llama", "context_length": 4096},
        )
        hub.update_repo("user/repo", {"m.gguf": BODY[:2000]})
        hub.update_repo("user/repo", {"m.gguf": BODY[:3000]}, revision="refs/pr/1")
        hub.add_repo("other/repo", {"m.gguf": b"x"}, downloads=7)
        hub.add_repo("user/gated", {"m.gguf": b"gated"}, gated="manual")
        hub.add_repo("user/private", {"m.gguf": b"private"}, private=True)
        hub.add_repo("user/disabled", {"m.gguf": b"disabled"}, disabled=True)
        hub.moved["user/old"] = "user/repo"
        environ = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        environ |= {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path_factory.mktemp("hf")),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        done = subprocess.run(
            [sys.executable, str(CLIENT), commit, hub.token],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return Official(json.loads(done.stdout), hub.requests)


def test_the_official_client_finds_and_downloads(official: Official) -> None:
    results = official.results
    assert results["dry run"] == [len(BODY), True]
    assert results["download"] == len(BODY)
    assert results["small"] == 3
    assert results["old commit"] == 1000
    assert results["branch"] == 3000
    assert results["renamed"] == 2000
    assert results["snapshot"] != results["old commit"]
    assert results["verify"] == [4, [], []]


def test_the_official_client_lists(official: Official) -> None:
    results = official.results
    assert results["info"] == {
        "README.md": 3,
        "a b/c/d.gguf": len(BODY),
        "a b/ü.gguf": len(BODY),
        "m.gguf": 2000,
    }
    assert results["licence"] == "apache-2.0"
    assert results["expanded"] == 4096
    # in pages of two
    assert sorted(results["tree"]) == sorted([*results["info"], "a b", "a b/c"])
    assert sorted(results["top of the tree"]) == ["README.md", "a b", "m.gguf"]
    assert results["paths-info"] == [["m.gguf", 2000, True], ["README.md", 3, False]]
    assert results["search"] == ["other/repo", "user/repo"]
    assert results["exists"] == [True, False]


def test_the_official_client_is_refused_as_by_the_hub(official: Official) -> None:
    results = official.results
    assert results["gated, listed"] == {"m.gguf": 5}
    assert results["gated"] == "GatedRepoError"
    assert results["private"] == "RepositoryNotFoundError"
    assert results["missing repo"] == "RepositoryNotFoundError"
    assert results["missing file"] == "RemoteEntryNotFoundError"
    assert results["missing revision"] == "RevisionNotFoundError"
    assert results["disabled"] == "DisabledRepoError"
    assert results["wrong token"] == "HfHubHTTPError"
    assert results["whoami"] == "someone"
    assert results["gated, with a token"] == 5
    assert results["private, with a token"] == 7


def test_a_token_reaches_the_hub_and_never_the_cdn(official: Official) -> None:
    with_token = [one for one in official.requests if "authorization" in one.headers]
    assert any("/user/private/resolve/" in one.target for one in with_token)
    assert {one.origin for one in with_token} == {"hub"}
    assert any(one.origin == "cdn" for one in official.requests)


def test_no_telemetry_no_question_for_harnesses(official: Official) -> None:
    assert not [one for one in official.requests if "agent-harnesses" in one.target]


# ---------------------------------------------------------------------------- its faults


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add_repo("user/repo", {"m.gguf": BODY, "README.md": b"# M"})
        yield hub


@dataclass
class Got:
    """An answer: whole, or what came before it ended."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    error: Exception | None = None


def ask(url: str, *, method: str = "GET", span: str = "", timeout_s: float = 5.0) -> Got:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.netloc), timeout=timeout_s)
    with contextlib.closing(connection):
        headers = {"Range": f"bytes={span}"} if span else {}
        connection.request(method, url.removeprefix(f"http://{address.netloc}"), headers=headers)
        response = connection.getresponse()
        got = Got(response.status, {k.lower(): v for k, v in response.getheaders()}, b"")
        try:
            while piece := response.read1(1 << 16):
                got.body += piece
        except (OSError, http.client.HTTPException) as error:
            got.error = error
        if got.error is None and len(got.body) < int(got.headers.get("content-length", "0")):
            got.error = EOFError()
        return got


def link(hub: LoopbackHub, path: str = "m.gguf") -> str:
    return ask(f"{hub.endpoint}/user/repo/resolve/main/{path}", method="HEAD").headers["location"]


@pytest.mark.parametrize(
    ("span", "start", "end"),
    [("0-9", 0, 10), ("5-", 5, len(BODY)), ("-7", len(BODY) - 7, len(BODY))],
)
def test_a_range_is_answered_exactly(hub: LoopbackHub, span: str, start: int, end: int) -> None:
    got = ask(link(hub), span=span)
    assert (got.status, got.body) == (206, BODY[start:end])
    assert got.headers["content-range"] == f"bytes {start}-{end - 1}/{len(BODY)}"
    assert hub.ranges("m.gguf") == [span]


def test_a_range_behind_the_end_is_refused(hub: LoopbackHub) -> None:
    got = ask(link(hub), span=f"{len(BODY)}-")
    assert (got.status, got.headers["content-range"]) == (416, f"bytes */{len(BODY)}")


def test_a_file_on_the_disk_and_a_file_without_room(hub: LoopbackHub, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(BODY)
    hub.add_repo(
        "user/repo",
        {
            "m.gguf": path,
            "zeros.gguf": Zeros(size=4000, head=b"GGUF"),
            "vast.gguf": Zeros(size=1000 * GIB, head=b"GGUF", sha256="0" * 64),
        },
    )
    assert ask(link(hub)).body == BODY
    assert hub.sha256("user/repo", "m.gguf") == hashlib.sha256(BODY).hexdigest()
    assert ask(link(hub, "zeros.gguf")).body == b"GGUF".ljust(4000, b"\0")
    assert ask(link(hub, "vast.gguf"), span="0-4").body == b"GGUF\0"
    assert ask(link(hub, "vast.gguf"), span=f"{999 * GIB}-{999 * GIB}").body == b"\0"


def test_a_cut_comes_after_so_many_bytes(hub: LoopbackHub) -> None:
    hub.fault(Fault(cut="fin", after=1000))
    ended = ask(link(hub))
    assert ended.body == BODY[:1000] and isinstance(ended.error, EOFError)
    hub.fault(Fault(cut="rst", after=200_000))
    reset = ask(link(hub))
    assert len(reset.body) <= 200_000 and isinstance(reset.error, ConnectionResetError)
    assert BODY.startswith(reset.body)
    hub.fault(Fault(cut="rst", origin="hub", method="HEAD"))
    with pytest.raises(ConnectionResetError):
        link(hub)
    hub.fault(Fault(cut="fin"))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(link(hub))
    assert ask(link(hub)).body == BODY


def test_a_pause_lasts_until_it_is_ended(hub: LoopbackHub) -> None:
    fault = hub.fault(Fault(cut="stall", after=1000))
    got: list[Got] = []
    asking = threading.Thread(target=lambda: got.append(ask(link(hub))))
    asking.start()
    assert fault.reached.wait(5)
    fault.released.set()
    asking.join(5)
    assert got[0].body == BODY
    hub.fault(Fault(cut="stall", after=1000))
    silent = ask(link(hub), timeout_s=0.1)
    assert silent.body == BODY[:1000] and isinstance(silent.error, TimeoutError)


def test_a_status_is_good_for_its_times_and_skips(hub: LoopbackHub) -> None:
    hub.fault(
        Fault(status=429, headers={"Retry-After": "86400"}, body=b"slow", skip=1, times=2),
    )
    answers = [ask(link(hub)) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 429, 429, 200]
    assert answers[1].headers["retry-after"] == "86400"
    assert [one.status for one in hub.gets()] == [200, 429, 429, 200]


def test_what_is_said_of_a_range_can_be_wrong(hub: LoopbackHub) -> None:
    hub.fault(Fault(ignore_range=True))
    assert (ask(link(hub), span="9-").status, hub.gets()[-1].range) == (200, "9-")
    hub.fault(Fault(shift_range=-1000))
    early = ask(link(hub), span="5000-")
    assert early.headers["content-range"].startswith("bytes 4000-")
    assert early.body == BODY[4000:]
    hub.fault(Fault(shift_bytes=-1))
    other = ask(link(hub), span="5000-5002")
    assert other.headers["content-range"].startswith("bytes 5000-5002/")
    assert other.body == BODY[4999:5002]


def test_a_body_can_be_damaged(hub: LoopbackHub) -> None:
    hub.fault(Fault(corrupt_at=-1))
    middle = len(BODY) // 2
    damaged = ask(link(hub)).body
    assert [at for at, pair in enumerate(zip(damaged, BODY, strict=True)) if len({*pair}) > 1] == [
        middle
    ]
    hub.fault(Fault(surplus=b"more"))
    assert ask(link(hub)).body == BODY + b"more"
    hub.fault(Fault(short=5))
    assert ask(link(hub)).body == BODY[:-5]
    hub.fault(Fault(gzip=True))
    assert gzip.decompress(ask(link(hub)).body) == BODY
    hub.fault(Fault(chunked=True, piece_bytes=100_000))
    chunked = ask(link(hub))
    assert chunked.body == BODY and "content-length" not in chunked.headers


def test_what_a_head_says_can_be_hostile(hub: LoopbackHub) -> None:
    hub.fault(
        Fault(
            origin="hub",
            method="HEAD",
            etag='"../../x"',
            commit="",
            size=5,
            headers={"Location": "http://127.0.0.1:9/elsewhere"},
        )
    )
    got = ask(f"{hub.endpoint}/user/repo/resolve/main/m.gguf", method="HEAD")
    assert got.status == 302
    assert got.headers["x-linked-etag"] == '"../../x"'
    assert got.headers["x-linked-size"] == "5"
    assert got.headers["location"] == "http://127.0.0.1:9/elsewhere"
    assert "x-repo-commit" not in got.headers


def test_links_expire(hub: LoopbackHub) -> None:
    old = link(hub)
    assert ask(old).status == 200
    hub.expire_links()
    assert ask(old).status == 403
    assert ask(link(hub)).body == BODY
    assert ask(f"{hub.cdn}/blob/{hub.sha256('user/repo', 'm.gguf')}").status == 403


def test_a_branch_can_change_while_it_is_read(hub: LoopbackHub) -> None:
    hub.fault(
        Fault(
            origin="hub",
            method="HEAD",
            then=lambda: hub.update_repo("user/repo", {"m.gguf": b"new"}),
        )
    )
    before = hub.repos["user/repo"].revisions["main"]
    assert ask(link(hub)).body == b"new"
    assert hub.sha256("user/repo", "m.gguf", before) == hashlib.sha256(BODY).hexdigest()


def test_a_rate_bounds_all_answers_together(hub: LoopbackHub) -> None:
    hub.rate = len(BODY) * 5.0
    began = time.monotonic()
    asking = [threading.Thread(target=ask, args=(link(hub),)) for _ in range(2)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert time.monotonic() - began > 0.35  # 2 bodies at 5 a second: never sooner


def test_a_hub_that_has_gone_refuses(hub: LoopbackHub) -> None:
    address = link(hub)
    hub.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(address)


def test_raw_entries_are_listed_as_they_stand(hub: LoopbackHub) -> None:
    hub.add_repo("user/bad", {"m.gguf": b"x"}, raw_entries=[{"rfilename": "../../x", "size": -1}])
    listed = json.loads(ask(f"{hub.endpoint}/api/models/user/bad?blobs=true").body)
    assert listed["siblings"][-1] == {"rfilename": "../../x", "size": -1}


def test_a_xet_file_says_so_and_has_its_ordinary_bytes(hub: LoopbackHub) -> None:
    hub.add_repo("user/repo", {"m.gguf": BODY}, xet=True)
    got = ask(f"{hub.endpoint}/user/repo/resolve/main/m.gguf", method="HEAD")
    assert len(got.headers["x-xet-hash"]) == 64
    assert got.headers["link"].endswith('>; rel="xet-auth"')
    assert ask(got.headers["location"]).body == BODY


def test_the_cdn_names_a_file_unless_told_not_to(hub: LoopbackHub) -> None:
    assert 'filename="m.gguf"' in ask(link(hub)).headers["content-disposition"]
    hub.names_files = False
    assert "content-disposition" not in ask(link(hub)).headers


def test_all_is_well_again_after_healing(hub: LoopbackHub) -> None:
    hub.rate = 1.0
    hub.fault(Fault(status=503, times=-1))
    assert ask(link(hub)).status == 503
    hub.heal()
    hub.forget()
    assert ask(link(hub)).body == BODY
    assert [(one.origin, one.method) for one in hub.requests] == [("hub", "HEAD"), ("cdn", "GET")]
