"""THE measured energy: the way in to all of its arithmetic. Predicted energy is ``energy.py``'s.

Where each formula is, in ``core/metered/``: a window of one meter in ``window.py`` (counters in
``counters.py``, sensors of watts in ``sensors.py``), sums over devices in ``sums.py``, idle draw in
``idle.py``, joules per token and their text in ``per_token.py``, the two phases of an answer in
``answer.py``.
"""

from __future__ import annotations

from localllm.core.metered.answer import (
    AnswerEnergy,
    answer_energy,
    decode_per_token,
    energy_of,
    prefill_per_token,
)
from localllm.core.metered.idle import idle_power, with_idle
from localllm.core.metered.per_token import PerToken, energy_text, per_token, per_token_text
from localllm.core.metered.sums import addable, together, together_known
from localllm.core.metered.window import energy, watts_now

__all__ = [
    "AnswerEnergy",
    "PerToken",
    "addable",
    "answer_energy",
    "decode_per_token",
    "energy",
    "energy_of",
    "energy_text",
    "idle_power",
    "per_token",
    "per_token_text",
    "prefill_per_token",
    "together",
    "together_known",
    "watts_now",
    "with_idle",
]
