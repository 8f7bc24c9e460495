"""Child process: the energy counters of an Apple chip from IOReport, on request.

IOReport is private to macOS: its functions are known from the programs that use it, not from a
reference. A wrong guess about one of them ends this process and no other, which is why it is one.
Written without a Mac at hand: NOT RUN on one yet.

Each line on standard input is answered by one on standard output, until the input ends:
``[[name, unit, value], ...]``, the channels of the group "Energy Model". Run as a script: standard
library only, nothing of localllm.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterator
from typing import Any

GROUP = b"Energy Model"
CHANNELS = b"IOReportChannels"
MAX_CHANNELS = 4096

_UTF8 = 0x08000100  # kCFStringEncodingUTF8
_MAX_NAME_BYTES = 256
_IOREPORT = "/usr/lib/libIOReport.dylib"
_CORE_FOUNDATION = "/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation"

_P = ctypes.c_void_p
_U64 = ctypes.c_uint64
_LONG = ctypes.c_long
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "IOReportCopyChannelsInGroup": (_P, (_P, _P, _U64, _U64, _U64)),
    "IOReportCreateSubscription": (_P, (_P, _P, ctypes.POINTER(_P), _U64, _P)),
    "IOReportCreateSamples": (_P, (_P, _P, _P)),
    "IOReportChannelGetChannelName": (_P, (_P,)),
    "IOReportChannelGetUnitLabel": (_P, (_P,)),
    "IOReportSimpleGetIntegerValue": (ctypes.c_int64, (_P, ctypes.c_int32)),
    "CFStringCreateWithCString": (_P, (_P, ctypes.c_char_p, ctypes.c_uint32)),
    "CFStringGetCString": (ctypes.c_ubyte, (_P, ctypes.c_char_p, _LONG, ctypes.c_uint32)),
    "CFDictionaryCreateMutableCopy": (_P, (_P, _LONG, _P)),
    "CFDictionaryGetValue": (_P, (_P, _P)),
    "CFArrayGetCount": (_LONG, (_P,)),
    "CFArrayGetValueAtIndex": (_P, (_P, _LONG)),
    "CFRelease": (None, (_P,)),
}
"""Result and parameters of every function that is called."""


class Api:
    """The functions of ``_SIGNATURES``, from the two libraries."""

    def __init__(self) -> None:
        """Load them. Raises OSError or AttributeError where one is missing."""
        libraries = {"IO": ctypes.CDLL(_IOREPORT), "CF": ctypes.CDLL(_CORE_FOUNDATION)}
        self._functions: dict[str, Any] = {}
        for name, (result, parameters) in _SIGNATURES.items():
            function = getattr(libraries[name[:2]], name)
            function.restype, function.argtypes = result, parameters
            self._functions[name] = function

    def __getitem__(self, name: str) -> Any:
        """Return a function."""
        return self._functions[name]

    def string(self, text: bytes) -> int:
        """Return a new CFString, kept for as long as the process lives."""
        made = self["CFStringCreateWithCString"](None, text, _UTF8)
        if not made:
            raise OSError("CoreFoundation makes no string")
        return int(made)

    def text(self, string: int | None) -> str:
        """Return the text of a CFString; empty for none, and for one that is too long."""
        if not string:
            return ""
        buffer = ctypes.create_string_buffer(_MAX_NAME_BYTES)
        if not self["CFStringGetCString"](string, buffer, _MAX_NAME_BYTES, _UTF8):
            return ""
        return buffer.value.decode("utf-8", "replace")


class EnergyModel:
    """A subscription to the energy counters."""

    def __init__(self, api: Api) -> None:
        """Subscribe. Raises OSError where macOS gives none."""
        self._api = api
        self._key = api.string(CHANNELS)
        found = api["IOReportCopyChannelsInGroup"](api.string(GROUP), None, 0, 0, 0)
        if not found:
            raise OSError("IOReport has no energy counters")
        wanted = api["CFDictionaryCreateMutableCopy"](None, 0, found)
        self._channels = ctypes.c_void_p()
        self._subscription = api["IOReportCreateSubscription"](
            None, wanted, ctypes.byref(self._channels), 0, None
        )
        if not self._subscription or not self._channels:
            raise OSError("IOReport gives no subscription")

    def read(self) -> list[tuple[str, str, int]]:
        """Return name, unit and value of every counter. Raises OSError where there is no answer."""
        sample = self._api["IOReportCreateSamples"](self._subscription, self._channels, None)
        if not sample:
            raise OSError("IOReport gives no sample")
        try:
            return list(self._counters(sample))
        finally:
            self._api["CFRelease"](sample)

    def _counters(self, sample: int) -> Iterator[tuple[str, str, int]]:
        api = self._api
        channels = api["CFDictionaryGetValue"](sample, self._key)
        if not channels:
            raise OSError("IOReport's sample has no channels")
        for index in range(min(api["CFArrayGetCount"](channels), MAX_CHANNELS)):
            channel = api["CFArrayGetValueAtIndex"](channels, index)
            if channel:
                yield (
                    api.text(api["IOReportChannelGetChannelName"](channel)),
                    api.text(api["IOReportChannelGetUnitLabel"](channel)),
                    int(api["IOReportSimpleGetIntegerValue"](channel, 0)),
                )


def main() -> int:
    """Answer until the input ends; one line on standard error says why it cannot."""
    try:
        model = EnergyModel(Api())
        for _ in sys.stdin:
            print(json.dumps(model.read()), flush=True)
    except (OSError, AttributeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
