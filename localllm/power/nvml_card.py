"""One NVIDIA GPU while it is metered: its handle, how its calls fail, and when it is lost.

A call fails in one of three ways. What the GPU or the driver does not have is absent, and takes
nothing else with it; an error of the moment is passed over, three in a row end that query; a lost
GPU ends all of its own queries, and nobody else's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from localllm.system import nvml
from localllm.system.nvml import Failure, Nvml, SharedNvml
from localllm.system.pci import NVIDIA, normal_pci_id
from localllm.system.sysfiles import read_int, read_text

T = TypeVar("T")

ENDING = frozenset(
    {
        nvml.UNINITIALIZED,
        nvml.DRIVER_NOT_LOADED,
        nvml.LIBRARY_NOT_FOUND,
        nvml.GPU_IS_LOST,
        nvml.RESET_REQUIRED,
        nvml.LIB_RM_VERSION_MISMATCH,
    }
)
"""Codes after which a GPU answers nothing more to this process."""

ABSENT = frozenset(
    {
        nvml.NOT_SUPPORTED,
        nvml.NO_PERMISSION,
        nvml.NOT_FOUND,
        nvml.FUNCTION_NOT_FOUND,
        nvml.ARGUMENT_VERSION_MISMATCH,
    }
)
"""Codes of a value that is not there: no error of the GPU's."""

PATIENCE = 3
"""So many errors in a row end a query."""


class Card:
    """An open GPU, shared by its meter and its watcher."""

    def __init__(self, shared: SharedNvml, handle: Any, device: str, pci_id: str) -> None:
        """Take a handle; ``device`` is the probe's name for it."""
        self._shared = shared
        self._handle = handle
        self.device = device
        self.pci_id = pci_id
        self.lost: str | None = None
        """Why it answers nothing more."""

    @property
    def session(self) -> Nvml:
        """The open NVML."""
        return self._shared.session

    def attempt(
        self, function: Callable[..., T], *arguments: object
    ) -> tuple[T | None, Failure | None]:
        """Return a call's answer, or None with NVML's code and a reason; a lost GPU is not asked.

        The function gets the handle first.
        """
        if self.lost is not None:
            return None, (nvml.GPU_IS_LOST, self.lost)
        value, failure = self.session.attempt(function, self._handle, *arguments)
        if failure is not None and failure[0] in ENDING:
            self.lost = failure[1]
        return value, failure

    def share(self) -> Callable[[], None]:
        """Hold NVML open; the returned function lets go, once however often it is called."""
        self._shared.hold()
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._shared.release()

        return release


class Query(Generic[T]):
    """A question to a GPU, asked again and again until it has failed three times in a row.

    ``ways`` are the binding's functions that answer it, the newest first: an old driver has only
    the later ones.
    """

    def __init__(self, card: Card, *ways: Callable[[Any], T]) -> None:
        """Keep the ways; nothing is asked yet."""
        self._card = card
        self._ways = list(ways)
        self._failed = 0

    def ask(self) -> T | None:
        """Return the answer, or None."""
        while self._ways:
            value, failure = self._card.attempt(self._ways[0])
            if failure is None:
                self._failed = 0
                return value
            if failure[0] in (nvml.FUNCTION_NOT_FOUND, nvml.ARGUMENT_VERSION_MISMATCH):
                del self._ways[0]
                continue
            self._failed += 1
            if self._failed >= PATIENCE:
                self._ways.clear()
            return None
        return None


def open_card(shared: SharedNvml, pci_id: str) -> tuple[Card | None, str]:
    """Return the GPU at a PCI address, or None and why not. No other GPU is touched."""
    session, api = shared.session, shared.session.api
    handle, failure = session.attempt(api.nvmlDeviceGetHandleByPciBusId, _as_nvml_writes(pci_id))
    if handle is None:
        return None, _not_opened(failure)
    pci, failure = session.attempt(api.nvmlDeviceGetPciInfo, handle)
    if pci is None:
        return None, _not_opened(failure)
    text = pci.busId.decode("ascii", "replace") if isinstance(pci.busId, bytes) else pci.busId
    if normal_pci_id(text) != pci_id:
        return None, f"the NVIDIA driver answers for the GPU at {text} instead"
    index, _ = session.attempt(api.nvmlDeviceGetIndex, handle)
    return Card(shared, handle, pci_id if index is None else f"nvidia{index}", pci_id), ""


def is_anothers(root: Path, pci_id: str) -> bool:
    """Whether the kernel says that a PCI device was not made by NVIDIA."""
    vendor = read_int(root / "sys/bus/pci/devices" / pci_id / "vendor")
    return vendor is not None and vendor != NVIDIA


def sleeps(root: Path, pci_id: str) -> bool:
    """Whether a GPU is powered down; asking the kernel does not wake it."""
    status = read_text(root / "sys/bus/pci/devices" / pci_id / "power/runtime_status")
    return status in ("suspended", "suspending")


def _as_nvml_writes(pci_id: str) -> str:
    """Return ``0000:c1:00.0`` as ``00000000:C1:00.0``."""
    domain, _, rest = pci_id.partition(":")
    return f"{domain:0>8}:{rest}".upper()


def _not_opened(failure: Failure | None) -> str:
    code, reason = failure or (0, "the NVIDIA driver gives no answer")
    return "the NVIDIA driver does not know this GPU" if code == nvml.NOT_FOUND else reason
