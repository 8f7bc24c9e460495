"""Which of a repository's quantisations is taken, and how few headers that takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localllm.core.hardware import Hardware
from localllm.core.policy import Policy
from localllm.hub.known.models import KnownModel, known_model
from localllm.lookups import hardware_named
from localllm.offering import OnOffer, pick
from localllm.planning import Plannable
from localllm.units import GiB

QUANTS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")


class Repository:
    """A repository of recorded shapes, which counts the headers that are read."""

    def __init__(self, name: str, *quants: str) -> None:
        self.headers: dict[str, Plannable] = {}
        for quant in quants:
            found = known_model(f"{name}:{quant}")
            assert found is not None
            self.headers[quant] = found
        self.read: list[str] = []

    @property
    def on_offer(self) -> list[OnOffer]:
        return [self._offer(quant) for quant in self.headers]

    def _offer(self, quant: str) -> OnOffer:
        def read() -> Plannable:
            self.read.append(quant)
            return self.headers[quant]

        n_bytes = self.headers[quant].spec.file_bytes
        return OnOffer(name=f"user/repo:{quant}", quant=quant, n_bytes=n_bytes, read=read)


@pytest.fixture(scope="module")
def card() -> Hardware:
    return hardware_named("rtx-4060-ti-16gb")


def test_the_winner_is_planned_from_its_own_header_and_few_others_are_read(card: Hardware) -> None:
    repository = Repository("llama-3-8b", *QUANTS)
    decided, taken = pick(repository.on_offer, card, Policy())
    assert decided.model is repository.headers[taken.quant]
    assert decided.name == f"user/repo:{taken.quant}"
    assert decided.policy.quant == taken.quant and decided.policy.type_k is not None
    assert len(repository.read) <= 2 and len(set(repository.read)) == len(repository.read)
    assert decided.choice is not None and decided.runner_up is not None
    assert decided.runner_up.model.quant != taken.quant


def test_a_recorded_shape_spares_the_first_header(card: Hardware) -> None:
    repository = Repository("llama-3-8b", *QUANTS)
    guess = known_model("llama-3-8b")
    assert guess is not None
    _, taken = pick(repository.on_offer, card, Policy(), guess=guess.spec)
    assert repository.read == [taken.quant]


def test_a_header_that_says_otherwise_than_the_listing_changes_the_choice(card: Hardware) -> None:
    """The file that wins by its size alone turns out to need more than the machine has."""
    honest = Repository("llama-3-8b", *QUANTS)
    _, first = pick(honest.on_offer, card, Policy())
    lying = Repository("llama-3-8b", *QUANTS)
    model = lying.headers[first.quant]
    assert isinstance(model, KnownModel)
    grown = tuple(replace(t, n_bytes=20 * t.n_bytes) for t in model.spec.tensors)
    lying.headers[first.quant] = replace(model, spec=replace(model.spec, tensors=grown))
    _, second = pick(lying.on_offer, card, Policy())
    assert second.quant != first.quant and first.quant in lying.read


def test_what_names_no_quantisation_is_not_chosen_while_others_do(card: Hardware) -> None:
    repository = Repository("llama-3-8b", "Q4_K_M", "Q3_K_M")
    nameless = replace(repository.on_offer[1], quant="?", name="user/repo")
    decided, taken = pick([repository.on_offer[0], nameless], card, Policy())
    assert taken.quant == "Q4_K_M" and repository.read == ["Q4_K_M"]
    alone, _ = pick([nameless], card, Policy(quant="Q3_K_M"))
    assert alone.model.spec.quant == "Q3_K_M" and decided.runner_up is None


def test_a_named_quantisation_leaves_the_cache_to_the_planner(card: Hardware) -> None:
    repository = Repository("llama-3-8b", "Q5_K_M")
    decided, _ = pick(repository.on_offer, card, Policy(quant="Q5_K_M"))
    assert decided.choice is None and decided.policy.type_k is None
    wished, _ = pick(repository.on_offer, card, Policy(quant="Q5_K_M", prefer="context"))
    assert wished.choice is not None and wished.policy.type_k is not None


def test_where_nothing_fits_the_nearest_is_planned_and_no_error() -> None:
    repository = Repository("llama-3-70b", "Q8_0", "Q4_K_M")
    little = Policy(ram_budget_bytes=4 * GiB)
    decided, _ = pick(repository.on_offer, hardware_named("rtx-4060-ti-16gb"), little)
    assert decided.choice is not None and not decided.choice.best.fits
    assert "Nothing on offer fits" in decided.choice.reason
