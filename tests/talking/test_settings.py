"""What an answer is asked with: the person's choice, then the model's wish, then ours."""

from __future__ import annotations

import pytest

from localllm.core.generation import Sampling
from localllm.talking.settings import (
    SETTINGS,
    Settings,
    changed,
    recommended_sampling,
    value_text,
)


@pytest.mark.parametrize("name", list(SETTINGS))
def test_every_value_that_set_prints_it_also_reads(name: str) -> None:
    settings = Settings()
    assert changed(settings, name, value_text(settings, name)).sampling == settings.sampling


def test_the_persons_choice_wins_over_the_models_and_that_over_ours() -> None:
    metadata = {"general.sampling.temp": 0.6, "general.sampling.top_k": 20, "x": 1}
    settings = Settings(recommended=recommended_sampling(metadata))
    assert settings.sampling == Sampling(temperature=0.6, top_k=20)
    settings = changed(settings, "temp", "1")
    assert settings.sampling == Sampling(temperature=1, top_k=20)


def test_nonsense_in_a_models_header_is_not_sampled_with() -> None:
    metadata = {"general.sampling.temp": float("nan"), "general.sampling.top_p": 7.0}
    assert recommended_sampling(metadata) == {}
