"""Reading by HTTP Range: the right bytes, or an error that says what the server did."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
import time
import urllib.error
from dataclasses import replace

import pytest

from localllm.errors import (
    AccessError,
    GGUFError,
    IntegrityError,
    LocalLLMError,
    NotFoundError,
)
from localllm.hub.headers.http_range import RangeReader, Stopped, Version, same_version
from localllm.hub.http_refusals import ChangedError, Transient, UnreachableError, failure
from localllm.hub.remote_url import origin_of, remote_file
from tests.support.loopback import IMPATIENT, Fault, LoopbackServer

DATA = b"GGUF" + bytes(range(256)) * 1000
N = len(DATA)
PATH = "/models/m.gguf"


def reader(
    server: LoopbackServer,
    *,
    path: str = PATH,
    environ: dict[str, str] | None = None,
    timeout_s: float = IMPATIENT.timeout_s,
) -> RangeReader:
    file = remote_file(server.origin + path, environ or {"HF_HOME": "/nowhere"})
    return RangeReader(file, patience=replace(IMPATIENT, timeout_s=timeout_s))


@pytest.fixture
def served(server: LoopbackServer) -> LoopbackServer:
    server.serve(PATH, DATA)
    return server


@pytest.mark.parametrize(
    ("start", "end"), [(0, 1), (0, 1000), (500, 100_000), (0, N), (0, 10 * N), (N - 1, 10 * N)]
)
def test_the_bytes_asked_for_come(served: LoopbackServer, start: int, end: int) -> None:
    reading = reader(served)
    assert reading.read(start, end) == DATA[start:end]
    assert reading.version == Version(
        file_bytes=N, etag='"one"', last_modified="Sat, 21 Nov 2026 10:00:00 GMT"
    )
    assert served.ranges() == [f"{start}-{end - 1}"]
    assert served.asked[0].headers["accept-encoding"] == "identity"
    assert "authorization" not in served.asked[0].headers


def test_what_goes_on_is_asked_for_once(served: LoopbackServer) -> None:
    reading = reader(served)
    assert reading.read(0, 100) + reading.read(100, N) == DATA
    assert reading.read(N, N + 5) == b""
    assert served.ranges() == ["0-99", f"100-{N - 1}"]


@pytest.mark.parametrize("cut", ["rst", "fin"])
@pytest.mark.parametrize("after", [0, 1, 70_000])
def test_a_broken_answer_is_gone_on_with(served: LoopbackServer, cut: str, after: int) -> None:
    served.fault(Fault(cut=cut, after=after, times=2))  # type: ignore[arg-type]
    assert reader(served).read(0, N) == DATA
    if cut == "fin":  # a reset may take bytes back that were on their way
        assert served.ranges() == [f"{n * after}-{N - 1}" for n in range(3)]


def test_a_reset_before_any_answer_is_tried_again(served: LoopbackServer) -> None:
    served.fault(Fault(cut="rst", before_status=True, times=3))
    assert reader(served).read(0, 100) == DATA[:100]


def test_a_server_that_always_breaks_off_is_given_up(served: LoopbackServer) -> None:
    served.fault(Fault(cut="fin", after=0, times=-1))
    with pytest.raises(UnreachableError, match=r"m\.gguf cannot be read: the connection") as caught:
        reader(served).read(0, N)
    assert caught.value.exit_code == 5
    assert len(served.asked) == 4


def test_a_server_that_brings_single_bytes_is_given_up(served: LoopbackServer) -> None:
    served.fault(Fault(cut="fin", after=1, times=-1))
    with pytest.raises(UnreachableError, match="again and again"):
        reader(served).read(0, N)
    assert len(served.asked) == 40


@pytest.mark.parametrize("before_status", [True, False])
def test_a_silent_server_is_left_after_the_timeout(
    served: LoopbackServer, before_status: bool
) -> None:
    served.fault(Fault(cut="stall", before_status=before_status, after=10))
    started = time.monotonic()
    assert reader(served, timeout_s=0.3).read(0, 1000) == DATA[:1000]
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(served: LoopbackServer, status: int) -> None:
    served.fault(Fault(status=status, times=2, headers={"Retry-After": "0"}))
    assert reader(served).read(0, 9) == DATA[:9]
    assert len(served.asked) == 3


def test_a_server_that_stays_busy_is_given_up(served: LoopbackServer) -> None:
    served.fault(Fault(status=503, times=-1))
    with pytest.raises(UnreachableError, match="status 503"):
        reader(served).read(0, 9)


@pytest.mark.parametrize("wait", ["86400", "Fri, 31 Dec 2060 23:59:59 GMT"])
def test_a_long_wait_is_not_waited(served: LoopbackServer, wait: str) -> None:
    served.fault(Fault(status=429, times=-1, headers={"Retry-After": wait}))
    with pytest.raises(UnreachableError, match="status 429, try again in"):
        reader(served).read(0, 9)
    assert len(served.asked) == 1


def test_a_wait_is_told_and_can_be_ended(served: LoopbackServer) -> None:
    served.fault(Fault(status=429, times=-1, headers={"Retry-After": "1"}))
    stop, told = threading.Event(), list[str | None]()

    def on_wait(reason: str | None) -> None:
        told.append(reason)
        stop.set()

    file = remote_file(served.origin + PATH, {"HF_HOME": "/nowhere"})
    with pytest.raises(Stopped):
        RangeReader(file, patience=IMPATIENT, stop=stop, on_wait=on_wait).read(0, 9)
    assert told == ["the server answers with status 429"]


@pytest.mark.parametrize(
    "stated",
    [
        "",
        "bytes",
        "bytes */1000",
        "bytes 0-99",
        "bytes 0-99/*",
        f"bytes 1-100/{N}",
        f"bytes 0-98/{N}",
        f"bytes 0-100/{N}",
        f"bytes 5-2/{N}",
        "bytes 0-99/50",
        "bytes 0-99/0",
        "octets 0-99/1000",
        f"bytes -5-99/{N}",
        f"bytes 0-99/{10**40}",
        "bytes 0-99/" + "9" * 5000,
    ],
)
def test_another_range_than_the_one_asked_for_is_refused(
    served: LoopbackServer, stated: str
) -> None:
    served.fault(Fault(headers={"Content-Range": stated}, times=-1))
    with pytest.raises(IntegrityError, match=r"m\.gguf cannot be read in parts: ") as caught:
        reader(served).read(0, 100)
    assert caught.value.exit_code == 7
    assert len(caught.value.message) < 400


def test_a_server_without_ranges_is_refused_before_the_file_is_read(
    server: LoopbackServer,
) -> None:
    server.serve(PATH, DATA, 2**20)
    server.fault(Fault(ignore_range=True, times=-1))
    with pytest.raises(IntegrityError, match="knows no HTTP ranges") as caught:
        reader(server).read(0, 100)
    assert caught.value.hint == "Download the file and pass its path."


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<!DOCTYPE html><title>Log in</title>", "an HTML page"),
        (b'{"error": "no"}', "a JSON document"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"", "the file is empty"),
    ],
)
def test_an_ordinary_page_is_named(server: LoopbackServer, body: bytes, what: str) -> None:
    server.fault(Fault(status=200, body=body, times=-1))
    with pytest.raises(GGUFError, match=what):
        reader(server).read(0, 100)


def test_an_empty_file_is_named(server: LoopbackServer) -> None:
    server.serve(PATH, b"")
    with pytest.raises(GGUFError, match="the file is empty"):
        reader(server).read(0, 100)


def test_a_range_that_is_not_there_is_refused(served: LoopbackServer) -> None:
    with pytest.raises(IntegrityError, match="status 416"):
        reader(served).read(2 * N, 3 * N)


@pytest.mark.parametrize("encoding", ["gzip", "br", "x\x7f" * 100])
def test_an_encoded_answer_is_refused(served: LoopbackServer, encoding: str) -> None:
    served.fault(Fault(headers={"Content-Encoding": encoding}, times=-1))
    with pytest.raises(IntegrityError, match="sent the file encoded") as caught:
        reader(served).read(0, 100)
    assert "\x7f" not in caught.value.message


def test_more_bytes_than_asked_for_are_refused(served: LoopbackServer) -> None:
    served.fault(Fault(surplus=b"!", headers={"Content-Length": ""}, times=-1))
    with pytest.raises(IntegrityError, match="sent more than was asked for"):
        reader(served).read(0, 100)


@pytest.mark.parametrize("length", ["101", "99", "-1", "x", "9" * 30])
def test_a_length_that_does_not_fit_is_refused(served: LoopbackServer, length: str) -> None:
    served.fault(Fault(headers={"Content-Length": length}, times=-1))
    with pytest.raises(IntegrityError, match="announced"):
        reader(served).read(0, 100)


@pytest.mark.parametrize("change", ["etag", "last_modified", "size"])
def test_a_file_that_changes_between_two_reads_is_noticed(
    served: LoopbackServer, change: str
) -> None:
    reading = reader(served)
    reading.read(0, 100)
    setattr(served.files[PATH], change, 2 * N if change == "size" else "other")
    with pytest.raises(ChangedError, match="changed while it was read"):
        reading.read(100, 200)


def test_versions_differ_only_in_what_both_say() -> None:
    full = Version(file_bytes=1, etag="a", last_modified="b")
    assert same_version(full, Version(file_bytes=1, etag=None, last_modified="b"))
    assert not same_version(full, Version(file_bytes=2, etag="a", last_modified="b"))
    assert not same_version(full, Version(file_bytes=1, etag="a", last_modified="c"))


@pytest.mark.parametrize(
    ("status", "code", "error", "what"),
    [
        (401, "", AccessError, "may not be read"),
        (403, "", AccessError, "may not be read"),
        (403, "GatedRepo", AccessError, "is gated"),
        (401, "GatedRepo", AccessError, "is gated"),
        (401, "RepoNotFound", NotFoundError, "no such repository"),
        (404, "RevisionNotFound", NotFoundError, "no such revision"),
        (404, "EntryNotFound", NotFoundError, "no such file"),
        (404, "", NotFoundError, "There is no file at"),
        (410, "", NotFoundError, "There is no file at"),
        (418, "", LocalLLMError, "answers with status 418"),
        (204, "", LocalLLMError, "answers with status 204"),
        (304, "", LocalLLMError, "answers with status 304"),
    ],
)
def test_a_refusal_becomes_the_error_it_means(
    served: LoopbackServer, status: int, code: str, error: type[LocalLLMError], what: str
) -> None:
    served.fault(Fault(status=status, headers={"X-Error-Code": code}, times=-1))
    with pytest.raises(error, match=what) as caught:
        reader(served).read(0, 100)
    assert type(caught.value) is error
    assert caught.value.hint
    assert len(served.asked) == 1


def test_a_stopped_server_is_unreachable_at_once(served: LoopbackServer) -> None:
    reading = reader(served)
    served.stop()
    with pytest.raises(UnreachableError, match="the connection was refused") as caught:
        reading.read(0, 1)
    assert "Check the address and the connection" in str(caught.value.hint)


def test_what_is_not_http_is_a_typed_error(server: LoopbackServer) -> None:
    server.fault(Fault(status=200, headers={"X": "y" * 70_000}, times=-1))
    with pytest.raises(UnreachableError, match="not HTTP"):
        reader(server).read(0, 1)


# ------------------------------------------------------------------------- redirects


def redirect(server: LoopbackServer, to: str, *, status: int = 302, times: int = -1) -> None:
    server.fault(Fault(status=status, headers={"Location": to}, times=times))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_with_its_range(
    server: LoopbackServer, other: LoopbackServer, status: int
) -> None:
    redirect(server, other.serve("/blob/1?X-Signature=secret", DATA), status=status)
    other.serve("/blob/1", DATA)
    assert reader(server).read(5, 50) == DATA[5:50]
    assert other.ranges() == ["5-49"]
    assert other.asked[0].path == "/blob/1?X-Signature=secret"


def test_a_relative_redirect_is_followed(served: LoopbackServer) -> None:
    served.fault(Fault("/old", status=307, headers={"Location": "models/m.gguf"}, times=-1))
    assert reader(served, path="/old").read(0, 9) == DATA[:9]


def test_the_token_goes_to_the_hub_and_to_no_other_origin(
    server: LoopbackServer, other: LoopbackServer
) -> None:
    environ = {"HF_TOKEN": "hf_secret", "HF_ENDPOINT": server.origin}
    redirect(server, other.serve("/blob", DATA))
    assert reader(server, environ=environ).read(0, 9) == DATA[:9]
    assert server.asked[0].headers["authorization"] == "Bearer hf_secret"
    assert "authorization" not in other.asked[0].headers
    assert not any("hf_secret" in value for value in other.asked[0].headers.values())


def test_the_token_does_not_go_where_a_strange_address_leads(
    server: LoopbackServer, other: LoopbackServer
) -> None:
    environ = {"HF_TOKEN": "hf_secret", "HF_ENDPOINT": other.origin}
    redirect(server, other.serve("/blob", DATA))
    reader(server, environ=environ).read(0, 9)
    assert all("authorization" not in asked.headers for asked in server.asked + other.asked)


def test_a_password_goes_to_its_own_origin(server: LoopbackServer, other: LoopbackServer) -> None:
    redirect(server, other.serve("/blob", DATA))
    address = server.origin.replace("//", "//me:p%40ss@") + PATH
    reading = RangeReader(remote_file(address, {"HF_HOME": "/nowhere"}), patience=IMPATIENT)
    reading.read(0, 9)
    assert server.asked[0].headers["authorization"] == "Basic bWU6cEBzcw=="
    assert "authorization" not in other.asked[0].headers


@pytest.mark.parametrize(
    "target",
    ["", "ftp://host/x", "file:///etc/passwd", "http://:80/", "http://host:99999/", "http://a b/"],
)
def test_a_redirect_to_nowhere_is_a_typed_error(served: LoopbackServer, target: str) -> None:
    redirect(served, target)
    with pytest.raises(LocalLLMError, match="leads to an address that is none"):
        reader(served).read(0, 9)


def test_a_circle_of_redirects_ends(served: LoopbackServer) -> None:
    redirect(served, PATH)
    with pytest.raises(LocalLLMError, match="leads in a circle"):
        reader(served).read(0, 9)
    assert len(served.asked) == 6


def test_loopback_is_asked_without_the_system_s_proxy(
    served: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert reader(served).read(0, 9) == DATA[:9]


def test_other_hosts_are_asked_through_the_system_s_proxy(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.origin)
    monkeypatch.delenv("no_proxy", raising=False)
    file = remote_file("http://models.example/m.gguf", {"HF_HOME": "/nowhere"})
    server.fault(Fault(status=404))
    with pytest.raises(NotFoundError, match=r"There is no file at http://models\.example/m\.gguf"):
        RangeReader(file, patience=IMPATIENT).read(0, 9)
    assert server.asked[0].path == "http://models.example/m.gguf"


def test_an_origin_includes_the_port() -> None:
    assert origin_of("https://Host/x") == ("https", "host", 443)
    assert origin_of("https://host:444/") != origin_of("https://host/")


@pytest.mark.parametrize(
    ("error", "kind", "what"),
    [
        (socket.gaierror(-2, "Name or service not known"), UnreachableError, "no host h.example"),
        (ConnectionRefusedError(), UnreachableError, "refused"),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), AccessError, "not trusted"),
        (ssl.SSLError(1, "wrong version number"), Transient, "the connection failed"),
        (TimeoutError(), Transient, "does not answer"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), Transient, "unreachable"),
        (OSError("Tunnel connection failed: 407"), Transient, "Tunnel connection failed: 407"),
    ],
)
def test_a_failure_to_connect_is_told_from_one_that_may_pass(
    error: OSError, kind: type[Exception], what: str
) -> None:
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = "self-signed certificate"
    file = remote_file("https://h.example/m.gguf", {"HF_HOME": "/nowhere"})
    for raised in (error, urllib.error.URLError(error)):
        meant = failure(file, raised)
        assert type(meant) is kind
        assert what in str(meant)
