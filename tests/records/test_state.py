"""Where state is kept."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from localllm.records.state import state_dir


@pytest.mark.parametrize("base", [None, "", "  ", "/srv/state"])
def test_the_folder_is_the_one_that_platformdirs_names(
    base: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is worked out by hand on Linux, to save an import before every first token."""
    environ = {} if base is None else {"XDG_STATE_HOME": base}
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert state_dir(environ) == Path(platformdirs.user_state_dir("localllm", appauthor=False))


def test_a_folder_of_ones_own_wins() -> None:
    assert state_dir({"LOCALLLM_STATE_DIR": "/a/b", "XDG_STATE_HOME": "/c"}) == Path("/a/b")
