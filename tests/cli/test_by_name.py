"""Models by name, end to end: a whole command, the real engine, a Hub on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localllm.hub.names.sources import repositories_of
from tests.support import shapes
from tests.support.gguf_maker import make_model, make_split_model
from tests.support.loopback_hub import LoopbackHub

NAME = "smollm2-135m"
ASKED = ("-p", "hi", "-n", "3", "--greedy", "--json")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of a person who has nothing yet: folders of its own, and a Hub."""

    home: Path
    hub: LoopbackHub

    @property
    def environ(self) -> dict[str, str]:
        own = {
            "HF_HOME": str(self.home / "hf"),
            "HF_ENDPOINT": self.hub.endpoint,
            "HOME": str(self.home),
            "LOCALLLM_CACHE_DIR": str(self.home / "cache"),
            "LOCALLLM_STATE_DIR": str(self.home / "state"),
            "LOCALLLM_CONFIG_DIR": str(self.home / "config"),
        }
        return {**os.environ, **own}

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "localllm", *arguments],
            env={**self.environ, **more},
            capture_output=True,
            text=True,
            timeout=100,
        )

    @property
    def blobs(self) -> list[Path]:
        return sorted(self.home.glob("hf/hub/models--*/blobs/*"))


@pytest.fixture(scope="module")
def files(models_dir: Path) -> dict[str, Path]:
    """What a publisher offers: one quantisation in parts, one whole, and a projector."""
    folder = models_dir / "published"
    folder.mkdir(exist_ok=True)
    parts = make_split_model(folder, shapes.TOY, n_parts=3, quant="Q8_0", sparse=False)
    whole = make_model(folder / "toy-Q4_0.gguf", shapes.TOY, quant="Q4_0", sparse=False)
    offered = {f"Q8_0/toy-Q8_0{part.name[-20:]}": part for part in parts}
    return {**offered, "toy-Q4_0.gguf": whole, "mmproj-toy-F16.gguf": whole}


@pytest.fixture
def machine(tmp_path: Path, files: dict[str, Path]) -> Iterator[Machine]:
    source = repositories_of(NAME)
    assert source is not None
    with LoopbackHub() as hub:
        hub.add_repo(source.repos[0], files)
        yield Machine(home=tmp_path, hub=hub)


def test_a_name_on_an_empty_machine_is_found_chosen_fetched_verified_and_answers(
    machine: Machine,
) -> None:
    first = machine.run("chat", NAME, *ASKED)
    assert first.returncode == 0, first.stderr
    answer = json.loads(first.stdout)
    assert answer["stats"]["n_gen"] == 3 and answer["quant"] == "Q8_0"
    assert "Q8_0" in first.stderr and "next best is Q4_0" in first.stderr
    assert "verified (SHA-256)" in first.stderr
    assert len(machine.blobs) == 3 and all(len(each.name) == 64 for each in machine.blobs)

    machine.hub.forget()
    again = machine.run("chat", NAME, *ASKED)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["content"] == answer["content"]
    assert machine.hub.requests == []  # what is here is not looked up


def test_offline_not_one_packet_leaves_and_what_is_here_works(machine: Machine) -> None:
    absent = machine.run("chat", NAME, *ASKED, "--offline")
    assert absent.returncode == 5 and "no network" in absent.stderr
    assert machine.run("pull", f"{NAME}:Q8_0").returncode == 0
    machine.hub.forget()
    here = machine.run("chat", f"{NAME}:q8_0", *ASKED, HF_HUB_OFFLINE="1")
    assert here.returncode == 0, here.stderr
    assert machine.run("list", "--json", HF_HUB_OFFLINE="1").returncode == 0
    assert machine.hub.requests == []


def test_a_plan_of_a_repository_reads_headers_and_no_weights(
    machine: Machine, files: dict[str, Path]
) -> None:
    source = repositories_of(NAME)
    assert source is not None
    planned = machine.run("plan", f"{source.repos[0]}:Q8_0", "--json", "--basis", "formula")
    assert planned.returncode == 0, planned.stderr
    document = json.loads(planned.stdout)
    assert document["model"]["quant"] == "Q8_0" and document["verdict"] == "fits"
    assert machine.blobs == []
    machine.hub.forget()
    again = machine.run(
        "plan", f"{source.repos[0]}:Q8_0", "--json", "--basis", "formula", "--offline"
    )
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["model"] == document["model"]
    assert machine.hub.requests == []


def test_ctrl_c_keeps_what_came_and_says_what_continues(machine: Machine) -> None:
    machine.hub.rate = 200_000
    running = subprocess.Popen(
        [sys.executable, "-m", "localllm", "pull", f"{NAME}:Q4_0"],
        env=machine.environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while not any(each.stat().st_size for each in machine.blobs):
        assert time.monotonic() < deadline and running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=20)
    assert running.returncode == 130, said
    source = repositories_of(NAME)
    assert source is not None  # what was chosen goes on, whatever would be chosen now
    assert f"localllm pull {source.repos[0]}:Q4_0" in said and "Traceback" not in said
    (part,) = machine.blobs
    assert part.name.endswith(".part")
    here = part.stat().st_size
    assert here > 0
    machine.hub.rate = None
    machine.hub.forget()
    done = machine.run("pull", f"{NAME}:Q4_0")
    assert done.returncode == 0, done.stderr
    assert f"{here}-" in machine.hub.ranges("toy-Q4_0.gguf")


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("user/gated:Q8_0", 4, "accept"),
        ("user/private", 5, "private"),
        ("user/toy-GGUF:Q9_Z", 5, "On offer"),
        ("user/toy-GGUF@nowhere", 5, "revision"),
        ("user/nothing-GGUF", 5, "GGUF"),
        ("smolm2-135m", 5, "Did you mean"),
    ],
)
def test_what_cannot_be_had_says_why_and_what_to_do(
    machine: Machine, files: dict[str, Path], name: str, code: int, words: str
) -> None:
    machine.hub.add_repo("user/gated", files, gated="auto")
    machine.hub.add_repo("user/private", files, private=True)
    machine.hub.add_repo("user/toy-GGUF", files)
    machine.hub.add_repo("user/nothing-GGUF", {"README.md": b"# nothing"})
    refused = machine.run("pull", name)
    assert refused.returncode == code, refused.stderr
    assert words in refused.stderr and "hint:" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_next_publisher_is_asked_where_the_first_has_not_what_is_wanted(
    machine: Machine, files: dict[str, Path]
) -> None:
    source = repositories_of(NAME)
    assert source is not None and len(source.repos) > 1
    machine.hub.add_repo(source.repos[1], {"toy-Q5_0.gguf": files["toy-Q4_0.gguf"]})
    fetched = machine.run("pull", f"{NAME}:Q5_0")
    assert fetched.returncode == 0, fetched.stderr
    assert source.repos[1] in fetched.stderr


def test_a_quantisation_means_one_file_whatever_else_is_here(
    machine: Machine, files: dict[str, Path]
) -> None:
    one = files["toy-Q4_0.gguf"]
    other = make_model(machine.home / "other.gguf", shapes.TOY, quant="Q4_0", sparse=False, seed=1)
    machine.hub.add_repo("me/duo-GGUF", {"duo-Q4_0.gguf": one, "instruct-Q4_0.gguf": other})
    by_path = machine.run("pull", "me/duo-GGUF:instruct-Q4_0.gguf", "--json")
    assert by_path.returncode == 0, by_path.stderr
    assert json.loads(by_path.stdout)["name"] == "me/duo-GGUF:instruct-Q4_0.gguf"
    by_quant = machine.run("pull", "me/duo-GGUF:Q4_0", "--json")
    assert "instruct-Q4_0.gguf" in by_quant.stderr  # there is another one, and how to name it
    assert json.loads(by_quant.stdout)["files"][0].endswith("/duo-Q4_0.gguf")


def test_what_is_damaged_here_is_refused_and_pulled_anew(machine: Machine) -> None:
    assert machine.run("pull", f"{NAME}:Q4_0").returncode == 0
    (blob,) = machine.blobs
    right = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(right[:1000])
    refused = machine.run("chat", NAME, *ASKED)
    assert refused.returncode == 7 and f"localllm pull {NAME}" in refused.stderr
    mended = machine.run("pull", f"{NAME}:Q4_0")
    assert mended.returncode == 0, mended.stderr
    assert blob.read_bytes() == right


def test_an_own_alias_means_what_it_says(machine: Machine) -> None:
    source = repositories_of(NAME)
    assert source is not None
    config = machine.home / "config" / "config.toml"
    config.parent.mkdir()
    config.write_text(f'[models]\nmine = "{source.repos[0]}:Q4_0"\n')
    fetched = machine.run("pull", "Mine")
    assert fetched.returncode == 0, fetched.stderr
    assert len(machine.blobs) == 1
    assert machine.run("chat", "mine", *ASKED).returncode == 0
