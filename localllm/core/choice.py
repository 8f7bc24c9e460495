"""choose(models, hardware, policy) -> Choice: quantisation, KV type, context, batch and placement.

One model in the quantisations on offer; of every choice that the policy leaves open
(``choice_space.py``) the best by the policy's preference (``preferences.py``) is taken. Where
layers go within one choice is decided in ``planner.py``, the batch in ``batches.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from localllm.core.choice_search import Search
from localllm.core.hardware import Hardware
from localllm.core.model import ModelSpec
from localllm.core.offer import Offer
from localllm.core.option import Choice, Option
from localllm.core.policy import Policy
from localllm.core.preferences import rank

if TYPE_CHECKING:
    from localllm.core.calibration import Calibration

__all__ = ["Choice", "Chooser", "Option", "choose", "rank"]


def choose(
    models: Sequence[ModelSpec],
    hardware: Hardware,
    policy: Policy,
    *,
    alternatives: bool = True,
    calibration: Calibration | None = None,
) -> Choice:
    """Return the best choice for one model in the quantisations on offer.

    What the policy fixes is kept: ``quant``, KV types, a context (never made smaller silently).
    Without ``alternatives`` only the best is worked out, which is several times quicker.
    ``calibration`` moves the speeds by what was measured on this machine. Raises UsageError for
    wishes that contradict the model, the machine or each other.
    """
    chooser = Chooser(models)
    return chooser.choose(hardware, policy, alternatives=alternatives, calibration=calibration)


class Chooser:
    """``choose`` for one model on several machines: what no machine changes is summed once."""

    def __init__(self, models: Sequence[ModelSpec]) -> None:
        """Take one model in the quantisations on offer."""
        self._offer = Offer(models)

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """What is chosen between."""
        return self._offer.models

    def choose(
        self,
        hardware: Hardware,
        policy: Policy,
        *,
        alternatives: bool = True,
        calibration: Calibration | None = None,
    ) -> Choice:
        """Return the best choice on a machine, see ``choose``."""
        search = Search(self._offer, hardware, policy, calibration=calibration)
        return search.choice(alternatives=alternatives)
