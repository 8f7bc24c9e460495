"""What a chat has done so far: the sums over its answers."""

from __future__ import annotations

from dataclasses import dataclass

from localllm.core.generation import RunStats


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over answers; tokens that were cut short count as far as they came."""

    n_answers: int = 0
    n_gen: int = 0
    n_prompt: int = 0
    n_cached: int = 0
    tg_s: float = 0.0
    prompt_s: float = 0.0

    def plus(self, stats: RunStats) -> Totals:
        """Return the same with one more answer."""
        return Totals(
            n_answers=self.n_answers + 1,
            n_gen=self.n_gen + stats.n_gen,
            n_prompt=self.n_prompt + stats.n_prompt,
            n_cached=self.n_cached + stats.n_cached,
            tg_s=self.tg_s + stats.tg_s,
            prompt_s=self.prompt_s + stats.prompt_s,
        )
