#!/usr/bin/env python3
"""Record what the NVIDIA driver says of power and health while something runs.

    scripts/record_nvml.py --out FILE [--gpu PCI_ID]... [--every S] [--idle S] [-- COMMAND...]

For a machine with an NVIDIA GPU. Records some idle seconds, then COMMAND, then idle seconds again.
A line of COMMAND's output that begins with "mark " becomes a mark of its own: "mark prefill". The
file is JSON lines: one about the recording, then one for each call of the driver's library, as
``localllm``'s own meters and this script make them:

    {"t": 1.05, "fn": "nvmlDeviceGetPowerUsage", "device": "0000:c1:00.0", ...}
    {"t": 1.10, "mark": "prefill"}

``t`` is in seconds since the beginning, ``us`` how long the call took, ``args`` what was asked,
``ret`` NVML's return code and ``out`` what was answered. Tests replay such files through a fake
driver (``tests/support/fake_nvml/replay.py``). No serial number is asked for.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from localllm.power.meter import MeterLost, Opened, Wanted
from localllm.power.nvml import OF_GPU, OF_MODULE, POWER_AVERAGE, POWER_INSTANT, open_nvml
from localllm.system.nvml import NvmlUnavailable, nvml_session
from localllm.system.pci import normal_pci_id

FORMAT = "localllm.nvml-trace/1"
FIELDS = [
    (number, scope) for number in (POWER_INSTANT, POWER_AVERAGE) for scope in (OF_GPU, OF_MODULE)
]
HEALTH_S = 1.0

Line = dict[str, Any]


class Recorder:
    """Writes down every call that the binding makes while the block lasts.

    The binding gets its functions by name from one place, which is wrapped; it looks there for
    every call.
    """

    def __init__(
        self,
        api: Any,
        write: Callable[[Line], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the binding's module; ``write`` gets one line after the other."""
        self._api = api
        self._write = write
        self._clock = clock
        self._began_s = clock()
        self._devices: dict[int, str] = {}
        self._lookup: Callable[[str], Any] = api._nvmlGetFunctionPointer

    def __enter__(self) -> Self:
        """Begin."""
        self._api._nvmlGetFunctionPointer = self._pointer
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the binding alone again."""
        self._api._nvmlGetFunctionPointer = self._lookup

    def mark(self, text: str) -> None:
        """Write down that something begins."""
        self._write({"t": self._now(), "mark": text})

    def _now(self) -> float:
        return round(self._clock() - self._began_s, 6)

    def _pointer(self, name: str) -> Any:
        try:
            function = self._lookup(name)
        except self._api.NVMLError as error:
            self._write({"t": self._now(), "fn": name, "ret": int(error.value)})
            raise
        # The binding sets the type of its answer, which is no return code.
        return function if name == "nvmlErrorString" else partial(self._call, name, function)

    def _call(self, name: str, function: Callable[..., int], *arguments: Any) -> int:
        t_s = self._now()
        code = function(*arguments)
        line: Line = {"t": t_s, "us": round((self._now() - t_s) * 1e6), "fn": name}
        inputs: list[Any] = []
        outputs: list[Any] = []
        for argument in arguments:
            behind = getattr(argument, "_obj", None)  # of ctypes.byref
            if isinstance(argument, self._api.c_nvmlDevice_t):
                line["device"] = self._devices.get(_address(argument), "unknown")
            elif isinstance(behind, self._api.c_nvmlDevice_t):
                self._devices[_address(behind)] = normal_pci_id(str(inputs[0])) or f"#{inputs[0]}"
            elif behind is not None or isinstance(argument, ctypes.Array):
                outputs.append(_plain(argument if behind is None else behind))
            elif argument is not None:
                inputs.append(_plain(argument))
        if name == "nvmlDeviceGetPciInfo_v3" and code == 0:
            (pci,) = outputs
            line["device"] = normal_pci_id(pci["busId"]) or line["device"]
            self._devices[_address(arguments[0])] = line["device"]
        line["ret"] = code
        if inputs:
            line["args"] = inputs
        if code == 0:
            line["out"] = outputs
        self._write(line)
        return code


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def _plain(value: Any) -> Any:
    """Return a value of ctypes as JSON has it."""
    if isinstance(value, ctypes.Structure):
        return _fields_of(value)
    if isinstance(value, ctypes.Array) and not hasattr(value, "value"):
        plain = [_plain(item) for item in value]
        return [item for item in plain if item != {}]
    value = getattr(value, "value", value)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _fields_of(value: ctypes.Structure) -> Line:
    """Return the fields that are not 0."""
    found: Line = {}
    for name, *_ in value._fields_:
        inner = getattr(value, name)
        if isinstance(inner, ctypes.Union):
            # A field value: of NVML's types only these two occur for power and energy.
            inner = inner.uiVal if value.valueType == 1 else inner.ullVal
        found[name] = _plain(inner)
    return {name: plain for name, plain in found.items() if plain}


# ------------------------------------------------------------------------------- a recording


class Recording:
    """Calls of all that may be known of some GPUs' power, and of their health once a second."""

    def __init__(self, api: Any, opened: Opened, clock: Callable[[], float]) -> None:
        """Take opened meters and watchers; the caller closes them."""
        self._api = api
        self._opened = opened
        self._clock = clock
        self._next_health_s = clock()
        self._handles = [
            api.nvmlDeviceGetHandleByPciBusId(meter.source.pci_id) for meter in opened.meters
        ]

    def look(self) -> None:
        """Ask everything once; what fails is in the recording as well."""
        for meter in self._opened.meters:
            try:
                meter.read()
            except MeterLost:
                continue
        for handle in self._handles:
            self._ask(self._api.nvmlDeviceGetPowerUsage, handle)
            self._ask(self._api.nvmlDeviceGetFieldValues, handle, FIELDS)
        if self._clock() >= self._next_health_s:
            self._next_health_s += HEALTH_S
            for watcher in self._opened.watchers:
                watcher.health()

    def _ask(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            function(*arguments)
        except self._api.NVMLError:
            return  # its code is recorded


def head(api: Any, pci_ids: list[str], *, synthetic: bool) -> Line:
    """Return the first line: what was recorded, and on what."""
    gpus = {}
    for pci_id in pci_ids:
        handle = api.nvmlDeviceGetHandleByPciBusId(pci_id)
        gpus[pci_id] = {
            "name": api.nvmlDeviceGetName(handle),
            "compute_capability": ".".join(
                str(part) for part in api.nvmlDeviceGetCudaComputeCapability(handle)
            ),
        }
    return {
        "format": FORMAT,
        "synthetic": synthetic,
        "driver": api.nvmlSystemGetDriverVersion(),
        "gpus": gpus,
    }


def main() -> int:
    """Record to a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--gpu", action="append", default=[], metavar="PCI_ID")
    parser.add_argument("--every", type=float, default=0.02, metavar="S")
    parser.add_argument("--idle", type=float, default=10.0, metavar="S")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    command = [word for word in asked.command if word != "--"]
    try:
        with nvml_session(Path("/")) as session, asked.out.open("w") as file:
            record(session.api, asked, command, file.write)
    except NvmlUnavailable as error:
        print(f"nothing to record: {error.reason}", file=sys.stderr)
        return 1
    return 0


def record(
    api: Any, asked: argparse.Namespace, command: list[str], put: Callable[[str], object]
) -> None:
    """Record idle seconds, a command and idle seconds again."""
    pci_ids = asked.gpu or every_gpu(api)

    def write(line: Line) -> None:
        put(json.dumps(line, separators=(",", ":")) + "\n")

    write(head(api, pci_ids, synthetic=False))
    with Recorder(api, write) as recorder:
        opened = open_nvml(Wanted(pci_ids=tuple(pci_ids)))
        recording = Recording(api, opened, time.monotonic)

        def look_while(going: Callable[[], bool]) -> None:
            while going():
                recording.look()
                time.sleep(asked.every)

        recorder.mark("idle")
        end_s = time.monotonic() + asked.idle
        look_while(lambda: time.monotonic() < end_s)
        if command:
            recorder.mark("command")
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
                reader = threading.Thread(target=_pass_marks, args=(running, recorder))
                reader.start()
                look_while(lambda: running.poll() is None)
                reader.join()
            recorder.mark("idle")
            end_s = time.monotonic() + asked.idle
            look_while(lambda: time.monotonic() < end_s)
        for meter in opened.meters:
            meter.close()
        for watcher in opened.watchers:
            watcher.close()


def _pass_marks(running: subprocess.Popen[str], recorder: Recorder) -> None:
    assert running.stdout is not None  # it is a pipe
    for line in running.stdout:
        if line.startswith("mark "):
            recorder.mark(line.removeprefix("mark ").strip())
        else:
            sys.stdout.write(line)


def every_gpu(api: Any) -> list[str]:
    """Return the addresses of all GPUs."""
    handles = [api.nvmlDeviceGetHandleByIndex(i) for i in range(api.nvmlDeviceGetCount())]
    addresses = [normal_pci_id(str(api.nvmlDeviceGetPciInfo(handle).busId)) for handle in handles]
    return [address for address in addresses if address is not None]


if __name__ == "__main__":
    sys.exit(main())
