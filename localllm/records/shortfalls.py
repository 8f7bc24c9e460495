"""What a session knows of memory that ran out: from the file of this machine, and from itself.

Most machines have no such file: then nothing that reads one is imported.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from localllm.core.hardware import THIS_MACHINE, Hardware
from localllm.core.model import ModelSpec
from localllm.core.plan import Plan
from localllm.core.policy import Policy
from localllm.records.state import shortfalls_path

if TYPE_CHECKING:
    from localllm.core.shortfall import Shortfall
    from localllm.records.shortfall_store import ShortfallStore


class OwnShortfalls:
    """The shortfalls of the file, and the session's own where nothing is kept."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str] = os.environ,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Read nothing yet. With ``LOCALLLM_MEASUREMENTS=off`` no file is read or written."""
        self._environ, self._now = environ, now
        self._path = shortfalls_path(environ)
        self._own: list[Shortfall] = []
        self._problem: str | None = None

    def known(self, model: ModelSpec, hardware: Hardware) -> tuple[Shortfall, ...]:
        """Return what concerns a model on a machine."""
        kept = self._kept() if hardware.source == THIS_MACHINE else ()
        if not kept and not self._own:
            return ()
        from localllm.core.shortfall import concerns

        seen = dict.fromkeys((*kept, *self._own))
        return tuple(each for each in seen if concerns(each, model, hardware))

    def remember(self, shortfalls: tuple[Shortfall, ...], hardware: Hardware) -> None:
        """Keep what was learnt on a machine: in the file where it is this one."""
        self._own += shortfalls
        if shortfalls and hardware.source == THIS_MACHINE:
            self._change(lambda store: store.add(shortfalls, now=self._now()))

    def held(self, plan: Plan, policy: Policy) -> None:
        """Forget what a plan that loaded, made with a policy, has disproved."""
        known = self.known(plan.model, plan.hardware)
        if not known:
            return
        from localllm.core.shortfall import is_disproved

        is_over = functools.partial(is_disproved, plan=plan, policy=policy)
        if any(is_over(each) for each in known):
            self._own = [each for each in self._own if not is_over(each)]
            self._change(lambda store: store.drop(is_over, now=self._now()))

    def problem(self) -> str | None:
        """Return, once, why nothing can be read or kept: a sentence."""
        problem, self._problem = self._problem, None
        return problem

    def _kept(self) -> tuple[Shortfall, ...]:
        try:
            store = self._store() if self._path.exists() else None
            return () if store is None else store.read(now=self._now())
        except OSError as error:
            self._note(f"What ran out of memory before cannot be read: {self._reason(error)}.")
            return ()

    def _change(self, change: Callable[[ShortfallStore], None]) -> None:
        store = self._store()
        if store is None:
            return
        try:
            change(store)
        except OSError as error:
            self._note(f"That memory ran out could not be kept: {self._reason(error)}.")

    def _store(self) -> ShortfallStore | None:
        from localllm.records.measurements import measurements_wanted
        from localllm.records.shortfall_store import ShortfallStore

        return ShortfallStore(self._path) if measurements_wanted(self._environ) else None

    def _note(self, problem: str) -> None:
        self._problem = self._problem or problem

    def _reason(self, error: OSError) -> str:
        return f"{error.strerror or error} ({error.filename or self._path})"
