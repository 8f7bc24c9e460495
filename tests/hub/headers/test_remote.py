"""Models on a server: their header, their parts, what is kept, and what is said when it fails."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from localllm.errors import (
    AccessError,
    GGUFError,
    IntegrityError,
    LocalLLMError,
    NotFoundError,
    UsageError,
)
from localllm.hub.gguf.reader import read_header
from localllm.hub.headers import remote
from localllm.hub.headers.cache import HeaderCache
from localllm.hub.headers.remote import Reading, RemoteModel, remote_model
from localllm.hub.resolve import resolve
from tests.support.gguf_maker import make_model, make_split_model, model_header
from tests.support.gguf_writer import U16, header_bytes, scalar, string, strings
from tests.support.loopback import IMPATIENT, Fault, LoopbackServer
from tests.support.loopback_hub import Fault as HubFault
from tests.support.loopback_hub import LoopbackHub
from tests.support.shapes import LLAMA_3_8B, TOY, TOY_MOE

Get = Callable[[str], RemoteModel]


@pytest.fixture
def get(cache: HeaderCache, environ: dict[str, str]) -> Get:
    """Read a model as on one machine with one cache."""

    def get(address: str) -> RemoteModel:
        return remote_model(address, environ=environ, cache=cache, patience=IMPATIENT)

    return get


def serve_parts(server: LoopbackServer, folder: Path, n_parts: int = 5) -> list[str]:
    """Serve a split model; returns the addresses of its parts."""
    parts = make_split_model(folder, TOY, n_parts=n_parts, quant="F16")
    return [server.serve(f"/m/{part.name}", part.read_bytes()) for part in parts]


def test_a_remote_model_is_the_local_one(toy_model: Path, server: LoopbackServer, get: Get) -> None:
    local = resolve(str(toy_model))
    url = server.serve("/m/toy.gguf", toy_model.read_bytes())
    model = get(url)
    assert (model.name, model.url, model.spec.source) == ("toy", url, url)
    assert model.spec.tensors == local.spec.tensors
    assert model.spec.layers == local.spec.layers
    assert model.spec.metadata == local.spec.metadata
    assert model.spec.file_bytes == toy_model.stat().st_size
    assert not model.recorded and model.notes == ()


def test_an_8b_costs_its_header_and_not_its_weights(
    server: LoopbackServer, get: Get, tmp_path: Path
) -> None:
    header, size = model_header(LLAMA_3_8B)
    model = get(server.serve("/m/llama-3-8b.gguf", header, size))
    assert model.spec.file_bytes == size > 4 * 2**30
    assert len(model.spec.tensors) == 291
    assert model.n_fetched_bytes <= 1.5 * len(header) + 2**17
    assert len(server.asked) == 1
    (full,) = model.header_files(tmp_path, vocabulary=True)
    assert full.stat().st_size == size
    assert full.stat().st_blocks * 512 < len(header) + 100_000
    assert read_header(full).n_tokens == 128_256
    (bare,) = model.header_files(tmp_path, vocabulary=False)
    assert read_header(bare).metadata["llama.vocab_size"] == 128_256


@pytest.mark.parametrize("first", [100, 5_000, 10**6])
def test_little_more_is_fetched_than_the_header(
    server: LoopbackServer, get: Get, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    monkeypatch.setattr(remote, "FIRST_PARSE_BYTES", first)
    header, size = model_header(TOY)
    model = get(server.serve("/m/toy.gguf", header, size))
    assert len(header) <= model.n_fetched_bytes
    assert model.n_fetched_bytes <= max(first, 1.5 * len(header)) + 64 * 1024
    assert server.ranges() == [f"0-{64 * 2**20 - 1}"]


def test_a_broken_transfer_goes_on_where_it_ended(server: LoopbackServer, get: Get) -> None:
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    server.fault(Fault(cut="fin", after=9_000))
    assert get(url).spec.name == "Toy"
    assert [each.partition("-")[0] for each in server.ranges()] == ["0", "9000"]


def test_all_parts_of_a_split_model_are_read(
    server: LoopbackServer, get: Get, tmp_path: Path
) -> None:
    urls = serve_parts(server, tmp_path)
    local = resolve(str(tmp_path / urls[0].rpartition("/")[2]))
    for url in (urls[0], urls[3]):
        model = get(url)
        assert (model.name, model.url) == ("Toy", urls[0])
        assert model.spec.tensors == local.spec.tensors
        assert model.spec.file_bytes == local.spec.file_bytes
    files = model.header_files(tmp_path / "hollow", vocabulary=True)
    assert [path.stat().st_size for path in files] == [
        path.stat().st_size for path in sorted(tmp_path.glob("Toy-*.gguf"))
    ]


def test_parts_keep_the_query_of_their_address(
    server: LoopbackServer, get: Get, tmp_path: Path
) -> None:
    urls = serve_parts(server, tmp_path, n_parts=2)
    get(urls[0] + "?token=a%2Fb")
    assert {asked.path.partition("?")[2] for asked in server.asked} == {"token=a%2Fb"}


def test_parts_are_read_a_few_at_once(server: LoopbackServer, get: Get, tmp_path: Path) -> None:
    urls = serve_parts(server, tmp_path, n_parts=12)
    n_now, n_most, lock = 0, 0, threading.Lock()
    take_fault = server.take_fault

    def counted(path: str) -> Fault | None:
        nonlocal n_now, n_most
        with lock:
            n_now += 1
            n_most = max(n_most, n_now)
        time.sleep(0.02)
        with lock:
            n_now -= 1
        return take_fault(path)

    server.take_fault = counted  # type: ignore[method-assign]
    get(urls[0])
    assert 2 <= n_most <= remote.N_AT_ONCE


def test_a_missing_part_is_named(server: LoopbackServer, get: Get, tmp_path: Path) -> None:
    urls = serve_parts(server, tmp_path, n_parts=3)
    del server.files[urls[2].removeprefix(server.origin)]
    with pytest.raises(NotFoundError, match=r"no file at .*Toy-00003-of-00003\.gguf"):
        get(urls[0])


def test_a_part_of_another_model_is_refused(
    server: LoopbackServer, get: Get, tmp_path: Path
) -> None:
    urls = serve_parts(server, tmp_path, n_parts=3)
    (tmp_path / "b").mkdir()
    other = make_split_model(tmp_path / "b", TOY_MOE, n_parts=3, quant="F16")
    server.serve(urls[1].removeprefix(server.origin), other[1].read_bytes())
    with pytest.raises(GGUFError, match="parts"):
        get(urls[0])


def test_a_part_of_a_model_that_has_none_is_refused(
    toy_model: Path, server: LoopbackServer, get: Get
) -> None:
    server.serve("/toy-00001-of-00002.gguf", toy_model.read_bytes())
    url = server.serve("/toy-00002-of-00002.gguf", toy_model.read_bytes())
    with pytest.raises(GGUFError, match="says nothing of parts"):
        get(url)


# ------------------------------------------------------------------------- what is kept


def test_a_second_look_costs_one_byte(server: LoopbackServer, get: Get) -> None:
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    first = get(url)
    second = get(url)
    assert second.n_fetched_bytes == 1 and server.ranges()[-1] == "0-0"
    assert second.parts == first.parts and second.spec == first.spec
    assert second.notes == ()


@pytest.mark.parametrize("change", ["etag", "last_modified", "size"])
def test_a_changed_file_is_read_anew(
    toy_model: Path, server: LoopbackServer, get: Get, tmp_path: Path, change: str
) -> None:
    url = server.serve("/m/toy.gguf", toy_model.read_bytes())
    get(url)
    again = make_model(tmp_path / "n.gguf", TOY, extra={"general.name": string("Tou")}, quant="F16")
    served = server.files["/m/toy.gguf"]
    served.data = again.read_bytes()
    setattr(served, change, served.size + 32 if change == "size" else '"two"')
    assert get(url).spec.name == "Tou"


def test_a_file_whose_version_has_no_name_is_read_each_time(
    server: LoopbackServer, get: Get
) -> None:
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    server.files["/m/toy.gguf"].etag = server.files["/m/toy.gguf"].last_modified = None
    get(url)
    assert get(url).n_fetched_bytes > 1000
    server.stop()
    assert "its server cannot be reached" in get(url).notes[0]


def test_without_a_server_the_stored_header_serves_and_says_so(
    server: LoopbackServer, get: Get, tmp_path: Path
) -> None:
    urls = serve_parts(server, tmp_path, n_parts=3)
    online = get(urls[0])
    server.stop()
    model = get(urls[1])
    assert model.spec == online.spec
    (note,) = model.notes
    assert note.startswith("The header is the one stored on 2") and "cannot be reached" in note


def test_a_server_out_of_order_leaves_the_stored_header(server: LoopbackServer, get: Get) -> None:
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    get(url)
    server.fault(Fault(status=503, times=-1))
    assert get(url).notes


@pytest.mark.parametrize(("status", "error"), [(403, AccessError), (404, NotFoundError)])
def test_what_the_server_withdraws_is_not_served_from_the_cache(
    server: LoopbackServer, get: Get, status: int, error: type[LocalLLMError]
) -> None:
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    get(url)
    server.fault(Fault(status=status, times=-1))
    with pytest.raises(error):
        get(url)


def test_offline_no_request_is_made(
    server: LoopbackServer, get: Get, environ: dict[str, str]
) -> None:
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    environ["HF_HUB_OFFLINE"] = "1"
    with pytest.raises(NotFoundError, match=r"header of .*toy\.gguf is not here") as caught:
        get(url)
    assert caught.value.exit_code == 5 and caught.value.hint
    environ["HF_HUB_OFFLINE"] = "0"
    get(url)
    n_asked = len(server.asked)
    environ["HF_HUB_OFFLINE"] = "yes"
    assert "HF_HUB_OFFLINE is set" in get(url).notes[0]
    assert len(server.asked) == n_asked


def test_a_damaged_store_is_read_anew(server: LoopbackServer, get: Get, tmp_path: Path) -> None:
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    spec = get(url).spec
    (blob,) = (tmp_path / "cache" / "blobs").iterdir()
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    assert get(url).spec == spec
    assert server.ranges()[-1] != "0-0"
    assert get(url).n_fetched_bytes == 1


# ------------------------------------------------------------------------- what fails


def test_a_file_that_changes_while_it_is_read_is_read_from_its_start(
    server: LoopbackServer, get: Get
) -> None:
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    server.fault(Fault(headers={"ETag": '"before the upload"'}, cut="fin", after=9_000))
    assert get(url).spec.name == "Toy"
    assert [each.partition("-")[0] for each in server.ranges()] == ["0", "9000", "0"]


def test_a_file_that_changes_all_the_time_is_refused(server: LoopbackServer, get: Get) -> None:
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    for n in range(10):
        server.fault(Fault(headers={"ETag": f'"{n}"'}, cut="fin", after=9_000))
    with pytest.raises(IntegrityError, match="changed while it was read"):
        get(url)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<html>Sign in</html>" + b" " * 2000, "an HTML page"),
        (b"PK\3\4" + b"\0" * 2000, "a PyTorch checkpoint"),
        (b"GGUF\x03\0\0\0", "only the beginning"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 2000, "cannot be in"),
        (b"", "empty"),
    ],
)
def test_what_is_no_model_is_named(
    server: LoopbackServer, get: Get, body: bytes, what: str
) -> None:
    with pytest.raises(GGUFError, match=what) as caught:
        get(server.serve("/m/x.gguf", body))
    assert caught.value.exit_code == 7
    assert caught.value.message.startswith("x.gguf: ")
    assert "127.0.0.1 serves is not a whole model file" in str(caught.value.hint)


def test_a_file_that_ends_before_its_weights_is_refused(server: LoopbackServer, get: Get) -> None:
    header, size = model_header(TOY)
    with pytest.raises(GGUFError, match="the file is incomplete"):
        get(server.serve("/m/toy.gguf", header, size - 1000))


def test_a_size_beyond_measure_costs_nothing(
    server: LoopbackServer, get: Get, tmp_path: Path
) -> None:
    header, _ = model_header(TOY)
    server.serve("/m/toy.gguf", header, 2**63 - 1)
    model = get(f"{server.origin}/m/toy.gguf")
    with pytest.raises(LocalLLMError):
        model.header_files(tmp_path, vocabulary=True)
    assert read_header(model.header_files(tmp_path, vocabulary=False)[0]).tensors


def test_a_header_without_an_end_is_left(
    server: LoopbackServer, get: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "MAX_HEADER_BYTES", 2**20)
    start = b"GGUF\x03\0\0\0" + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
    tokens = strings([]).payload[:4] + (10**6).to_bytes(8, "little")
    key = (3).to_bytes(8, "little") + b"key" + (9).to_bytes(4, "little") + tokens
    server.serve("/m/x.gguf", start + key, 2**40)  # a million empty strings, and on
    with pytest.raises(GGUFError, match="the header is larger than") as caught:
        get(f"{server.origin}/m/x.gguf")
    assert caught.value.exit_code == 7
    assert server.ranges() == [f"0-{2**20 - 1}"]


def test_a_split_of_too_many_parts_is_refused(server: LoopbackServer, get: Get) -> None:
    keys = {
        "general.architecture": string("llama"),
        "split.no": scalar(U16, 0),
        "split.count": scalar(U16, 65_535),
    }
    url = server.serve("/m/x-00001-of-65535.gguf", header_bytes(keys, []))
    with pytest.raises(GGUFError, match="claims to have 65,535 parts"):
        get(url)
    assert len(server.asked) == 1


def test_a_file_that_is_no_model_says_what_it_is(server: LoopbackServer, get: Get) -> None:
    keys = {"general.architecture": string("clip"), "general.type": string("mmproj")}
    with pytest.raises(UsageError, match=r"mmproj\.gguf: this file is a vision"):
        get(server.serve("/mmproj.gguf", header_bytes(keys, [])))


def test_no_query_and_no_secret_is_ever_shown(
    server: LoopbackServer, get: Get, environ: dict[str, str], tmp_path: Path
) -> None:
    environ |= {"HF_TOKEN": "hf_secret", "HF_ENDPOINT": server.origin}
    url = server.serve("/m/toy.gguf", *model_header(TOY)).replace("//", "//me:hf_secret@")
    model = get(url + "?X-Signature=hf_secret#hf_secret")
    shown = [repr(model), model.url, model.spec.source]
    for status in (401, 403, 404, 418, 429, 200):
        server.faults = [Fault(status=status, times=-1)]
        with pytest.raises(LocalLLMError) as caught:
            get(url + f"?X-Signature=hf_secret&{status}")
        shown += [caught.value.message, str(caught.value.hint)]
    shown += [path.read_text() for path in (tmp_path / "cache" / "urls").iterdir()]
    assert not any("hf_secret" in each for each in shown)


def test_progress_is_told_from_the_caller_s_thread(
    server: LoopbackServer, cache: HeaderCache, environ: dict[str, str]
) -> None:
    told: list[Reading] = []
    threads = set()

    def on_reading(reading: Reading) -> None:
        told.append(reading)
        threads.add(threading.get_ident())

    url = server.serve("/m/toy.gguf", *model_header(TOY))
    server.fault(Fault(status=503, headers={"Retry-After": "1"}))
    model = remote_model(
        url, environ=environ, cache=cache, patience=IMPATIENT, on_reading=on_reading
    )
    assert threads == {threading.get_ident()}
    assert told[-1] == Reading(n_bytes=model.n_fetched_bytes)
    assert any(each.waiting_for == "the server answers with status 503" for each in told)


def test_what_the_listener_raises_ends_the_reading(
    server: LoopbackServer, cache: HeaderCache, environ: dict[str, str]
) -> None:
    """As Ctrl-C does: the caller's thread is free while the server is silent."""
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    server.fault(Fault(cut="stall", before_status=True, times=-1))

    def on_reading(reading: Reading) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        remote_model(url, environ=environ, cache=cache, on_reading=on_reading)
    assert time.monotonic() - started < 5


def test_a_program_that_is_interrupted_ends_at_once(
    server: LoopbackServer, environ: dict[str, str]
) -> None:
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    server.fault(Fault(cut="stall", before_status=True, times=-1))
    program = f"from localllm.hub.headers.remote import remote_model; remote_model({url!r})"
    with subprocess.Popen([sys.executable, "-c", program], env=environ, stderr=-3) as process:
        while not server.asked:
            time.sleep(0.02)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
    assert time.monotonic() - started < 5


def test_a_server_that_drips_is_left_at_the_deadline(
    server: LoopbackServer, cache: HeaderCache, environ: dict[str, str]
) -> None:
    url = server.serve("/m/toy.gguf", *model_header(TOY))
    server.fault(Fault(cut="stall", after=10, times=-1))
    patience = replace(IMPATIENT, timeout_s=20, deadline_s=0.3)
    with pytest.raises(NotFoundError, match="the server is too slow"):
        remote_model(url, environ=environ, cache=cache, patience=patience)


def test_mutants_of_a_header_end_in_a_typed_error_or_a_model(
    toy_model: Path, server: LoopbackServer, get: Get
) -> None:
    whole = toy_model.read_bytes()
    header_end = read_header(toy_model).data_offset
    rng = random.Random(7)
    outcomes: set[type] = set()
    for n in range(150):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(0, min(header_end, 2000))] = rng.randrange(256)
        try:
            outcomes.add(type(get(server.serve(f"/{n}.gguf", bytes(data)))))
        except LocalLLMError as error:
            outcomes.add(type(error))
    assert {RemoteModel, GGUFError} <= outcomes


def test_an_expired_link_is_asked_for_anew(toy_model: Path, tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        hub.add_repo("user/toy-GGUF", {"toy.gguf": toy_model})
        hub.fault(HubFault(status=403))
        model = remote_model(
            f"{hub.endpoint}/user/toy-GGUF/resolve/main/toy.gguf",
            environ={"LOCALLLM_CACHE_DIR": str(tmp_path), "HF_ENDPOINT": hub.endpoint},
            patience=IMPATIENT,
        )
        assert model.spec.name == "Toy" and len(hub.gets("cdn")) == 2
