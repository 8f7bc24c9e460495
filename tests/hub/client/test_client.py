"""The client of the Hub over real sockets: what it asks, whom it tells what, what it believes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult

import pytest

from localllm.errors import (
    AccessError,
    IntegrityError,
    LocalLLMError,
    NotFoundError,
    UsageError,
)
from localllm.hub.background import Stopped
from localllm.hub.client.hub_client import HubClient
from localllm.hub.http_refusals import ExpiredLink, NotReached, Transient, UnreachableError
from localllm.hub.offers.offers import offers_of
from localllm.hub.patience import FetchPatience
from tests.support.loopback_hub import hub as hub_module
from tests.support.loopback_hub.answers import Answer
from tests.support.loopback_hub.content import Zeros
from tests.support.loopback_hub.faults import Fault
from tests.support.loopback_hub.hub import LoopbackHub
from tests.support.loopback_hub.origins import HubHandler, Query

REPO = "someone/Model-GGUF"
FILE = "Model-Q4_K_M.gguf"
DATA = b"GGUF" + bytes(range(251)) * 1000
PATIENT = FetchPatience(n_tries=3, first_wait_s=0.01, longest_asked_s=0.02)


@pytest.fixture(scope="module")
def running() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def hub(running: LoopbackHub) -> LoopbackHub:
    """A Hub with one repository, whatever was done to it before."""
    running.heal()
    running.forget()
    running.repos.clear()
    running.moved.clear()
    add_model(running)
    return running


def add_model(hub: LoopbackHub) -> None:
    files = {FILE: DATA, "README.md": b"# a model", "small.gguf": b"GGUF small"}
    hub.add_repo(REPO, files, git=["README.md", "small.gguf"], licence="apache-2.0")


def client(hub: LoopbackHub, *, token: str | None = None, timeout_s: float = 5.0) -> HubClient:
    environ = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": "/nowhere"}
    return HubClient(environ=environ | ({"HF_TOKEN": token} if token else {}), timeout_s=timeout_s)


def read(asked: HubClient, location: str, start: int = 0, n_bytes: int = len(DATA)) -> bytes:
    """The file, as a download that has ``start`` bytes of it puts it together."""
    with asked.body(location, start=start, n_bytes=n_bytes) as body:
        return DATA[: body.starts_at] + b"".join(body.pieces())


def location(hub: LoopbackHub) -> str:
    return client(hub).metadata(REPO, "main", FILE).location


# ------------------------------------------------------------------------- the list of files


def test_a_listing_has_the_models_with_sizes_and_hashes(hub: LoopbackHub) -> None:
    listing = client(hub).listing(REPO)
    large, small = listing.files
    assert (large.path, large.n_bytes, large.sha256) == (FILE, len(DATA), hub.sha256(REPO, FILE))
    assert (small.path, small.n_bytes, small.sha256) == ("small.gguf", 10, None)
    assert (listing.repo, listing.revision, listing.is_gated) == (REPO, "main", False)
    assert listing.licence == "apache-2.0"
    assert listing.commit == hub.repos[REPO].revisions["main"]
    assert len(hub.requests) == 1


def test_a_revision_is_asked_for_by_its_name(hub: LoopbackHub) -> None:
    commit = hub.update_repo(REPO, {"other.gguf": b"GGUF"}, revision="refs/pr/1")
    listing = client(hub).listing(REPO, "refs/pr/1")
    assert listing.commit == commit
    assert "other.gguf" in [file.path for file in listing.files]
    assert "/revision/refs%2Fpr%2F1?" in hub.requests[0].target


def test_a_repository_that_moved_is_found_under_its_new_name(hub: LoopbackHub) -> None:
    hub.moved["someone/Old"] = REPO
    asked = client(hub, token=hub.token)
    assert asked.listing("someone/Old").repo == "someone/Old"
    assert asked.metadata("someone/Old", "main", FILE).n_bytes == len(DATA)
    assert [one.status for one in hub.requests] == [307, 200, 307, 302]
    assert all("authorization" in one.headers for one in hub.requests)


def entry(**changes: Any) -> dict[str, Any]:
    return {"rfilename": "a.gguf", "size": 5, "lfs": {"sha256": "a" * 64, "size": 5}} | changes


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (entry(rfilename="../../x.gguf"), "may lead elsewhere"),
        (entry(rfilename="/etc/x.gguf"), "may lead elsewhere"),
        (entry(rfilename="a\nb.gguf"), "may lead elsewhere"),
        (entry(rfilename=7), "without a name"),
        (entry(size=None, lfs=None), "states the size"),
        (entry(size=-1), "states the size"),
        (entry(size=1 << 60), "states the size"),
        (entry(size="5"), None),
        (entry(size=True), "states the size"),
        (entry(lfs={"sha256": "../x"}), "a hash that is none"),
        (entry(rfilename=FILE), "twice"),
        ("a.gguf", "without a name"),
    ],
)
def test_a_listing_is_believed_only_in_the_form_that_it_must_have(
    hub: LoopbackHub, bad: Any, what: str | None
) -> None:
    hub.repos[REPO].raw_entries = [bad]
    if what is None:
        assert client(hub).listing(REPO).files[-1].n_bytes == 5
        return
    with pytest.raises(IntegrityError, match=what) as caught:
        client(hub).listing(REPO)
    assert "HF_ENDPOINT" in str(caught.value.hint)


def test_an_odd_name_costs_a_sentence_and_no_repository(hub: LoopbackHub) -> None:
    odd = ["fix: m-Q8_0.gguf", "a\u00a0b.gguf", "m\u202efugg.gguf", "d" * 256 + ".gguf"]
    hub.repos[REPO].raw_entries = [entry(rfilename=odd[0])]
    listing = client(hub).listing(REPO)
    assert [file.path for file in listing.files] == [FILE, "small.gguf"]
    assert listing.left_out == ('"fix: m-Q8_0.gguf" cannot be kept here under its name.',)
    hub.repos[REPO].raw_entries = [entry(rfilename=path) for path in odd]
    (sentence,) = client(hub).listing(REPO).left_out
    assert "and 1 more cannot be kept here" in sentence
    assert "\u202e" not in sentence and len(sentence) < 300


def test_importance_matrices_and_pieces_are_told_apart_by_the_offers(hub: LoopbackHub) -> None:
    hub.repos[REPO].raw_entries = [
        entry(rfilename=path) for path in ("imatrix.dat", "m.imatrix", "b.gguf.part1of2", "x.dat")
    ]
    listing = client(hub).listing(REPO)
    offers = offers_of(listing.files, repo=REPO)
    assert [file.path for file in offers.imatrices] == ["imatrix.dat", "m.imatrix"]
    assert "cut into pieces" in offers.incomplete[0]
    assert "x.dat" not in [file.path for file in listing.files]


def test_what_is_no_model_is_left_out_whatever_its_name(hub: LoopbackHub) -> None:
    hub.repos[REPO].raw_entries = [entry(rfilename="../x.md"), entry(rfilename="b.gguf", size=0)]
    assert [file.path for file in client(hub).listing(REPO).files] == [FILE, "small.gguf"]


@pytest.mark.parametrize(
    ("body", "error", "what"),
    [
        (b"<html>log in</html>", UnreachableError, "log in first"),
        (b"[" * 100_000, UnreachableError, "not a Hub"),
        (b"[]", IntegrityError, "no object"),
        (b'{"siblings": 3}', IntegrityError, "no files"),
        (b'{"siblings": [], "sha": "../x"}', IntegrityError, "no commit"),
        (b'{"siblings": [], "disabled": true}', AccessError, "disabled"),
        (b" " * (17 << 20), UnreachableError, "does not end"),
    ],
)
def test_an_answer_that_is_no_listing_is_an_error(
    hub: LoopbackHub, body: bytes, error: type[LocalLLMError], what: str
) -> None:
    hub.fault(Fault(origin="hub", status=200, body=body))
    with pytest.raises(error, match=what) as caught:
        client(hub).listing(REPO, patience=PATIENT)
    assert caught.value.hint
    assert len(hub.requests) == 1


def test_a_compressed_listing_is_read(hub: LoopbackHub) -> None:
    hub.fault(Fault(origin="hub", gzip=True))
    assert client(hub).listing(REPO).files


def test_what_may_pass_is_tried_again_and_told(hub: LoopbackHub) -> None:
    hub.fault(Fault(origin="hub", status=503, headers={"Retry-After": "86400"}))
    hub.fault(Fault(origin="hub", cut="rst"))
    told: list[str | None] = []
    assert client(hub).listing(REPO, patience=PATIENT, on_wait=told.append).files
    assert told[0] == "the Hub answers with status 503"
    assert told[1::2] == [None, None]
    assert len(hub.requests) == 3


def test_it_gives_up_after_its_tries(hub: LoopbackHub) -> None:
    hub.fault(Fault(origin="hub", status=429, times=-1))
    with pytest.raises(UnreachableError, match="status 429"):
        client(hub).listing(REPO, patience=PATIENT)
    assert len(hub.requests) == PATIENT.n_tries


def test_a_wait_ends_when_it_is_told_to(hub: LoopbackHub) -> None:
    hub.fault(Fault(origin="hub", status=503, times=-1))
    stop = threading.Event()
    with pytest.raises(Stopped):
        client(hub).listing(REPO, stop=stop, on_wait=lambda reason: stop.set())


def test_a_hub_that_is_not_there_is_not_waited_for() -> None:
    with LoopbackHub() as hub:
        add_model(hub)
        asked, there = client(hub), location(hub)
    with pytest.raises(UnreachableError, match="refuses the connection") as caught:
        asked.listing(REPO)
    assert "localllm list" in str(caught.value.hint)
    with pytest.raises(NotReached):
        asked.metadata(REPO, "main", FILE)
    with pytest.raises(NotReached):
        read(asked, there)


# ------------------------------------------------------------------------- one file's metadata


def test_metadata_name_the_content_and_where_it_is(hub: LoopbackHub) -> None:
    found = client(hub).metadata(REPO, "main", FILE)
    assert (found.etag, found.n_bytes) == (hub.sha256(REPO, FILE), len(DATA))
    assert found.commit == hub.repos[REPO].revisions["main"]
    assert found.location.startswith(hub.cdn)
    assert found.location not in repr(found)
    assert [one.method for one in hub.requests] == ["HEAD"]


def test_a_small_file_is_at_the_hub_itself(hub: LoopbackHub) -> None:
    asked = client(hub, token=hub.token)
    found = asked.metadata(REPO, "main", "small.gguf")
    assert (len(found.etag), found.n_bytes) == (40, 10)
    assert found.location == f"{hub.endpoint}/{REPO}/resolve/main/small.gguf"
    with asked.body(found.location, start=4, n_bytes=10) as body:
        assert (body.starts_at, b"".join(body.pieces())) == (4, b" small")
    assert hub.requests[-1].headers["authorization"] == f"Bearer {hub.token}"


def test_a_mirror_may_keep_the_large_files_itself() -> None:
    with LoopbackHub() as hub:
        hub.is_one_origin = True
        add_model(hub)
        hub.moved["someone/Old"] = REPO
        asked = client(hub, token=hub.token)
        found = asked.metadata("someone/Old", "main", FILE)
        assert (found.etag, found.n_bytes) == (hub.sha256(REPO, FILE), len(DATA))
        assert found.commit == hub.repos[REPO].revisions["main"]
        assert found.location.startswith(f"{hub.endpoint}/blob/")
        assert read(asked, found.location, 5) == DATA
        assert [(one.method, one.status) for one in hub.requests] == [
            ("HEAD", 307),
            ("HEAD", 302),
            ("GET", 206),
        ]
        assert {one.headers.get("authorization") for one in hub.requests} == {f"Bearer {hub.token}"}
        hub.expire_links()
        with pytest.raises(ExpiredLink):
            read(asked, found.location, 5)


def test_xet_and_files_above_50_gb_are_had_as_ordinary_bytes(hub: LoopbackHub) -> None:
    size = 70 * 10**9
    hub.add_repo("a/b", {"x.gguf": Zeros(size=size, sha256="b" * 64)}, xet=True)
    asked = client(hub)
    found = asked.metadata("a/b", "main", "x.gguf")
    assert (found.n_bytes, found.etag) == (size, "b" * 64)
    with asked.body(found.location, start=size - 3, n_bytes=size) as body:
        assert (body.starts_at, b"".join(body.pieces())) == (size - 3, b"\0\0\0")


@pytest.mark.parametrize(
    ("stated", "what"),
    [
        ({"etag": "../../../x/pwned"}, "which is no hash"),
        ({"etag": "A" * 64}, "which is no hash"),
        ({"etag": f'W/"{"a" * 64}-gzip"'}, "which is no hash"),
        ({"etag": ""}, "which is no hash"),
        ({"commit": "main"}, "which is no commit"),
        ({"commit": "../../x"}, "which is no commit"),
        ({"size": 0}, "states the size"),
        ({"size": -5}, "states the size"),
        ({"size": 10**19}, "states the size"),
        ({"headers": {"X-Linked-Size": "1e9"}}, "states the size"),
        ({"headers": {"X-Linked-Size": ""}}, "states the size"),
    ],
)
def test_metadata_are_checked_before_anything_uses_them(
    hub: LoopbackHub, stated: dict[str, Any], what: str
) -> None:
    hub.fault(Fault(origin="hub", method="HEAD", **stated))
    with pytest.raises(IntegrityError, match=what) as caught:
        client(hub).metadata(REPO, "main", FILE)
    assert caught.value.hint


def test_a_commit_that_was_asked_for_is_the_one_that_is_answered(hub: LoopbackHub) -> None:
    commit = hub.repos[REPO].revisions["main"]
    assert client(hub).metadata(REPO, commit, FILE).commit == commit
    hub.fault(Fault(origin="hub", method="HEAD", commit="f" * 40))
    with pytest.raises(IntegrityError, match="answers with revision f"):
        client(hub).metadata(REPO, commit, FILE)


@pytest.mark.parametrize("cut", ["rst", "fin", "stall"])
def test_a_broken_connection_may_pass(hub: LoopbackHub, cut: Any) -> None:
    hub.fault(Fault(origin="hub", method="HEAD", cut=cut))
    asked = client(hub, timeout_s=0.2)
    with pytest.raises(Transient):
        asked.metadata(REPO, "main", FILE)
    assert asked.metadata(REPO, "main", FILE).n_bytes == len(DATA)


@pytest.mark.parametrize("name", ["../x.gguf", "a//b.gguf", "/x.gguf"])
def test_a_hostile_name_is_never_asked_for(hub: LoopbackHub, name: str) -> None:
    with pytest.raises(IntegrityError):
        client(hub).metadata(REPO, "main", name)
    with pytest.raises(UsageError):
        client(hub).metadata("../x", "main", FILE)
    with pytest.raises(UsageError):
        client(hub).listing(REPO, "../main")
    assert not hub.requests


# ------------------------------------------------------------------------- the bytes


@pytest.mark.parametrize("start", [0, 1, 100_000, len(DATA) - 1])
def test_a_body_begins_where_it_was_asked_to(hub: LoopbackHub, start: int) -> None:
    assert read(client(hub), location(hub), start) == DATA
    assert hub.ranges() == [f"{start}-"]


def test_a_server_that_ignores_ranges_begins_at_0(hub: LoopbackHub) -> None:
    hub.fault(Fault(ignore_range=True))
    with client(hub).body(location(hub), start=1000, n_bytes=len(DATA)) as body:
        assert body.starts_at == 0
        assert b"".join(body.pieces()) == DATA


@pytest.mark.parametrize(
    ("fault", "start"),
    [
        (Fault(shift_range=-1000), 5000),
        (Fault(shift_range=1000), 5000),
        (Fault(headers={"Content-Range": "bytes 5000-5999/*"}), 5000),
        (Fault(headers={"Content-Range": f"bytes 5000-{len(DATA)}/{len(DATA) + 1}"}), 5000),
        (Fault(headers={"Content-Range": ""}), 5000),
        (Fault(short=7), 5000),
        (Fault(surplus=b"more"), 5000),
        (Fault(surplus=b"more", ignore_range=True), 0),
        (Fault(gzip=True), 5000),
        (Fault(gzip=True, ignore_range=True), 0),
        (Fault(status=200, body=b"<html>log in</html>"), 5000),
        (Fault(status=200, body=b"<html>log in</html>"), 0),
        (Fault(ignore_range=True, chunked=True), 5000),
        (Fault(status=416, headers={"Content-Range": "bytes */9"}), 5000),
        (Fault(status=503), 5000),
        (Fault(status=520), 5000),
        (Fault(status=408), 5000),
        (Fault(cut="rst"), 5000),
        (Fault(cut="fin", after=3000), 5000),
        (Fault(cut="rst", after=3000), 5000),
        (Fault(cut="stall", after=3000), 5000),
        (Fault(chunked=True, surplus=b"more"), 5000),
        (Fault(chunked=True, short=3), 5000),
    ],
)
def test_any_other_answer_is_a_failed_try(hub: LoopbackHub, fault: Fault, start: int) -> None:
    there = location(hub)
    hub.fault(fault)
    asked = client(hub, timeout_s=0.2)
    with pytest.raises(Transient) as caught:
        read(asked, there, start)
    assert "Signature" not in str(caught.value)
    assert read(asked, there, start) == DATA


def test_a_length_that_is_not_said_is_counted(hub: LoopbackHub) -> None:
    hub.fault(Fault(chunked=True, times=2))
    hub.fault(Fault(chunked=True, ignore_range=True))
    there = location(hub)
    assert read(client(hub), there, 0) == read(client(hub), there, 9) == DATA
    assert read(client(hub), there, 0) == DATA


def test_an_expired_link_is_told_from_a_closed_file(hub: LoopbackHub) -> None:
    there = location(hub)
    hub.expire_links()
    with pytest.raises(ExpiredLink, match="403"):
        read(client(hub), there, 5)
    hub.repos[REPO].gated = "auto"
    with pytest.raises(AccessError, match="is gated"):
        read(client(hub), f"{hub.endpoint}/{REPO}/resolve/main/{FILE}", 5)


def test_a_refusal_for_good_is_no_failed_try(hub: LoopbackHub) -> None:
    there = location(hub)
    hub.fault(Fault(status=418))
    with pytest.raises(LocalLLMError, match="status 418") as caught:
        read(client(hub), there)
    assert "Signature" not in caught.value.message + str(caught.value.hint)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "86400"}, 86400.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"RateLimit": '"api";r=0;t=55'}, 55.0),
        ({"RateLimit": '"api";r=9;t=55'}, None),
        ({"RateLimit": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_wait_that_a_server_asks_for_is_passed_on(
    hub: LoopbackHub, headers: dict[str, str], wait_s: float | None
) -> None:
    there = location(hub)
    for origin, method in (("cdn", "GET"), ("hub", "HEAD")):
        hub.fault(Fault(origin=origin, method=method, status=429, headers=headers))  # type: ignore[arg-type]  # both are literals
    for ask in (lambda: read(client(hub), there), lambda: location(hub)):
        with pytest.raises(Transient) as caught:
            ask()
        assert caught.value.wait_s == wait_s


# ------------------------------------------------------------------------- whom it tells what


@pytest.fixture
def other() -> Iterator[LoopbackHub]:
    """A server that the endpoint may lead to."""
    with LoopbackHub() as other:
        other.add_repo(REPO, {FILE: DATA})
        yield other


def test_a_token_goes_to_the_endpoint_alone(hub: LoopbackHub, other: LoopbackHub) -> None:
    asked = client(hub, token=hub.token)
    hub.repos[REPO].gated = "manual"
    asked.listing(REPO)
    there = asked.metadata(REPO, "main", FILE).location
    hub.fault(Fault(status=302, headers={"Location": location(other)}))
    assert read(asked, there, 3) == DATA
    secret = f"Bearer {hub.token}"
    assert [(one.origin, one.headers.get("authorization")) for one in hub.requests] == [
        ("hub", secret),
        ("hub", secret),
        ("cdn", None),
    ]
    assert [one.range for one in other.gets()] == ["3-"]
    assert not any("authorization" in one.headers for one in other.requests)
    told = [name for one in hub.requests + other.requests for name in one.headers]
    assert not {"cookie", "referer"} & set(told)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_endpoint_that_sends_its_questions_elsewhere_is_not_followed(
    hub: LoopbackHub, other: LoopbackHub, method: str
) -> None:
    where = f"{other.endpoint}/api/models/{REPO}/revision/main?blobs=true&token=secret"
    hub.fault(Fault(origin="hub", method=method, status=307, headers={"Location": where}))
    asked = client(hub, token=hub.token)
    with pytest.raises(LocalLLMError, match=f"leads to {other.endpoint} instead") as caught:
        asked.listing(REPO) if method == "GET" else asked.metadata(REPO, "main", FILE)
    assert f"set HF_ENDPOINT to {other.endpoint}." in str(caught.value.hint)
    assert "secret" not in caught.value.message + str(caught.value.hint)
    assert not other.requests


def test_a_circle_and_an_address_that_is_none_are_errors(hub: LoopbackHub) -> None:
    there = location(hub)
    for target, what in ((there, "in a circle"), ("http://[::1/", "is none"), ("", "is none")):
        hub.fault(Fault(status=302, headers={"Location": target}, times=6))
        with pytest.raises(LocalLLMError, match=what) as caught:
            read(client(hub), there)
        assert "Signature" not in caught.value.message
        hub.heal()


class Cookies(HubHandler):
    """A Hub under a path, which also sets a cookie."""

    def answer(self, address: SplitResult, query: Query) -> Answer:
        assert address.path.startswith("/hub/mirror/")
        found = super().answer(
            address._replace(path=address.path.removeprefix("/hub/mirror")), query
        )
        found.headers["Set-Cookie"] = "who=you; Path=/"
        return found


def test_a_mirror_may_lie_under_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "HubHandler", Cookies)
    with LoopbackHub() as hub:
        hub.add_repo(REPO, {FILE: DATA})
        environ = {"HF_ENDPOINT": f"{hub.endpoint}/hub/mirror/", "HF_TOKEN": hub.token}
        asked = HubClient(environ=environ)
        assert asked.endpoint == f"{hub.endpoint}/hub/mirror"
        assert asked.listing(REPO).files[0].path == FILE
        assert read(asked, asked.metadata(REPO, "main", FILE).location, 5) == DATA
        assert not any("cookie" in one.headers for one in hub.requests)
        with pytest.raises(NotFoundError, match=r"no file none\.gguf"):
            asked.metadata(REPO, "main", "none.gguf")


def test_a_mirror_s_own_login_takes_the_place_of_the_token(hub: LoopbackHub) -> None:
    address = hub.endpoint.replace("http://", "http://me:pass%20word@")
    asked = HubClient(environ={"HF_ENDPOINT": address, "HF_TOKEN": hub.token})
    assert asked.endpoint == hub.endpoint
    with pytest.raises(LocalLLMError):
        asked.listing(REPO)
    assert hub.requests[0].headers["authorization"] == "Basic bWU6cGFzcyB3b3Jk"


@pytest.mark.parametrize("stated", ["nonsense", "ftp://x", "https://", "http://h:99999"])
def test_an_endpoint_that_is_no_address_is_not_replaced_by_another(stated: str) -> None:
    with pytest.raises(UsageError, match="HF_ENDPOINT"):
        HubClient(environ={"HF_ENDPOINT": stated})


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "LOCALLLM_OFFLINE"])
def test_offline_nothing_is_asked(hub: LoopbackHub, name: str) -> None:
    asked = HubClient(environ={"HF_ENDPOINT": hub.endpoint, name: "1"})
    assert asked.is_offline
    there = f"{hub.cdn}/blob/{hub.sha256(REPO, FILE)}"
    for ask in (
        lambda: asked.listing(REPO),
        lambda: asked.metadata(REPO, "main", FILE),
        lambda: read(asked, there),
    ):
        with pytest.raises(NotFoundError, match="no network") as caught:
            ask()
        assert caught.value.hint
    assert not hub.requests


def test_no_secret_is_logged_however_much_is(hub: LoopbackHub) -> None:
    written: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())

    root, keep = logging.getLogger(), Keep(0)
    level = root.level
    root.addHandler(keep)
    root.setLevel(logging.DEBUG)
    try:
        asked = client(hub, token=hub.token)
        asked.listing(REPO)
        there = asked.metadata(REPO, "main", FILE).location
        read(asked, there)
        hub.expire_links()
        with pytest.raises(ExpiredLink):
            read(asked, there)
        logging.getLogger("test").debug("heard")
    finally:
        root.setLevel(level)
        root.removeHandler(keep)
    assert written == ["heard"]


def test_the_library_is_imported_late_silent_and_telling_nothing(hub: LoopbackHub) -> None:
    code = (
        "import sys\n"
        "from localllm.hub.client.hub_client import HubClient\n"
        "client = HubClient()\n"
        "assert not {'huggingface_hub', 'httpx2'} & set(sys.modules)\n"
        f"client.listing({REPO!r})\n"
        "from huggingface_hub import constants\n"
        "assert constants.HF_HUB_DISABLE_TELEMETRY and constants.HF_HUB_DISABLE_PROGRESS_BARS\n"
    )
    environ = os.environ | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_DEBUG": "1",
        "HF_HUB_ENABLE_HF_TRANSFER": "1",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [one.path for one in hub.requests] == [f"/api/models/{REPO}/revision/main"]
    environ["HF_HUB_ETAG_TIMEOUT"] = "soon"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert "LocalLLMError: The library huggingface_hub cannot be used" in done.stderr


def test_an_answer_is_not_read_before_it_is_asked_for(hub: LoopbackHub) -> None:
    """A body of 70 GB is opened and left: nothing is kept of it."""
    hub.add_repo("a/b", {"x.gguf": Zeros(size=70 * 10**9, sha256="b" * 64)})
    asked = client(hub)
    there = asked.metadata("a/b", "main", "x.gguf").location
    with asked.body(there, start=0, n_bytes=70 * 10**9) as body:
        assert len(next(body.pieces())) <= 1 << 20
    assert asked.listing(REPO).files


def test_the_licence_is_the_card_s(hub: LoopbackHub) -> None:
    def listed(**answer: Any) -> str | None:
        full = {"siblings": [], "sha": "a" * 40} | answer
        hub.fault(Fault(origin="hub", status=200, body=json.dumps(full).encode()))
        return client(hub).listing(REPO).licence

    assert listed() is None
    assert listed(cardData={"license": "mit"}) == "mit"
    assert listed(cardData={"license": ["mit", "x"]}, tags=["license:x"]) == "mit"
    assert listed(cardData={"license": "other", "license_name": "tongyi"}) == "tongyi"
    assert listed(cardData=3, tags=[1, "license:llama3.3"]) == "llama3.3"
    assert listed(cardData={"license": "\x1b[31m"}) == r"\x1b[31m"
