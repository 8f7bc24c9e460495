from __future__ import annotations

import json
from pathlib import Path

import pytest

from localllm.core.hardware_document import hardware_document
from localllm.errors import IntegrityError, LocalLLMError, NotFoundError, UsageError
from localllm.probes.profiles import load_profile
from localllm.probes.saved import load_hardware

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hardware"


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
def test_every_saved_machine_in_the_repository_loads(path: Path) -> None:
    hardware = load_hardware(path)

    assert hardware.source == str(path)
    assert hardware.host.total_bytes > 0


def test_a_saved_machine_is_the_machine_with_the_file_as_its_source(tmp_path: Path) -> None:
    hardware = load_profile("2x rtx-4090").hardware
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(hardware_document(hardware)))

    saved = load_hardware(path)

    assert (saved.host, saved.devices, saved.name) == (
        hardware.host,
        hardware.devices,
        hardware.name,
    )
    assert saved.source == str(path)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", IntegrityError),
        (b"{", IntegrityError),
        (b"\xff\xfe\x00", IntegrityError),
        (b"[" * 100_000, IntegrityError),
        (b"[]", UsageError),
        (b'{"schema": "localllm.plan/1"}', UsageError),
        (b"GGUF" + bytes(17 * 1024 * 1024), UsageError),
    ],
    ids=["empty", "cut", "not text", "nested", "a list", "a plan", "a model"],
)
def test_a_file_that_is_no_saved_machine_is_refused_with_a_hint(
    tmp_path: Path, content: bytes, error: type[LocalLLMError]
) -> None:
    path = tmp_path / "machine.json"
    path.write_bytes(content)

    with pytest.raises(error) as caught:
        load_hardware(path)

    assert "localllm hardware --json" in (caught.value.hint or "")


def test_a_missing_file_is_not_found_and_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load_hardware(tmp_path / "missing.json")
    with pytest.raises(UsageError):
        load_hardware(tmp_path)
