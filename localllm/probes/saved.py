"""Machines saved by ``localllm hardware --json``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from localllm.core.hardware import Hardware
from localllm.core.hardware_document import hardware_from_document
from localllm.errors import IntegrityError, NotFoundError, UsageError
from localllm.units import MiB

_LARGEST_BYTES = 16 * MiB
"""A saved machine is a few kB; a model file given by mistake is not read to its end."""


def load_hardware(path: Path) -> Hardware:
    """Return the machine saved in a file, with the file as its source.

    What the file leaves out of a known product, an older version's or one written by hand, comes
    from its profile, as it does for a device that is detected.

    Raises NotFoundError for a missing file, UsageError for one that is no saved machine, and
    IntegrityError for one that is damaged.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path}.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    hint = "Save a machine with: localllm hardware --json > machine.json"
    if len(data) > _LARGEST_BYTES:
        raise UsageError(f"{path} is too large for a saved machine.", hint=hint)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is not JSON: {error}.", hint=hint) from error
    saved = hardware_from_document(document)
    if not saved.devices:
        return replace(saved, source=str(path))
    from localllm.probes.product_facts import with_product_facts

    devices = with_product_facts(saved.devices, saved.host)
    return replace(saved, devices=devices, source=str(path))
