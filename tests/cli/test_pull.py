"""``localllm pull``: what is fetched, what is said of it, and what a stopped one leaves."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.cli.conftest import Command
from tests.support.loopback_hub import Fault, LoopbackHub

REPO = "maker/Toy-GGUF"
NAME = f"{REPO}:F16"


@pytest.fixture
def hub(
    plain_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_model: Path
) -> Iterator[LoopbackHub]:
    """A Hub with one model, and an empty cache."""
    with LoopbackHub() as served:
        served.add_repo(REPO, {"Toy-F16.gguf": toy_model})
        for name in list(os.environ):
            if name.startswith("HF_"):
                monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        yield served


def test_a_model_is_fetched_once_and_its_path_printed(
    localllm: Command, hub: LoopbackHub, toy_model: Path
) -> None:
    done = localllm("pull", REPO)
    assert done.code == 0
    path = Path(done.out.strip())
    digest = hashlib.sha256(toy_model.read_bytes()).hexdigest()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    *before, last = done.err.splitlines()
    assert f"fetching {NAME}: 671.3 KiB" in before
    assert last.startswith(f"fetched {NAME}: 671.3 KiB in ") and "verified (SHA-256)" in last
    n_asked = len(hub.asked("cdn"))
    again = localllm("pull", NAME)
    assert again.out == done.out and again.err == f"note: {NAME} is here (671.3 KiB).\n"
    assert len(hub.asked("cdn")) == n_asked


def test_the_document_says_what_came(localllm: Command, hub: LoopbackHub, toy_model: Path) -> None:
    document = json.loads(localllm("pull", REPO, "--json").out)
    assert document["schema"] == "localllm.pull/1" and document["was_here"] is False
    assert document["name"] == NAME and document["quant"] == "F16"
    assert document["fetched_bytes"] == document["n_bytes"] == toy_model.stat().st_size
    assert Path(document["files"][0]).name == "Toy-F16.gguf"
    again = json.loads(localllm("pull", REPO, "--json").out)
    assert again["was_here"] is True and again["fetched_bytes"] == 0


def test_a_dry_run_says_what_it_would_cost_and_fetches_no_weights(
    localllm: Command, hub: LoopbackHub, toy_model: Path
) -> None:
    said = localllm("pull", NAME, "--dry-run")
    assert said.code == 0 and f"{NAME}: 671.3 KiB to download" in said.out
    document = json.loads(localllm("pull", NAME, "--dry-run", "--json").out)
    assert document["is_dry_run"] and document["files"] == []
    assert document["fetched_bytes"] == document["n_bytes"] == toy_model.stat().st_size
    assert json.loads(localllm("list", "--json", "--no-plan").out)["models"] == []


def test_a_fresh_one_asks_for_what_is_new(localllm: Command, hub: LoopbackHub) -> None:
    old = localllm("pull", REPO).out
    hub.update_repo(REPO, {"README.md": b"# New"})
    assert localllm("pull", REPO).out == old
    new = localllm("pull", REPO, "--fresh").out
    assert new != old and Path(new.strip()).exists()


def test_a_quantisation_that_is_not_there_names_those_that_are(
    localllm: Command, hub: LoopbackHub
) -> None:
    failed = localllm("pull", f"{REPO}:Q4_K_M")
    assert (failed.code, failed.out) == (5, "") and "F16" in failed.err
    failed = localllm("pull", "maker/Nothing-GGUF")
    assert (failed.code, failed.out) == (5, "")


def test_what_is_not_here_is_shown_by_its_header_and_its_listing(
    localllm: Command, hub: LoopbackHub, toy_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("maker/Gated-GGUF", {"Toy-F16.gguf": toy_model}, gated="manual", licence="llama3")
    document = json.loads(localllm("show", REPO, "--json").out)
    assert document["known_by"] == "its header on a server" and document["gated"] is False
    assert document["files"] == [
        {
            "place": "Toy-F16.gguf",
            "n_bytes": toy_model.stat().st_size,
            "sha256": hashlib.sha256(toy_model.read_bytes()).hexdigest(),
        }
    ]
    monkeypatch.setenv("HF_TOKEN", hub.token)
    page = " ".join(localllm("show", "maker/Gated-GGUF").out.split())
    assert "Licence llama3, gated: to be accepted before a download" in page
    monkeypatch.delenv("HF_TOKEN")
    gated = localllm("pull", "maker/Gated-GGUF")
    assert (gated.code, gated.out) == (4, "")


def test_what_was_set_aside_is_fetched_anew(
    localllm: Command, hub: LoopbackHub, toy_model: Path
) -> None:
    path = Path(localllm("pull", NAME).out.strip())
    blob = path.resolve()
    blob.chmod(0o644)
    blob.write_bytes(toy_model.read_bytes()[:-1] + b"\xff")
    assert localllm("verify", "--repair").code == 7
    assert localllm("pull", NAME).code == 0
    assert localllm("verify").code == 0
    assert path.read_bytes() == toy_model.read_bytes()


def test_offline_nothing_is_asked(localllm: Command, hub: LoopbackHub) -> None:
    os.environ.pop("HF_HUB_OFFLINE", None)
    try:
        failed = localllm("pull", REPO, "--offline")
    finally:
        os.environ.pop("HF_HUB_OFFLINE", None)  # what the option sets
    assert failed.code == 5 and "no network" in failed.err
    assert hub.asked("hub") == []


def test_wrong_bytes_make_exit_code_7(localllm: Command, hub: LoopbackHub) -> None:
    hub.fault(Fault(corrupt_at=-1, times=-1))
    failed = localllm("pull", REPO)
    assert (failed.code, failed.out) == (7, "")


def test_stopped_it_says_how_to_go_on_and_goes_on_there(hub: LoopbackHub, tmp_path: Path) -> None:
    fault = hub.fault(Fault(origin="cdn", where="Toy-F16.gguf", cut="stall", after=300_000, skip=1))
    child = pexpect.spawn(
        sys.executable,
        ["-m", "localllm", "pull", NAME],
        env={**os.environ, "LANG": "C.UTF-8"},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=30,
    )
    assert fault.reached.wait(20)
    child.expect(r"[1-9]\d% · ")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert f"are kept: `localllm pull {NAME}`" in child.before
    fault.released.set()
    hub.forget()
    child = pexpect.spawn(
        sys.executable,
        ["-m", "localllm", "pull", NAME],
        env={**os.environ, "LANG": "C.UTF-8"},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=30,
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0 and "of it were here" in child.before
    assert any(start != "0" for start in (each.split("-")[0] for each in hub.ranges()))
