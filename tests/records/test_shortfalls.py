"""What is remembered of memory that ran out: the file, what it survives, and when it forgets."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from localllm.core.fingerprint import machine_key, model_key
from localllm.core.hardware import THIS_MACHINE
from localllm.core.planner import make_plan
from localllm.core.policy import Policy
from localllm.core.shortfall import Shortfall
from localllm.records.shortfall_store import MOST, ShortfallStore, parse_line, shortfall_line
from localllm.records.shortfalls import OwnShortfalls
from localllm.units import GiB
from tests.support.specs import gpu, llama_3_8b, machine, mixtral

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
HERE = replace(machine(gpu(free=6 * GiB)), source=THIS_MACHINE)
MODEL = llama_3_8b()
POLICY = Policy(n_ctx=4096)

CARD = Shortfall(
    time=NOW.isoformat(timespec="seconds"),
    machine=machine_key(HERE),
    model=model_key(MODEL),
    device="CUDA0",
    description="Test GPU",
    more_headroom_bytes=GiB,
)
RAM = replace(
    CARD, device="host", description="Test CPU", more_headroom_bytes=0, plain_weights=True
)


@pytest.fixture
def store(tmp_path: Path) -> ShortfallStore:
    return ShortfallStore(tmp_path / "state" / "shortfalls.jsonl")


def own(folder: Path, *, now: datetime = NOW, **variables: str) -> OwnShortfalls:
    environ = {"LOCALLLM_STATE_DIR": str(folder), **variables}
    return OwnShortfalls(environ=environ, now=lambda: now)


# -- the file ----------------------------------------------------------------------------------


def test_what_is_kept_comes_back_and_only_its_owner_reads_it(store: ShortfallStore) -> None:
    assert store.read(now=NOW) == ()
    store.add([CARD], now=NOW)
    store.add([RAM], now=NOW)
    assert store.read(now=NOW) == (CARD, RAM)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in store.path.parent.iterdir()] == ["shortfalls.jsonl"]


def test_a_later_one_takes_the_place_of_an_earlier(store: ShortfallStore) -> None:
    more = replace(CARD, more_headroom_bytes=2 * GiB)
    store.add([CARD, RAM], now=NOW)
    store.add([more], now=NOW)
    assert store.read(now=NOW) == (RAM, more)


def test_it_is_forgotten_after_a_month_and_not_believed_of_the_future(
    store: ShortfallStore,
) -> None:
    store.add([CARD], now=NOW)
    assert store.read(now=NOW + timedelta(days=29)) == (CARD,)
    assert store.read(now=NOW + timedelta(days=31)) == ()
    assert store.read(now=NOW - timedelta(days=2)) == ()


def test_the_file_does_not_grow_without_end(store: ShortfallStore) -> None:
    store.add([replace(CARD, device=f"CUDA{n}") for n in range(MOST + 50)], now=NOW)
    assert [each.device for each in store.read(now=NOW)][:1] == ["CUDA50"]


@pytest.mark.parametrize(
    "line",
    [
        shortfall_line(CARD)[:-9].encode(),
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        json.dumps({**json.loads(shortfall_line(CARD)), "schema": "localllm.shortfall/2"}).encode(),
        json.dumps({**json.loads(shortfall_line(CARD)), "time": "2026-11-20"}).encode(),
        json.dumps({**json.loads(shortfall_line(CARD)), "more_headroom_bytes": -1}).encode(),
        json.dumps({**json.loads(shortfall_line(CARD)), "plain_weights": 1}).encode(),
    ],
    ids=["torn", "bytes", "deep", "empty", "newer", "no zone", "negative", "no truth value"],
)
def test_a_line_that_cannot_be_read_costs_itself_alone(store: ShortfallStore, line: bytes) -> None:
    assert parse_line(line) is None
    store.path.parent.mkdir()
    store.path.write_bytes(line + b"\n" + shortfall_line(RAM).encode() + b"\n")
    assert store.read(now=NOW) == (RAM,)


# -- a session ---------------------------------------------------------------------------------


def test_another_session_knows_it_and_another_model_or_machine_does_not(tmp_path: Path) -> None:
    own(tmp_path).remember((CARD, RAM), HERE)
    later = own(tmp_path, now=NOW + timedelta(days=3))
    assert later.known(MODEL, HERE) == (CARD, RAM)
    assert later.known(mixtral(), HERE) == ()
    assert later.known(MODEL, replace(HERE, source="profile")) == ()
    other_card = replace(HERE, devices=(replace(gpu(), description="Another card"),))
    assert later.known(MODEL, other_card) == (RAM,)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_what_is_not_kept_is_known_while_the_session_lasts(tmp_path: Path, elsewhere: bool) -> None:
    """With measurements switched off, or on a machine that is not this one."""
    session = own(tmp_path, LOCALLLM_MEASUREMENTS="on" if elsewhere else "off")
    here = replace(HERE, source="a file") if elsewhere else HERE
    session.remember((CARD,), here)
    assert session.known(MODEL, here) == (CARD,)
    assert not list(tmp_path.iterdir())
    assert own(tmp_path).known(MODEL, here) == ()


def test_a_plan_that_held_all_the_same_makes_it_forgotten(tmp_path: Path) -> None:
    session = own(tmp_path)
    session.remember((CARD, RAM), HERE)
    full = make_plan(MODEL, HERE, POLICY)
    careful = replace(POLICY, headroom_by_device=(("CUDA0", GiB),))
    session.held(make_plan(MODEL, HERE, careful), careful)
    assert session.known(MODEL, HERE) == (CARD, RAM)
    session.held(full, POLICY)
    assert session.known(MODEL, HERE) == own(tmp_path).known(MODEL, HERE) == (RAM,)


def test_a_folder_that_cannot_be_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    session = own(tmp_path / "state")
    session.remember((CARD,), HERE)
    problem = session.problem()
    assert problem is not None and problem.startswith("That memory ran out could not be kept: ")
    assert session.problem() is None
    assert session.known(MODEL, HERE) == (CARD,)
