"""Addresses: what is asked for, what is shown, and who is told a token."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.errors import LocalLLMError, UsageError
from localllm.hub.remote_url import (
    hub_endpoint,
    is_offline,
    origin_of,
    redirected,
    remote_file,
)
from localllm.hub.tokens import find_token, hub_token

NOWHERE = {"HF_HOME": "/nowhere"}
HUB = "https://huggingface.co/u/r/resolve/main/m.gguf"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("https://huggingface.co/u/r/resolve/main/m.gguf", HUB),
        ("https://huggingface.co/u/r/blob/main/m.gguf", HUB),
        ("https://huggingface.co/u/r/raw/main/m.gguf", HUB),
        ("https://huggingface.co/u/r/resolve/main/m.gguf?download=true", HUB),
        ("http://www.huggingface.co/u/r/blob/main/m.gguf", HUB),
        ("huggingface.co/u/r/blob/main/m.gguf", HUB),
        ("hf.co/u/r/blob/main/m.gguf", HUB),
        ("www.hf.co/u/r/blob/main/m.gguf", HUB),
        ("https://hf.co/u/r/resolve/main/m.gguf#L1", HUB),
        (
            "https://huggingface.co/u/r/blob/refs%2Fpr%2F1/a%20b/ü.gguf",
            "https://huggingface.co/u/r/resolve/refs%2Fpr%2F1/a%20b/%C3%BC.gguf",
        ),
        (
            "HTTPS://Host.Example:8443/a b.gguf?x=1&y=%2F",
            "https://host.example:8443/a%20b.gguf?x=1&y=%2F",
        ),
        ("http://[::1]:80/m.gguf", "http://[::1]:80/m.gguf"),
        ("http://me:secret@host/m.gguf", "http://host/m.gguf"),
        ("http://bücher.example/m.gguf", "http://xn--bcher-kva.example/m.gguf"),
        ("https://host/u/r/blob/main/m.gguf", "https://host/u/r/blob/main/m.gguf"),
        ("https://host/download?file=m.gguf", "https://host/download?file=m.gguf"),
    ],
)
def test_an_address_leads_to_its_file(address: str, url: str) -> None:
    assert remote_file(address, NOWHERE).url == url


@pytest.mark.parametrize(
    "address",
    [
        "https://",
        "https:///m.gguf",
        "https://host",
        "https://host/",
        "https://host/folder/",
        "https://host:99999/m.gguf",
        "https://host:x/m.gguf",
        "https://ho st/m.gguf",
        "https://host/..",
        "https://host/a%2Fb",
        "https://[::1/m.gguf",
        "https://" + "a" * 70 + "/m.gguf",
        "https://huggingface.co/user/repo",
        "https://huggingface.co/user/repo/tree/main",
        "https://ho\x1bst/m.gguf",
        "https://host/\x1b[31m/",
    ],
)
def test_what_cannot_be_an_address_of_a_file_is_refused(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        remote_file(address, NOWHERE)
    assert "copy the link" in str(caught.value.hint)
    assert "\x1b" not in caught.value.message


def test_a_redirect_never_leaves_https_and_is_never_shown() -> None:
    def to(target: str | None, url: str = "https://host/a/b") -> str:
        return redirected(url, target, shown="host", hint="Try another.")

    assert to("/c d?sig=1") == "https://host/c%20d?sig=1"
    assert to("http://host/c", "http://host/b") == "http://host/c"
    for target in ("http://host/a?token=secret", "ftp://secret/x", "", None):
        with pytest.raises(LocalLLMError, match=r"leads (from https to http|to an .* none)") as no:
            to(target)
        assert "secret" not in no.value.message and no.value.hint == "Try another."


def test_the_name_is_unquoted_and_a_neighbour_is_quoted_again() -> None:
    file = remote_file("https://h/a%20b/m%C3%BC%20x.gguf?k=v", NOWHERE)
    assert file.name == "mü x.gguf"
    assert file.with_name("ö #2.gguf").url == "https://h/a%20b/%C3%B6%20%232.gguf?k=v"
    assert file.shown == "https://h/a%20b/m%C3%BC%20x.gguf"


def test_a_token_is_for_the_hub_alone() -> None:
    environ = {**NOWHERE, "HF_TOKEN": "hf_x"}
    assert remote_file(HUB, environ).secrets == {origin_of(HUB): "Bearer hf_x"}
    assert remote_file("http://huggingface.co/u/r/blob/main/m", environ).secrets
    for url in ("https://huggingface.co.evil.example/m", "https://huggingface.co:444/u/m"):
        assert not remote_file(url, environ).secrets
    mirror = {**environ, "HF_ENDPOINT": "https://mirror.example"}
    assert not remote_file(HUB, mirror).secrets
    there = remote_file("https://mirror.example/u/r/blob/main/m.gguf", mirror)
    assert there.secrets and there.url == "https://mirror.example/u/r/resolve/main/m.gguf"


def test_the_token_is_where_the_hub_s_own_client_has_it(tmp_path: Path) -> None:
    assert hub_token({"HF_TOKEN": " hf_a\n"}) == "hf_a"
    assert hub_token({"HF_HOME": str(tmp_path)}) is None
    (tmp_path / "token").write_text("hf_b\n")
    assert hub_token({"HF_HOME": str(tmp_path)}) == "hf_b"
    assert hub_token({"HF_TOKEN_PATH": str(tmp_path / "token")}) == "hf_b"
    assert hub_token({"HF_TOKEN": "hf_a", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}) is None
    for bad in ("", "two\nlines", "\xff", "a\x7f"):
        (tmp_path / "token").write_bytes(bad.encode("latin-1"))
        assert hub_token({"HF_HOME": str(tmp_path)}) is None


@pytest.mark.parametrize(("stated", "offline"), [("1", True), ("TRUE", True), ("0", False)])
def test_offline_is_said_as_elsewhere(stated: str, offline: bool) -> None:
    assert is_offline({"HF_HUB_OFFLINE": stated}) is offline
    assert is_offline({"LOCALLLM_OFFLINE": stated, "HF_HUB_OFFLINE": "0"}) is offline
    assert not is_offline({})


def test_a_token_is_said_by_where_it_is_never_by_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hf_secret")
    for environ, source in (
        ({"HF_TOKEN": "hf_secret", "HUGGING_FACE_HUB_TOKEN": "b"}, "HF_TOKEN"),
        ({"HF_TOKEN": " ", "HUGGING_FACE_HUB_TOKEN": "hf_secret"}, "HUGGING_FACE_HUB_TOKEN"),
        ({"HF_TOKEN": "", "HF_HOME": str(tmp_path)}, str(tmp_path / "token")),
        ({"HF_HOME": "$HERE", "HERE": str(tmp_path)}, str(tmp_path / "token")),
        ({"HF_TOKEN_PATH": "$HERE/token", "HERE": str(tmp_path)}, str(tmp_path / "token")),
    ):
        found = find_token(environ)
        assert found is not None
        assert (found.source, found.value) == (source, "hf_secret")
        assert "secret" not in repr(found)
    found = find_token({"HF_TOKEN": "two\nlines"})
    assert found is not None and found.value is None


def test_the_endpoint_is_the_hub_or_the_mirror_that_is_named(tmp_path: Path) -> None:
    nobody = {"HF_HOME": str(tmp_path)}
    assert hub_endpoint(nobody).url == "https://huggingface.co"
    assert hub_endpoint(nobody).secret is None
    for stated, url in (
        ("https://Mirror.example/", "https://mirror.example"),
        (" http://localhost:8080/hub/x// ", "http://localhost:8080/hub/x"),
        ("https://mirror.example/?token=secret#secret", "https://mirror.example"),
        ("http://me:secret@mirror.example", "http://mirror.example"),
    ):
        endpoint = hub_endpoint({**nobody, "HF_ENDPOINT": stated})
        assert endpoint.url == url
        assert "secret" not in repr(endpoint)
    for stated in ("nonsense", "ftp://mirror.example", "https://u:secret@/", "https://h:x"):
        with pytest.raises(UsageError, match="HF_ENDPOINT") as caught:
            hub_endpoint({"HF_ENDPOINT": stated})
        assert "secret" not in caught.value.message
    mirror = {"HF_ENDPOINT": "http://me:secret@mirror.example", "HF_TOKEN": "hf_x"}
    there = remote_file("http://mirror.example/u/r/resolve/main/m.gguf", mirror)
    assert list(there.secrets.values()) == ["Basic bWU6c2VjcmV0"]


def test_no_secret_is_in_what_is_shown() -> None:
    file = remote_file("https://u:secret@h/m.gguf?sig=secret#secret", {"HF_TOKEN": "secret"})
    assert "secret" not in file.shown + repr(file.secrets.keys())
    assert "secret" not in repr(remote_file("https://u:secret@h/m", NOWHERE))
