"""Measured energy as a document for scripts: figures with their errors, or the reason for none."""

from __future__ import annotations

from localllm.core.metered.answer import AnswerEnergy
from localllm.core.metered.readings import Energy, Unmeasured


def energy_document(found: Energy | Unmeasured) -> dict[str, object]:
    """Return joules, watts and errors of one window, ready for ``json.dumps``.

    Without a measurement ``joules`` is null and ``reason`` says why.
    """
    if isinstance(found, Unmeasured):
        return {"joules": None, "reason": found.reason, "fix": found.fix}
    return {
        "joules": found.joules,
        "sigma_j": found.sigma_j,
        "gain": found.gain,
        "mean_w": found.mean_w,
        "seconds": found.seconds,
        "scope": found.scope,
        "sources": list(found.sources),
        "kinds": list(found.kinds),
        "rough": found.rough,
        "missing": list(found.missing),
        "idle_w": found.idle_w,
        "idle_sigma_w": found.idle_sigma_w,
        "net_joules": None if found.net_is_noise else found.net_joules,
        "net_sigma_j": found.net_sigma_j,
    }


def answer_energy_document(energy: AnswerEnergy) -> dict[str, object]:
    """Return the energies of an answer's phases: ``prefill``, ``decode``, ``total``."""
    return {
        "prefill": energy_document(energy.prefill),
        "decode": energy_document(energy.decode),
        "total": energy_document(energy.total),
    }
