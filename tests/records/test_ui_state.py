"""The theme that is remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localllm.records.ui_state import remember_theme, remembered_theme


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"LOCALLLM_STATE_DIR": str(tmp_path / "state")}


def test_a_theme_is_remembered_and_the_latest_wins(environ: dict[str, str]) -> None:
    assert remembered_theme(environ) is None
    remember_theme("nord", environ)
    remember_theme("gruvbox", environ)
    assert remembered_theme(environ) == "gruvbox"
    assert [path.name for path in Path(environ["LOCALLLM_STATE_DIR"]).iterdir()] == ["ui.json"]


def test_what_else_the_file_holds_stays(environ: dict[str, str]) -> None:
    path = Path(environ["LOCALLLM_STATE_DIR"]) / "ui.json"
    path.parent.mkdir()
    path.write_text('{"newer": [1], "theme": 7}')
    assert remembered_theme(environ) is None
    remember_theme("nord", environ)
    assert json.loads(path.read_text()) == {"newer": [1], "theme": "nord"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 60_000])
def test_a_file_that_was_spoilt_is_as_good_as_none(environ: dict[str, str], content: bytes) -> None:
    path = Path(environ["LOCALLLM_STATE_DIR"]) / "ui.json"
    path.parent.mkdir()
    path.write_bytes(content)
    assert remembered_theme(environ) is None


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        remember_theme("nord", {"LOCALLLM_STATE_DIR": str(tmp_path / "file")})
