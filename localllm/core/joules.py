"""THE measured energy: the way in to all of its arithmetic. Predicted energy is ``energy.py``'s.

Where each formula is: a window of one meter in ``metered.py`` (counters in ``counters.py``, sensors
of watts in ``sensors.py``), sums over devices in ``sums.py``, idle draw in ``idle.py``, joules per
token and their text in ``per_token.py``, the two phases of an answer in ``answer_energy.py``.
"""

from __future__ import annotations

from localllm.core.answer_energy import (
    AnswerEnergy,
    answer_energy,
    decode_per_token,
    prefill_per_token,
)
from localllm.core.idle import idle_power, with_idle
from localllm.core.metered import energy, watts_now
from localllm.core.per_token import PerToken, energy_text, per_token, per_token_text
from localllm.core.sums import addable, together, together_known

__all__ = [
    "AnswerEnergy",
    "PerToken",
    "addable",
    "answer_energy",
    "decode_per_token",
    "energy",
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
