"""Folders of a person's own, and the homes that they are in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localllm.errors import UsageError
from localllm.hub.cache_layout import cache_root
from localllm.hub.kept.folders import home
from localllm.system.folders import expanded, own_folder


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~", "/home/me"),
        ("~/models/x", "/home/me/models/x"),
        ("models/~", "models/~"),
        ("/srv/~x", "/srv/~x"),
        ("", "."),
    ],
)
def test_the_home_is_that_of_the_environment_that_is_given(text: str, path: str) -> None:
    assert expanded(text, {"HOME": "/home/me"}) == Path(path)


def test_another_persons_home_is_what_the_system_says() -> None:
    pwd = pytest.importorskip("pwd")
    assert expanded("~root/x", {"HOME": "/home/me"}) == Path(pwd.getpwnam("root").pw_dir, "x")


@pytest.mark.parametrize(
    "environ", [{"HF_HUB_CACHE": "~nobody-of-this-name/x"}, {"HF_HOME": "~nobody-of-this-name"}]
)
def test_the_home_of_nobody_is_a_typed_error(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="nobody-of-this-name") as failed:
        cache_root(environ)
    assert failed.value.hint == "Write the whole path."
    with pytest.raises(UsageError):
        own_folder("state", {"LOCALLLM_STATE_DIR": "~nobody-of-this-name"})


def test_who_has_no_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a number without a name."""
    pwd = pytest.importorskip("pwd")

    def nobody(number: int) -> object:
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    questions: tuple[Callable[[], Path], ...] = (
        lambda: cache_root({}),
        lambda: home({}),
        lambda: own_folder("config", {"XDG_CONFIG_HOME": "~/x"}),
    )
    for ask in questions:
        with pytest.raises(UsageError, match="no home folder") as failed:
            ask()
        assert "HOME" in (failed.value.hint or "")
