"""What the Hub's refusals and failed connections become: an error, its exit code, a next step."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Literal

import pytest

from localllm.errors import AccessError, LocalLLMError, NotFoundError
from localllm.hub.client.errors import failed
from localllm.hub.client.hub_client import HubClient
from localllm.hub.client.refusals import BAD_TOKEN, DISABLED, TokenError, Wanted, wanted_at
from localllm.hub.headers.http_range import Patience, RangeReader
from localllm.hub.http_refusals import NotReached, Transient, UnreachableError
from localllm.hub.remote_url import remote_file
from tests.support.loopback_hub.faults import Fault
from tests.support.loopback_hub.hub import LoopbackHub

REPO = "someone/Model-GGUF"
FILE = "m.gguf"
Token = Literal["none", "good", "other", "bad"]


@pytest.fixture(scope="module")
def running() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def hub(running: LoopbackHub) -> LoopbackHub:
    running.heal()
    running.repos.clear()
    running.add_repo(REPO, {FILE: b"GGUF"})
    return running


def environ(hub: LoopbackHub, token: Token) -> dict[str, str]:
    tokens = {"good": hub.token, "other": hub.other_token, "bad": "hf_bad"}
    base = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": "/nowhere"}
    return base | ({"HF_TOKEN": tokens[token]} if token in tokens else {})


def refusal(hub: LoopbackHub, token: Token = "none", **asked: str) -> LocalLLMError:
    """What asking for a file's metadata ends in."""
    question = {"repo": REPO, "revision": "main", "path": FILE} | asked
    with pytest.raises(LocalLLMError) as caught:
        HubClient(environ=environ(hub, token)).metadata(**question)
    error = caught.value
    assert error.hint
    assert not error.message.startswith("None") and "hf_" not in error.message + error.hint
    return error


# ------------------------------------------------------------------------- as the Hub says it


def test_a_gated_model_says_what_to_click(hub: LoopbackHub) -> None:
    hub.repos[REPO].gated = "manual"
    page = f"{hub.endpoint}/{REPO}"
    error = refusal(hub)
    assert error.exit_code == 4
    assert error.message == f"{FILE} of {REPO} is gated: its licence must be accepted first."
    assert error.hint == (
        f"Open {page}, log in and accept the licence, then set HF_TOKEN to a token with read"
        f" access ({hub.endpoint}/settings/tokens)."
    )
    error = refusal(hub, "other")
    assert error.exit_code == 4
    assert "the account of your token has no access" in error.message
    assert f"Open {page} with that account" in str(error.hint)
    assert HubClient(environ=environ(hub, "none")).listing(REPO).is_gated


def test_a_header_is_refused_in_the_same_words(hub: LoopbackHub) -> None:
    hub.repos[REPO].gated = "manual"
    tokens: tuple[Token, ...] = ("none", "other")
    for token in tokens:
        named = environ(hub, token)
        file = remote_file(f"{hub.endpoint}/{REPO}/resolve/main/{FILE}", named)
        with pytest.raises(AccessError) as caught:
            RangeReader(file, patience=Patience(n_tries=1)).read(0, 4)
        expected = refusal(hub, token)
        assert (caught.value.message, caught.value.hint) == (expected.message, expected.hint)


def test_private_and_misspelt_are_one_answer_and_both_are_said(hub: LoopbackHub) -> None:
    hub.repos[REPO].private = True
    for repo in (REPO, "no/such"):
        error = refusal(hub, repo=repo)
        assert error.exit_code == 5
        assert f"There is no repository {repo}" in error.message
        assert "or it is private" in error.message
        assert f"{hub.endpoint}/{repo}" in str(error.hint) and "HF_TOKEN" in str(error.hint)
        error = refusal(hub, "other", repo=repo)
        assert error.exit_code == 5
        assert "private and your token may not read it" in error.message
        with pytest.raises(NotFoundError, match="or it is private"):
            HubClient(environ=environ(hub, "none")).listing(repo)
    assert HubClient(environ=environ(hub, "good")).metadata(REPO, "main", FILE)


def test_a_token_that_is_not_known_is_told_from_one_without_access(hub: LoopbackHub) -> None:
    error = refusal(hub, "bad")
    assert error.exit_code == 4 and isinstance(error, TokenError)
    assert error.message == f"{hub.endpoint} does not accept your token."
    assert f"{hub.endpoint}/settings/tokens" in str(error.hint)


def test_what_is_not_there_is_named(hub: LoopbackHub) -> None:
    error = refusal(hub, path="none.gguf")
    assert (error.exit_code, f"no file none.gguf in {REPO}" in error.message) == (5, True)
    error = refusal(hub, revision="v9")
    assert (error.exit_code, f"no revision v9 of {REPO}" in error.message) == (5, True)
    hub.repos[REPO].disabled = True
    error = refusal(hub)
    assert (error.exit_code, "has disabled" in error.message) == (4, True)


@pytest.mark.parametrize(
    ("status", "code", "message", "token", "exit_code", "what"),
    [
        (401, "", "", "none", 5, "or it is private"),
        (401, "", "", "good", 4, "does not accept your token"),
        (401, "", BAD_TOKEN, "none", 4, "does not accept your token"),
        (401, "GatedRepo", "", "none", 4, "is gated"),
        (403, "GatedRepo", "", "good", 4, "has no access"),
        (401, "RepoNotFound", "", "none", 5, "or it is private"),
        (404, "RepoNotFound", "", "good", 5, "your token may not read it"),
        (404, "RevisionNotFound", "", "none", 5, "no revision"),
        (404, "EntryNotFound", "", "none", 5, "no file"),
        (403, "", DISABLED, "none", 4, "has disabled"),
        (403, "", "Ask\x1b your admin", "good", 4, r'may not be read ("Ask\x1b your admin")'),
        (403, "", "", "none", 4, "may not be read."),
        (451, "", "", "none", 4, "may not be read."),
        (404, "", "", "none", 5, "no file"),
        (410, "", "", "none", 5, "no file"),
        (407, "", "", "none", 4, "proxy"),
        (400, "", "", "none", 1, "answers with status 400"),
        (204, "", "", "none", 1, "answers with status 204"),
        (418, "", "tea", "none", 1, 'status 418: "tea"'),
    ],
)
def test_every_refusal_ends_in_its_exit_code(
    hub: LoopbackHub,
    status: int,
    code: str,
    message: str,
    token: Token,
    exit_code: int,
    what: str,
) -> None:
    hub.fault(Fault(origin="hub", method="HEAD", status=status, code=code, message=message))
    error = refusal(hub, token)
    assert error.exit_code == exit_code
    assert what in error.message


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 521])
def test_what_may_pass_is_no_error_yet(hub: LoopbackHub, status: int) -> None:
    hub.fault(Fault(origin="hub", method="HEAD", status=status))
    with pytest.raises(Transient, match=f"status {status}"):
        HubClient(environ=environ(hub, "none")).metadata(REPO, "main", FILE)


# ------------------------------------------------------------------------- failures


class ConnectError(Exception):
    """As httpx2 names it: wraps what the system said."""


class ProxyError(Exception): ...


class OfflineModeIsEnabled(ConnectionError): ...


def wrapped(cause: BaseException, outer: type[Exception] = ConnectError) -> Exception:
    error = outer(str(cause))
    error.__cause__ = cause
    return error


def test_a_failure_is_told_by_its_cause() -> None:
    untrusted = ssl.SSLCertVerificationError()
    untrusted.verify_message = "self-signed certificate"
    error = failed("h", wrapped(untrusted))
    assert isinstance(error, AccessError) and "self-signed" in error.message
    assert "SSL_CERT_FILE" in str(error.hint)
    assert isinstance(failed("h", wrapped(Exception(), OfflineModeIsEnabled)), NotFoundError)
    login = failed("h", ProxyError("407 Proxy Authentication Required"))
    assert isinstance(login, AccessError) and "HTTPS_PROXY" in str(login.hint)
    for cause, reason in (
        (socket.gaierror(-2, "?"), "there is no host h, or no network"),
        (ConnectionRefusedError(111, "?"), "h refuses the connection"),
        (OSError(101, "Network is unreachable"), "the connection failed (Network is unreachable)"),
    ):
        lost = failed("h", wrapped(cause))
        assert isinstance(lost, NotReached) and lost.reason == reason
    broken = failed("h", ConnectionResetError())
    assert type(broken) is Transient and broken.reason == "the connection broke"


def test_a_hub_that_cannot_be_reached_is_said_at_once() -> None:
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1 refuses the connection") as caught:
        HubClient(environ={"HF_ENDPOINT": "http://127.0.0.1:1"}).listing(REPO)
    assert caught.value.exit_code == 5


# ------------------------------------------------------------------------- addresses


def test_the_address_of_a_file_tells_what_is_wanted() -> None:
    url = "https://h/mirror/u/r/resolve/refs%2Fpr%2F1/a/resolve/b%20c.gguf?x=secret"
    assert wanted_at(url, has_token=True) == Wanted(
        endpoint="https://h/mirror",
        repo="u/r",
        revision="refs/pr/1",
        path="a/resolve/b c.gguf",
        has_token=True,
    )
    assert wanted_at("https://h/u/r/tree/main", has_token=False) is None
    assert wanted_at("https://h/blob/abc?X-Amz-Signature=1", has_token=False) is None
