"""The files of ``profiles/models``: one per family of models, checked key by key.

A family's file says who publishes the models, under which licence, and gives each model by name
with its hyperparameters; ``tables/`` beside it has the tensors that llama.cpp asks for, by
architecture. Keys that nobody knows are refused, so that a slip does not become a default.

::

    name = "Llama 3"                      the family
    publisher = "Meta"
    licence = "llama3"                    as the publisher names it
    gated = true                          terms must be accepted before a download
    table = "llama"                       tables/llama.toml
    checked = "2026-11-21"                when the figures were compared with what is named here
    read_in = "a repository, a page"      where they were read, if not at the publisher's itself
    vocabulary_bytes = 7_818_140          of the tokenizer in a file's header
    [hparams]                             what all models of the family share
    [models."llama-3-8b"]
    title = "Llama 3 8B"
    source = "https://..."                the published configuration
    aliases = ["llama3"]                  other names of the same weights
    gguf = ["user/repo"]                  repositories with its GGUF files, in the order to try
    variants."llama-3-8b-base" = []       other weights of the same shape, and their repositories
    variants."base" = "llama-3-8b-base"   another name of a variant
    tuned = false                         the weights are a base model's: not to be talked to
    like = "llama-3-70b"                  figures of another model of this file, where not given
    n_layer = 32                          hyperparameters, by llama.cpp's names
    n_head_kv = { attention = 8, mamba = 0 }      differs by kind of block
    blocks = { attention = "3-/4" }       kinds of blocks: see known_tensors.block_list
    pattern = { text = "MM*", M = "mamba", "*" = "attention" }      the same, a sign for each block
    with = ["rope_freqs"]                 groups of the table that are not always there
    tied = true                           no output.weight
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localllm.errors import IntegrityError
from localllm.hub.known.hparams import KEYS, Hparam, with_derived
from localllm.hub.known.tensors import Dims, block_list

_FAMILY = {
    "name": str,
    "publisher": str,
    "licence": str,
    "gated": bool,
    "table": str,
    "checked": str,
    "read_in": str,
    "notes": list,
    "vocabulary_bytes": int,
    "default_quant": str,
    "source_type": str,
    "hparams": dict,
    "models": dict,
}
_REQUIRED = ("name", "publisher", "licence", "checked", "vocabulary_bytes", "models")
_MODEL = {
    "title": str,
    "source": str,
    "aliases": list,
    "gguf": list,
    "variants": dict,
    "tuned": bool,
    "repo": str,
    "like": str,
    "blocks": dict,
    "pattern": dict,
    "with": list,
    "tied": bool,
}
_ITS_OWN = (
    *("title", "source", "repo", "aliases", "gguf", "variants", "tuned", "like", "read_in"),
)
"""Keys of a model that another one that is ``like`` it does not take over."""
_OF_EITHER = ("table", "licence", "gated", "notes", "read_in", "vocabulary_bytes", "default_quant")
"""Keys that a model may give for itself; else its family's hold."""
_TABLE = ("arch", "model", "blocks", "keys", "source_types")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One recorded model: facts, not yet a header."""

    name: str
    title: str
    family: str
    publisher: str
    licence: str
    gated: bool
    source: str
    """Where the figures were published."""
    checked: str
    read_in: str | None
    """Where they were read, if not there."""
    repo: str | None
    """Where the original is published, ``user/repo``."""
    gguf: tuple[str, ...]
    """Repositories with its GGUF files, in the order in which they are to be tried."""
    variants: Mapping[str, tuple[str, ...]]
    """Other weights of the same shape -> repositories with their GGUF files."""
    is_tuned: bool
    """Whether these are the weights of a model that answers; a base model only goes on."""
    arch: str
    hparams: Mapping[str, Hparam]
    """By llama.cpp's names or GGUF keys without the architecture; lists have one entry a block."""
    kinds: Mapping[str, frozenset[int]]
    extra: frozenset[str]
    model_tensors: Mapping[str, Dims]
    block_tensors: Mapping[str, Dims]
    source_types: Mapping[str, str]
    """Part of a tensor's name -> the type it has in every file, whatever the quantisation."""
    source_type: str
    vocabulary_bytes: int
    default_quant: str

    @property
    def n_layer(self) -> int:
        """Blocks, MTP blocks included."""
        return int(self.hparams["n_layer"])  # type: ignore[arg-type]  # checked to be a number


def read_recorded(folder: Path, file_name: str, name: str) -> Recorded:
    """Return one model of a family's file. Raises IntegrityError for a file that says too much,
    too little, or nonsense."""
    family = _toml(folder / file_name)
    _check(file_name, family, _FAMILY, required=_REQUIRED)
    model = _with_likeness(file_name, family["models"], name)
    given = {key: model.pop(key) for key in list(model) if key in _MODEL or key in _OF_EITHER}
    where = f"{file_name}, {name}"
    _check(where, given, _MODEL | {key: _FAMILY[key] for key in _OF_EITHER})
    facts: dict[str, Any] = {key: given.get(key, family.get(key)) for key in _OF_EITHER}
    if not facts["table"] or "source" not in given or "title" not in given:
        raise IntegrityError(f"{where}: title, source and table are required.")
    table = _toml(folder / "tables" / f"{facts['table']}.toml")
    _check(str(facts["table"]), table, dict.fromkeys(_TABLE, object), required=("arch", "model"))
    raw = {**table.get("keys", {}), **family.get("hparams", {}), **model}
    kinds = _kinds(where, raw.get("n_layer"), given.get("blocks", {}), given.get("pattern", {}))
    hparams = _hparams(where, raw, kinds)
    extra = frozenset(given.get("with", [])) | ({"untied"} if not given.get("tied") else set())
    return Recorded(
        name=name,
        title=given["title"],
        family=family["name"],
        publisher=family["publisher"],
        licence=facts["licence"],
        gated=bool(facts["gated"]),
        source=given["source"],
        checked=family["checked"],
        read_in=facts["read_in"],
        repo=given.get("repo"),
        gguf=_repos(where, given.get("gguf", [])),
        variants=_variants(where, given.get("variants", {})),
        is_tuned=given.get("tuned", True),
        arch=table["arch"],
        hparams=hparams,
        kinds=kinds,
        extra=extra if "untied" in table["model"] else extra - {"untied"},
        model_tensors=table["model"],
        block_tensors=table.get("blocks", {}),
        source_types=table.get("source_types", {}),
        source_type=family.get("source_type", "bf16"),
        vocabulary_bytes=facts["vocabulary_bytes"],
        default_quant=facts["default_quant"] or "Q4_K_M",
    )


def _variants(where: str, given: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Other weights and their repositories, those under a second name as well."""
    return {
        name: _repos(where, given.get(value) if isinstance(value, str) else value)
        for name, value in given.items()
    }


def _repos(where: str, repos: Any) -> tuple[str, ...]:
    if isinstance(repos, list) and all(isinstance(repo, str) for repo in repos):
        return tuple(repos)
    raise IntegrityError(f"{where}: repositories must be a list of user/repo.")


def _with_likeness(where: str, models: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A model's keys, with those of the model that it is like."""
    own = dict(models[name])
    if "like" not in own:
        return own
    other = models.get(own["like"])
    if other is None or "like" in other:
        raise IntegrityError(f"{where}: {name} must be like a model that has figures of its own.")
    return {key: value for key, value in other.items() if key not in _ITS_OWN} | own


def _kinds(
    where: str, n_layer: Any, blocks: Mapping[str, str], pattern: Mapping[str, str]
) -> dict[str, frozenset[int]]:
    """Which blocks are of which kind."""
    if not isinstance(n_layer, int) or n_layer < 1:
        raise IntegrityError(f"{where}: n_layer is missing.")
    kinds = {kind: block_list(str(text), n_layer) for kind, text in blocks.items()}
    if pattern:
        signs = str(pattern.get("text", ""))
        if len(signs) != n_layer or set(signs) - set(pattern):
            raise IntegrityError(f"{where}: the pattern has {len(signs)} blocks of {n_layer}.")
        for sign, kind in pattern.items():
            if sign != "text":
                kinds[kind] = frozenset(i for i, each in enumerate(signs) if each == sign)
    return kinds


def _hparams(
    where: str, raw: Mapping[str, Any], kinds: Mapping[str, frozenset[int]]
) -> dict[str, Hparam]:
    n_layer = raw["n_layer"]
    hparams: dict[str, Hparam] = {}
    for key, value in raw.items():
        if key not in KEYS and "." not in key and key not in _PLAIN_KEYS:
            raise IntegrityError(f'{where}: "{key}" is no hyperparameter that we know.')
        hparams[key] = _by_kind(where, key, value, kinds, n_layer)
    return hparams


_PLAIN_KEYS = frozenset(
    {
        "expert_group_scale",
        "experts_per_group",
        "moe_every_n_layers",
        "router_logit_softcapping",
        "swiglu_clamp_exp",
        "swiglu_clamp_shexp",
        "use_parallel_residual",
        "hidden_activation",
    }
)
"""Keys that have no dot and no name of their own in ``KEYS``."""


def _by_kind(
    where: str, key: str, value: Any, kinds: Mapping[str, frozenset[int]], n_layer: int
) -> Hparam:
    """A value that differs by kind of block, as a list with one entry for each block."""
    if isinstance(value, list):
        if len(value) == n_layer or key in ("rope_sections",):
            return value
        raise IntegrityError(f"{where}: {key} lists {len(value)} blocks of {n_layer}.")
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]  # a scalar of TOML
    values = []
    for block in range(n_layer):
        fitting = [each for kind, each in value.items() if block in kinds.get(kind, frozenset())]
        if not fitting and "rest" in value:
            fitting = [value["rest"]]
        if len(fitting) != 1:
            raise IntegrityError(f"{where}: {key} has {len(fitting)} values for block {block}.")
        values.append(fitting[0])
    return values


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise IntegrityError(f"{path.name}: {error}") from error


def _check(
    where: str, given: Mapping[str, Any], schema: Mapping[str, type], required: Any = ()
) -> None:
    for key, value in given.items():
        kind = schema.get(key)
        if kind is None:
            raise IntegrityError(f'{where}: "{key}" is no key of a model profile.')
        if not isinstance(value, kind):
            raise IntegrityError(f"{where}: {key} must be a {kind.__name__}.")
    for key in required:
        if key not in given:
            raise IntegrityError(f"{where}: {key} is missing.")


def derived(recorded: Recorded) -> dict[str, Hparam]:
    """Return the hyperparameters of a shape as its tensor table needs them."""
    return with_derived(recorded.hparams)
