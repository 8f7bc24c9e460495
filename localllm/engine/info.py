"""What llama.cpp is installed, asked of a short-lived child."""

from __future__ import annotations

import time

from localllm.core.generation import EngineInfo, Failed
from localllm.engine.death import died
from localllm.engine.process import EngineProcess
from localllm.engine.protocol import InfoRequest, encode_request
from localllm.errors import EngineError


def engine_info(timeout_s: float = 20) -> EngineInfo:
    """Return version, devices and system information of the installed llama.cpp.

    Raises ``EngineError`` with the exact line that mends it when llama.cpp is missing or cannot be
    loaded, when it crashes while it looks for devices, and when it takes longer than ``timeout_s``.
    """
    process = EngineProcess(beat_s=timeout_s)
    try:
        deadline = time.monotonic() + timeout_s
        process.send(encode_request(1, InfoRequest()), timeout_s=timeout_s)
        while (remaining_s := deadline - time.monotonic()) > 0:
            try:
                received = process.read(remaining_s)
            except EOFError:
                event = died(process.end("start"))
                raise EngineError(event.message, hint=event.hint) from None
            match received:
                case (1, EngineInfo() as info):
                    return info
                case (1, Failed() as failed):
                    raise EngineError(failed.message, hint=failed.hint)
        raise EngineError(
            f"llama.cpp did not list its devices within {timeout_s:g} s.",
            hint="A hung GPU driver does this: try nvidia-smi, then a reboot.",
        )
    finally:
        process.kill(timeout_s=1.0)
        process.dispose()
