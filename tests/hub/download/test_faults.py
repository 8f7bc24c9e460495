"""Whatever a server does: the right file, or an error that says so, and never a wrong file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localllm.errors import AccessError, IntegrityError, LocalLLMError, NotFoundError
from localllm.hub.http_refusals import UnreachableError
from tests.support.loopback_hub import Fault, LoopbackHub
from tests.support.one_fetch import BODY, ETAG, NAME, REPO, SMALL, OneFetch

SIZE = len(BODY)
HALF = SIZE // 2


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def one(hub: LoopbackHub, tmp_path: Path) -> Iterator[OneFetch]:
    yield OneFetch.on(hub, tmp_path)
    hub.heal()


def right(one: OneFetch) -> bool:
    """Fetch it; whether it is right, and nothing else is left."""
    found = one.fetch()
    return found.read_bytes() == BODY and found.resolve() == one.blob and not one.part.exists()


def starts(one: OneFetch) -> list[int]:
    """Where each request for bytes began."""
    return [int(asked.removesuffix("-")) for asked in one.hub.ranges()]


# ------------------------------------------------------------------------ it breaks


def test_an_early_end_goes_on_at_the_exact_byte(one: OneFetch) -> None:
    one.hub.fault(Fault(cut="fin", after=500_001))
    assert right(one)
    assert starts(one) == [0, 500_001]
    assert one.told[-1].n_received == SIZE


def test_a_reset_goes_on_where_the_kernel_had_delivered(one: OneFetch) -> None:
    for after in (500_000, 300_000, 100_000):
        one.hub.fault(Fault(cut="rst", after=after))
    assert right(one)
    first, *others = starts(one)
    assert first == 0 and len(others) == 3 and sorted(others) == others
    assert one.told[-1].n_received == SIZE  # nothing that had come was asked for again


def test_a_stall_ends_with_the_timeout_and_goes_on(one: OneFetch) -> None:
    one.timeout_s = 0.2
    one.hub.fault(Fault(cut="stall", after=HALF))
    assert right(one)
    assert starts(one) == [0, HALF]
    assert one.reasons() == ["the server does not answer, again in 0.01 s"]


def test_a_server_that_never_sends_a_byte_is_given_up_and_the_part_kept(one: OneFetch) -> None:
    one.leave_part(BODY[:HALF])
    one.hub.fault(Fault(cut="fin", after=0, times=-1))
    with pytest.raises(UnreachableError) as caught:
        one.fetch()
    assert caught.value.exit_code == 5
    assert "585.9 KiB of 1.14 MiB" in caught.value.message
    assert "same command again" in (caught.value.hint or "")
    assert starts(one) == [HALF] * 3  # as often as patience says
    assert one.part.read_bytes() == BODY[:HALF]
    assert one.names() == ["ETAG.part"]


def test_storage_that_is_gone_is_looked_for_anew(one: OneFetch) -> None:
    gone = {"Location": "http://127.0.0.1:9/nobody"}
    one.hub.fault(Fault(origin="hub", method="HEAD", headers=gone))
    one.hub.forget()
    assert right(one)
    assert len(one.hub.heads()) == 2


def test_any_new_byte_starts_the_count_again(one: OneFetch) -> None:
    for _ in range(7):  # more breaks than tries
        one.hub.fault(Fault(cut="fin", after=100_000))
    assert right(one)
    assert starts(one) == [n * 100_000 for n in range(8)]


def test_bytes_that_come_a_second_time_are_no_progress(one: OneFetch) -> None:
    one.leave_part(BODY[:HALF])
    one.hub.fault(Fault(ignore_range=True, cut="fin", after=100_000, times=-1))
    with pytest.raises(UnreachableError):
        one.fetch()
    assert len(starts(one)) == 3
    assert one.part.read_bytes() == BODY[:HALF]  # the same bytes, written over themselves


def test_a_trickle_arrives(one: OneFetch) -> None:
    one.hub.fault(Fault(piece_bytes=100_000, delay_s=0.01))
    assert right(one) and starts(one) == [0]


# --------------------------------------------------------------- it is refused for now


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_status_that_may_pass_is_waited_for(one: OneFetch, status: int) -> None:
    one.hub.fault(Fault(status=status))
    one.hub.fault(Fault(origin="hub", method="HEAD", status=status))
    assert right(one)
    assert len(one.hub.heads()) == 2 and starts(one) == [0, 0]
    assert len(one.reasons()) == 2 and all(str(status) in reason for reason in one.reasons())


@pytest.mark.parametrize("origin", ["hub", "cdn"])
def test_however_long_a_server_asks_for_the_wait_is_bounded_and_shown(
    one: OneFetch, origin: str
) -> None:
    one.patience = replace(one.patience, longest_asked_s=0.02)
    method = "HEAD" if origin == "hub" else "GET"
    one.hub.fault(
        Fault(origin=origin, method=method, status=429, headers={"Retry-After": "86400"})  # type: ignore[arg-type]  # one of the two
    )
    assert right(one)
    (reason,) = one.reasons()
    assert "429" in reason and reason.endswith("again in 0.02 s")


@pytest.mark.parametrize("asked", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_server_that_asks_for_no_wait_is_not_stormed(one: OneFetch, asked: str) -> None:
    one.patience = replace(one.patience, first_wait_s=0.03)
    one.hub.fault(Fault(status=429, headers={"Retry-After": asked}, times=2))
    assert right(one)
    assert [reason.rpartition(" in ")[2] for reason in one.reasons()] == ["0.03 s", "0.06 s"]


@pytest.mark.parametrize("origin", ["hub", "cdn"])
def test_an_answer_that_does_not_begin_in_time_is_a_failed_try(one: OneFetch, origin: str) -> None:
    one.patience = replace(one.patience, longest_answer_s=0.15)
    method = "HEAD" if origin == "hub" else "GET"
    # to whoever asks, a silence that the client's timeout lets pass is as a head that trickles in
    one.hub.fault(Fault(origin=origin, method=method, cut="stall"))  # type: ignore[arg-type]  # one of the two
    assert right(one)
    assert one.reasons() == ["the server takes too long to answer, again in 0.01 s"]


def test_a_reset_of_the_first_question_is_tried_again(one: OneFetch) -> None:
    one.hub.fault(Fault(origin="hub", method="HEAD", cut="rst", times=2))
    assert right(one) and len(one.hub.heads()) == 3


def test_a_silent_hub_is_given_up(one: OneFetch) -> None:
    one.timeout_s = 0.05
    one.hub.fault(Fault(origin="hub", method="HEAD", cut="stall", times=-1))
    with pytest.raises(UnreachableError, match=r"does not answer\. Nothing of it came"):
        one.fetch()
    assert len(one.hub.heads()) == 3
    assert not one.folder.folder.exists()


def test_a_network_that_goes_away_is_waited_for_and_one_that_is_not_there_is_not(
    tmp_path: Path,
) -> None:
    with LoopbackHub() as hub:
        one = OneFetch.on(hub, tmp_path)
        one.patience = replace(one.patience, n_tries=4)
        hub.fault(Fault(cut="fin", after=HALF))
        hub.fault(Fault(then=hub.stop))
        with pytest.raises(UnreachableError, match="refuses the connection"):
            one.fetch()
        assert "refuses the connection, again in" in one.reasons()[-1]
        assert one.part.stat().st_size == HALF
        one.told.clear()
        with pytest.raises(UnreachableError, match=r"connection\. What came is kept"):
            one.fetch()
        assert one.reasons() == []
        assert one.part.stat().st_size == HALF


# ------------------------------------------------------------------------- links age


def test_a_link_that_expires_half_way_is_asked_for_anew(one: OneFetch) -> None:
    one.hub.fault(Fault(cut="fin", after=HALF))
    one.hub.fault(Fault(then=one.hub.expire_links))
    assert right(one)
    assert starts(one) == [0, HALF, HALF]  # broken, refused, with the new address
    assert len(one.hub.heads()) == 2
    assert one.hub.asked("cdn")[1].status == 403


def test_links_that_are_never_good_are_given_up(one: OneFetch) -> None:
    one.hub.fault(Fault(status=403, times=-1))
    with pytest.raises(UnreachableError) as caught:
        one.fetch()
    assert "Signature" not in str(caught.value) and one.hub.cdn not in str(caught.value)
    assert len(starts(one)) == 3


def test_another_file_behind_the_new_link_is_refused(one: OneFetch) -> None:
    one.hub.fault(Fault(cut="fin", after=HALF))
    one.hub.fault(Fault(then=one.hub.expire_links))
    one.hub.fault(Fault(origin="hub", method="HEAD", skip=1, etag=f'"{"0" * 64}"'))
    with pytest.raises(IntegrityError, match="changed on the Hub"):
        one.fetch()
    assert one.names() == ["ETAG.part"]


# ------------------------------------------------------------------ it is not what it says


def test_a_branch_that_moves_half_way_moves_nothing(one: OneFetch) -> None:
    wanted = one.wanted()

    def move() -> None:
        one.hub.update_repo(REPO, {NAME: b"new"})
        one.hub.expire_links()

    one.hub.fault(Fault(cut="fin", after=HALF))
    one.hub.fault(Fault(then=move))
    assert one.fetch(wanted).read_bytes() == BODY
    assert one.hub.sha256(REPO, NAME) != ETAG


@pytest.mark.parametrize(
    "fault",
    [
        Fault(etag=f'"{"0" * 64}"'),
        Fault(size=SIZE + 1),
        Fault(commit="0" * 40),
    ],
    ids=["hash", "size", "commit"],
)
def test_a_file_that_is_another_than_the_listing_said(one: OneFetch, fault: Fault) -> None:
    fault.origin, fault.method, fault.times = "hub", "HEAD", -1
    one.hub.fault(fault)
    with pytest.raises(IntegrityError):
        one.fetch()
    assert starts(one) == [] and not one.folder.folder.exists()


@pytest.mark.parametrize(
    "etag", ["../../../x/pwned", "", "/etc/passwd", "A" * 64, "0" * 63, "W/x", "0" * 64 + "\\n"]
)
def test_a_hostile_name_of_the_content_never_becomes_a_path(
    one: OneFetch, tmp_path: Path, etag: str
) -> None:
    one.hub.fault(Fault(origin="hub", method="HEAD", etag=f'"{etag}"' if etag else "", times=-1))
    with pytest.raises(LocalLLMError):
        one.fetch(replace(one.wanted(), sha256=None))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../x.gguf", "/x.gguf", "a/../../x.gguf", "a\\x.gguf"])
def test_a_hostile_name_of_the_file_never_becomes_a_path(one: OneFetch, path: str) -> None:
    with pytest.raises(IntegrityError):
        one.fetch(replace(one.wanted(), path=path))
    assert one.hub.requests == [] and list(one.root.iterdir()) == []


def test_a_flipped_byte_is_fetched_once_more(one: OneFetch) -> None:
    one.hub.fault(Fault(corrupt_at=HALF))
    assert right(one)
    assert starts(one) == [0, 0]
    assert one.names() == ["ETAG", "ETAG.part.corrupt"]
    assert hashlib.sha256(one.corrupt.read_bytes()).hexdigest() != ETAG


def test_bytes_that_are_always_wrong_end_after_one_more_download(one: OneFetch) -> None:
    one.hub.fault(Fault(corrupt_at=-1, times=-1))
    with pytest.raises(IntegrityError, match="fetched twice") as caught:
        one.fetch()
    assert caught.value.exit_code == 7 and "ETAG.part.corrupt" in (
        (caught.value.hint or "").replace(ETAG, "ETAG")
    )
    assert starts(one) == [0, 0]
    assert one.names() == ["ETAG.part.corrupt"]


def test_a_small_file_is_held_to_what_git_calls_it(one: OneFetch) -> None:
    one.hub.fault(Fault(origin="hub", where=SMALL, corrupt_at=-1))
    found = one.fetch(one.wanted(SMALL))
    assert found.read_bytes() == b"# A model\n"
    assert len(found.resolve().name) == 40
    assert len(one.hub.gets("hub", SMALL)) == 2


def test_a_range_that_is_ignored_begins_anew(one: OneFetch) -> None:
    one.leave_part(BODY[:HALF])
    one.hub.fault(Fault(ignore_range=True))
    assert right(one)
    assert starts(one) == [HALF]
    assert one.told[-1].n_resumed == 0 and one.told[-1].n_received == SIZE


def test_what_lay_behind_a_broken_answer_from_the_start_counts_again(one: OneFetch) -> None:
    one.leave_part(BODY[:HALF])
    one.hub.fault(Fault(ignore_range=True, cut="fin", after=100_000))
    assert right(one)
    assert starts(one) == [HALF, HALF]


@pytest.mark.parametrize("shift", [-1000, 1000])
def test_another_range_than_was_asked_for_is_not_written(one: OneFetch, shift: int) -> None:
    one.leave_part(BODY[:HALF])
    one.hub.fault(Fault(shift_range=shift))
    assert right(one)
    assert starts(one) == [HALF, HALF]
    assert one.names() == ["ETAG"]


def test_other_bytes_under_the_right_range_are_found_out(one: OneFetch) -> None:
    one.leave_part(BODY[:HALF])
    one.hub.fault(Fault(shift_bytes=-1000))
    assert right(one)
    assert starts(one) == [HALF, 0]
    assert one.names() == ["ETAG", "ETAG.part.corrupt"]


@pytest.mark.parametrize(
    "fault",
    [Fault(surplus=b"more"), Fault(short=7), Fault(gzip=True), Fault(chunked=True)],
    ids=["surplus", "short", "gzip", "chunked"],
)
@pytest.mark.parametrize("times", [1, -1])
def test_an_answer_of_another_form(one: OneFetch, fault: Fault, times: int) -> None:
    one.hub.fault(replace(fault, times=times))
    try:
        assert right(one)
    except LocalLLMError as error:
        assert error.exit_code in (5, 7)
        assert not one.blob.exists()


# --------------------------------------------------------------------- it is refused


def test_who_may_not_have_it_leaves_no_trace(one: OneFetch) -> None:
    one.hub.repos[REPO].gated = "auto"
    with pytest.raises(AccessError):
        one.fetch()
    one.hub.repos[REPO].gated = False
    with pytest.raises(NotFoundError):
        one.fetch(replace(one.wanted(), path="none.gguf"))
    assert not one.folder.folder.exists() and not (one.root / ".locks").exists()


def test_nothing_signed_is_ever_told(one: OneFetch) -> None:
    one.hub.fault(Fault(cut="rst", after=HALF))
    one.hub.fault(Fault(status=403, times=-1))
    with pytest.raises(UnreachableError) as caught:
        one.fetch()
    told = repr((one.told, caught.value.message, caught.value.hint))
    assert "X-Amz" not in told and one.hub.cdn not in told and "http" not in told


# ------------------------------------------------------------------------ all at once

_CUTS = st.builds(
    Fault,
    cut=st.sampled_from(["rst", "fin"]),
    after=st.integers(0, SIZE - 1),
    ignore_range=st.booleans(),
)
_LIES = st.sampled_from(
    [
        {"corrupt_at": HALF},
        {"shift_bytes": -64},
        {"shift_range": 64},
        {"surplus": b"x"},
        {"short": 1},
    ]
).map(lambda changes: Fault(**changes))  # type: ignore[arg-type]  # each is one of its fields
_REFUSALS = st.sampled_from([403, 429, 500]).map(lambda status: Fault(status=status))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    faults=st.lists(_CUTS | _LIES | _REFUSALS, max_size=6),
    left=st.integers(0, SIZE + 1),
    is_left_right=st.booleans(),
)
def test_whatever_goes_wrong_no_file_is_wrong_and_a_plain_rerun_gets_it(
    one: OneFetch, faults: list[Fault], left: int, is_left_right: bool
) -> None:
    one.hub.heal()
    for path in [one.blob, one.corrupt, one.part, one.folder.snapshot(one.wanted().commit, NAME)]:
        path.unlink(missing_ok=True)
    data = (BODY + b"x")[:left]
    one.leave_part(data if is_left_right else data[::-1])
    for fault in faults:
        one.hub.fault(replace(fault))
    try:
        one.fetch()
    except LocalLLMError:
        assert not one.blob.exists()
        one.hub.heal()
        one.fetch()
    assert one.blob.read_bytes() == BODY
