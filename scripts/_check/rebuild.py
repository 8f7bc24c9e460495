"""The model of a load log, built again: from a recorded shape, or from what the log itself says.

A log gives the hyperparameters and counts the tensors of each type. A recorded shape of the same
architecture gives the tensor table, with the log's own numbers put in; the count of tensors then
proves the table, and the counts by type prove the quantisation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from _check.logs import LoggedRun
from localllm.core.model import ModelSpec
from localllm.core.quant_mix import DEFAULT_TYPES
from localllm.errors import LocalLLMError
from localllm.hub.gguf.writer import WrittenHeader
from localllm.hub.known.hparams import Hparam
from localllm.hub.known.models import KnownModel, known_model, known_names, model_of
from localllm.hub.known.schema import Recorded, derived

_SHAPE = ("n_layer", "n_embd", "n_ff", "n_head", "n_head_kv", "n_expert")
_SIZE = re.compile(r"[ae]?\d+(\.\d+)?[bm]|\d+x\d+b")
_MIN_KNOWN = 4
"""Hyperparameters that a log must give before a model is built from them alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A model, and what is known to be unlike the file's."""

    spec: ModelSpec
    header: WrittenHeader
    """The header of such a file, without its vocabulary."""
    how: str
    """Which shape it was built from."""
    weights_doubt: str | None = None
    """Why its weights may not be the file's."""


class NotRebuilt(Exception):
    """The model cannot be built; the text says why."""


def rebuild(run: LoggedRun) -> Rebuilt:
    """Return the model of a log. Raises NotRebuilt."""
    recorded, how = _shape(run)
    quant, doubt = _quant(run)
    best: KnownModel | None = None
    for variant in _variants(recorded, run):
        try:
            built = model_of(variant, quant)
        except LocalLLMError as error:
            raise NotRebuilt(f"its shape is no model of ours: {error}") from None
        best = best or built
        if run.tensor_types and sum(run.tensor_types.values()) == len(built.spec.tensors):
            best = built
            break
    assert best is not None
    weights_doubt = doubt or _types_doubt(run, best.spec)
    return Rebuilt(spec=best.spec, header=best.header, how=how, weights_doubt=weights_doubt)


def _quant(run: LoggedRun) -> tuple[str, str | None]:
    """Return a quantisation that we can build, and why the weights are then not the file's."""
    wanted = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}.get(run.quant or "", run.quant)
    if wanted in DEFAULT_TYPES:
        return wanted, None
    if wanted is None:
        return "Q4_K_M", "the log does not name the quantisation"
    if wanted.startswith("UD-") or wanted.endswith("_XL"):
        return "Q4_K_M", f"{wanted}: types chosen tensor by tensor, only in the file's own header"
    return "Q4_K_M", f"{wanted} is no quantisation of llama.cpp's"


def _types_doubt(run: LoggedRun, spec: ModelSpec) -> str | None:
    """Compare the number of tensors of each type with the log's."""
    if not run.tensor_types:
        return None
    ours = Counter(tensor.type.lower() for tensor in spec.tensors)
    logged = Counter({name.lower(): n for name, n in run.tensor_types.items()})
    if ours == logged:
        return None
    unlike = [
        f"{logged[name]} {name} tensors where ours has {ours[name]}"
        for name in sorted(ours.keys() | logged.keys())
        if ours[name] != logged[name]
    ]
    return "the file's mixture is its own: " + ", ".join(unlike[:3])


def _shape(run: LoggedRun) -> tuple[Recorded, str]:
    """Find the recorded shape with the log's numbers, or put the log's numbers into a like one."""
    if run.per_layer:
        return _named(run, f"{', '.join(sorted(run.per_layer))} differ by layer")
    given = {key: run.hparams[key] for key in _SHAPE if key in run.hparams}
    if run.arch is None or len(given) < _MIN_KNOWN:
        return _named(run, "the log does not give its shape")
    family = [each for each in _all_known() if each.facts.arch == run.arch]
    for known in family:
        if _same(known.facts, given):
            return _with(known.facts, run, {}), f"recorded shape {known.facts.name}"
    dense = [each for each in family if bool(_get(each.facts, "n_expert")) == _has_experts(run)]
    for known in dense:
        changed = _changed(known.facts, given)
        if changed is not None:
            return _with(known.facts, run, changed), f"the log's numbers, built like {known.name}"
    if not family:
        raise NotRebuilt(f"no recorded shape has the architecture {run.arch}")
    raise NotRebuilt(f"no recorded {run.arch} is like it")


def _has_experts(run: LoggedRun) -> bool:
    return run.hparams.get("n_expert", 0) > 0


def _named(run: LoggedRun, why: str) -> tuple[Recorded, str]:
    """Find a recorded shape by the model's name, and hold it against what the log does say."""
    for name in _names(run.model):
        found = known_model(name)
        if found is None:
            continue
        n_layer = run.total_layers - 1 if run.total_layers else run.hparams.get("n_layer")
        if n_layer is not None and n_layer != found.spec.n_layer:
            raise NotRebuilt(f"{found.facts.name} has {found.spec.n_layer} layers, not {n_layer}")
        if run.arch is not None and run.arch != found.facts.arch:
            raise NotRebuilt(f"{found.facts.name} is {found.facts.arch}, not {run.arch}")
        return found.facts, f"recorded shape {found.facts.name}, by name"
    raise NotRebuilt(why)


def _names(text: str) -> Iterator[str]:
    """Yield what a model's free name may mean: without brackets, then fewer and fewer words."""
    words = text.split("(")[0].replace("_", "-").replace(":", "-").strip().lower().split()
    parts = [part for part in "-".join(words).split("-") if part]
    for n in range(len(parts), 1, -1):
        yield "-".join(parts[:n])
        if _SIZE.fullmatch(parts[n - 1]):
            return  # without its size a name means another model


@cache
def _all_known() -> tuple[KnownModel, ...]:
    found = [known_model(name) for name in known_names()]
    return tuple(each for each in found if each is not None)


def _get(recorded: Recorded, key: str) -> Hparam:
    return derived(recorded).get(key, 0)


def _same(recorded: Recorded, given: Mapping[str, int]) -> bool:
    return all(
        _get(recorded, key) == value
        for key, value in given.items()
        # files made before April 2025 give the heads of the decompressed K and V
        if not (key == "n_head_kv" and _is_latent(recorded))
    )


def _is_latent(recorded: Recorded) -> bool:
    return "n_embd_head_k_mla" in recorded.hparams


def _changed(recorded: Recorded, given: Mapping[str, int]) -> dict[str, int] | None:
    """Return what to change of a shape to make it the log's; None where that is not enough.

    A dense shape is its numbers; the width of experts, latent ranks and lists by layer are not in
    a log, so such shapes only serve as they are.
    """
    hparams = recorded.hparams
    if any(isinstance(value, list) for value in hparams.values()):
        return None
    if _get(recorded, "n_ff_exp") or _get(recorded, "n_lora_kv") or "ssm_d_state" in hparams:
        return None
    if not {"n_layer", "n_embd", "n_ff", "n_head", "n_head_kv"} <= given.keys():
        return None
    # heads that a family fixes (Qwen3's 128) stay; elsewhere they follow from n_embd
    return dict(given)


def _with(recorded: Recorded, run: LoggedRun, changed: Mapping[str, int]) -> Recorded:
    """Return a shape with the log's numbers, its vocabulary among them."""
    numbers: dict[str, int] = {key: value for key, value in changed.items() if value}
    if run.hparams.get("n_vocab"):
        numbers["n_vocab"] = run.hparams["n_vocab"]
    layers = frozenset(range(numbers.get("n_layer", recorded.n_layer)))
    kinds = {
        kind: layers if where == frozenset(range(recorded.n_layer)) else where
        for kind, where in recorded.kinds.items()
    }
    hparams = {**recorded.hparams, **numbers}
    if changed and "n_rot" in hparams and "n_embd_head_k" not in hparams:
        del hparams["n_rot"]
    return replace(recorded, name=f"{recorded.name} of {run.id}", hparams=hparams, kinds=kinds)


def _variants(recorded: Recorded, run: LoggedRun) -> Iterator[Recorded]:
    """Yield a shape, then others that its file may have had: the count of tensors decides.

    Tied or not, with rotary factors or not; DeepSeek's K and V projected by one matrix (files made
    before April 2025), by two, or by all three (ik_llama.cpp's).
    """
    latent = [recorded]
    if _is_latent(recorded):
        old = run.hparams.get("n_head_kv", 1) > 1
        decompressed = old and not run.latent_cache
        together = _with_projections(recorded, together=True, apart=False)
        latent = [recorded, together, _with_projections(recorded, together=True, apart=True)]
        latent = [_decompressed(each) if decompressed else each for each in latent]
        if old:
            latent = [*latent[1:], latent[0]]
    groups = sorted({"untied", "rope_freqs"} & recorded.model_tensors.keys())
    for each in latent:
        for mask in range(1 << len(groups)):
            changed = {group for bit, group in enumerate(groups) if mask >> bit & 1}
            yield replace(each, extra=recorded.extra ^ changed)


_TOGETHER = {
    "attn_kv_b.weight": [
        "n_lora_kv",
        "n_head * n_embd_head_k_mla - n_head * n_rot + n_head * n_embd_head_v_mla",
    ]
}


def _with_projections(recorded: Recorded, *, together: bool, apart: bool) -> Recorded:
    blocks = {}
    for group, dims in recorded.block_tensors.items():
        kept = dict(dims)
        if "attn_k_b.weight" in dims and together:
            kept |= _TOGETHER
        if not apart:
            kept.pop("attn_k_b.weight", None)
            kept.pop("attn_v_b.weight", None)
        blocks[group] = kept
    return replace(recorded, block_tensors=blocks)


def _decompressed(recorded: Recorded) -> Recorded:
    """Return a latent shape as a file without the keys of latent attention describes it."""
    hparams = dict(recorded.hparams)
    hparams["n_embd_head_k"] = hparams["n_embd_head_k_mla"]
    hparams["n_embd_head_v"] = hparams["n_embd_head_v_mla"]
    hparams["n_head_kv"] = hparams["n_head"]
    fixed = {
        group: {
            name: [_plain(each, recorded.hparams) for each in each_dims]
            for name, each_dims in dims.items()
        }
        for group, dims in recorded.block_tensors.items()
    }
    for key in ("n_embd_head_k_mla", "n_embd_head_v_mla"):
        del hparams[key]
    return replace(recorded, hparams=hparams, block_tensors=fixed)


def _plain(dimension: str | int, hparams: Mapping[str, Hparam]) -> str | int:
    """Write the sizes that a decompressed shape no longer names as numbers."""
    if isinstance(dimension, int):
        return dimension
    for key in ("n_embd_head_k_mla", "n_embd_head_v_mla"):
        dimension = dimension.replace(key, str(hparams[key]))
    return dimension
