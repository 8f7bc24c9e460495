"""The Hub's side of the diagnosis: what is gathered without a network, and what is said of it."""

from __future__ import annotations

import fcntl
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from localllm.doctor.facts import HubFacts, LeftoverFile
from localllm.doctor.finding import Finding
from localllm.doctor.hub import gather_hub
from localllm.doctor.hub_findings import hub_findings
from localllm.hub.cache_layout import RepoFolder
from localllm.units import GiB
from tests.doctor.test_findings import HEALTHY

ETAG = "a" * 64


def found(**changes: Any) -> list[Finding]:
    return list(hub_findings(replace(HEALTHY, hub=replace(HEALTHY.hub, **changes))))


def texts(findings: list[Finding]) -> str:
    return "\n".join(finding.text for finding in findings)


def test_a_healthy_hub_is_one_line() -> None:
    (finding,) = found()
    assert finding.level == "ok"
    assert finding.text == "https://huggingface.co; token from HF_TOKEN"


def test_who_is_asked_and_as_whom_is_said() -> None:
    (finding,) = found(endpoint="http://m", is_default=False, token_source=None)
    assert finding.text == "http://m, by HF_ENDPOINT; no token: gated and private models need one"
    (finding,) = found(offline_by="HF_HUB_OFFLINE")
    assert "not asked: HF_HUB_OFFLINE forbids the network" in finding.text
    (finding,) = found(endpoint=None, endpoint_problem="HF_ENDPOINT (x) is not ...")
    assert (finding.level, finding.fix) == ("warn", "unset HF_ENDPOINT")
    _, finding = found(token_source="/home/me/token", token_is_plain=False)
    assert (finding.level, finding.fix) == ("warn", "hf auth login")
    assert "/home/me/token" in finding.text


def test_a_folder_without_links_or_locks_is_worth_a_warning() -> None:
    for changes, what in (({"can_link": False}, "links"), ({"file_system": "nfs4"}, "on nfs4")):
        _, finding = found(**changes)
        assert finding.level == "warn" and what in finding.text
        assert finding.fix is not None and finding.fix.startswith("export HF_HOME=")


def test_leftovers_are_told_with_their_sizes_and_what_removes_them() -> None:
    def left(kind: Any, n_bytes: int, repo: str | None = "u/r", in_use: bool = False) -> Any:
        return LeftoverFile(kind=kind, path="/x", n_bytes=n_bytes, repo=repo, in_use=in_use)

    _, finding = found(
        leftovers=(
            left("corrupt", GiB),
            left("partial", 2 * GiB),
            left("partial", GiB, "v/s"),
            left("dangling", 0, None),
            left("orphan", GiB, in_use=True),
        )
    )
    assert finding.text == (
        "2 unfinished downloads, 3.00 GiB (u/r, v/s); 1 damaged file, 1.00 GiB (u/r);"
        " 1 link to nothing"
    )
    assert (finding.level, finding.fix) == ("warn", "localllm prune")
    _, finding = found(leftovers=(left("partial", GiB),))
    assert (finding.level, finding.fix) == ("ok", None)
    assert "goes on where it was, localllm prune deletes it" in finding.text
    assert len(found(leftovers=(left("partial", GiB, in_use=True),))) == 1


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> NoReturn:
        raise AssertionError("the doctor asks nobody")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_the_state_of_the_cache_is_gathered(tmp_path: Path) -> None:
    folder = RepoFolder(root=tmp_path / "hub", repo="u/r")
    folder.blobs.mkdir(parents=True)
    folder.part(ETAG).write_bytes(b"GG")
    folder.corrupt("b" * 64).write_bytes(b"GGUF")
    (tmp_path / "token").write_text("hf_secret")
    environ = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://mirror", "HF_HUB_OFFLINE": "1"}
    hub = gather_hub(environ)
    assert replace(hub, leftovers=(), file_system=None) == HubFacts(
        endpoint="http://mirror",
        is_default=False,
        token_source=str(tmp_path / "token"),
        offline_by="HF_HUB_OFFLINE",
        can_link=True,
    )
    assert {(each.kind, each.n_bytes, each.repo, each.in_use) for each in hub.leftovers} == {
        ("partial", 2, "u/r", False),
        ("corrupt", 4, "u/r", False),
    }
    assert "secret" not in repr(hub)
    assert [path.name for path in (tmp_path / "hub").iterdir()] == ["models--u--r"]
    folder.lock(ETAG).parent.mkdir(parents=True)
    with folder.lock(ETAG).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        in_use = [each.kind for each in gather_hub(environ).leftovers if each.in_use]
    assert in_use == ["partial"]


def test_what_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    hub = gather_hub({"HF_HOME": str(tmp_path / "not" / "yet"), "HF_ENDPOINT": "nonsense"})
    assert (hub.can_link, hub.leftovers, hub.endpoint) == (None, (), None)
    assert "HF_ENDPOINT" in str(hub.endpoint_problem)
    assert not list(tmp_path.iterdir())
