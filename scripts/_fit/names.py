"""Which of our models and machines a public row means."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from localllm.core.hardware import Hardware, HardwareProfile
from localllm.errors import UsageError
from localllm.hub.known import known_model, known_name
from localllm.probes.profiles import load_profile, parse_profile

FACTS = Path(__file__).parents[1] / "facts"

_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")
_KINDS = frozenset(
    (
        *("mini", "nano", "small", "medium", "large", "super", "ultra", "lite", "flash", "air"),
        *("plus", "vl", "omni", "multimodal", "next", "scout", "maverick", "micro", "tiny"),
        *("max", "pro", "coder", "math", "audio", "vision"),
    )
)
"""Words that make another model of a name, unless the name found has them too."""
_SAME_SHAPE = frozenset(("coder", "math", "pro", "max", "vision", "plus"))
"""Those of them that fine-tuning adds without changing the shape of a model of the same size."""


@cache
def tables() -> dict[str, Any]:
    """Return the tables of names: models, gpus, rows."""
    return tomllib.loads((FACTS / "names.toml").read_text(encoding="utf-8"))


@cache
def _cards() -> dict[str, Any]:
    return tomllib.loads((FACTS / "cards.toml").read_text(encoding="utf-8"))


@cache
def profile(name: str) -> HardwareProfile:
    """Return a profile by its exact name, of localllm or of our own cards. Raises UsageError."""
    if name in _cards():
        return parse_profile(name, _cards()[name])
    return load_profile(name)


@cache
def hardware(name: str) -> Hardware:
    """Return the machine of a profile. Raises UsageError."""
    return profile(name).hardware


def _slug(name: str) -> str:
    plain = name.lower().replace("\u2011", "-").replace("–", "-")  # noqa: RUF001 (typed by people)
    return re.sub(r"[\s_:/,]+", "-", plain).strip("-")


def _aliased(kind: str, slug: str) -> str | None:
    """Return the name in our table, ``""`` for what is to be left out, None for neither."""
    for entry in tables()[kind]:
        found = re.search(entry["pattern"], slug)
        if found is not None:
            groups = [group or "" for group in found.groups()]
            return str(entry["name"]).format("", *groups)
    return None


@cache
def model_name(name: str, params_b: float | None = None) -> str | None:
    """Return the known model that a name or a file's name means, None for none of ours."""
    slug = _model_slug(name)
    found = _aliased("models", slug)
    if found is not None:
        return known_name(found) if found else None
    return _by_words(slug, params_b)


def _model_slug(name: str) -> str:
    stem = re.sub(r"\.gguf$|-\d{5}-of-\d{5}", "", name.strip(), flags=re.IGNORECASE)
    stem = re.sub(r"-\d{5}-of-\d{5}$", "", stem.rpartition("/")[2])
    stem = re.sub(r"\((.*?)\)", r" \1", stem)
    return _slug(stem)


def _by_words(slug: str, params_b: float | None) -> str | None:
    """Look for the longest run of words that is a known model of the size that is told."""
    words = [word for word in slug.split("-") if word]
    size = _SIZE.search(slug)
    told = None
    if size is not None:
        told = float(size[1]) / (1000 if size[2] == "m" else 1)
    for length in range(min(len(words), 8), 0, -1):
        for start in range(len(words) - length + 1):
            found = known_name("-".join(words[start : start + length]))
            if found is None:
                continue
            if _fits(found, slug, told, params_b):
                return found
    return None


def _fits(found: str, slug: str, told_b: float | None, params_b: float | None) -> bool:
    """Whether a known model may be what a longer name says."""
    has = set(re.findall(r"[a-z]+", found))
    for word in _KINDS & set(re.findall(r"[a-z]+", slug)):
        if word not in has and word not in _SAME_SHAPE:
            return False
    n_params_b = size_b(found)
    for size in (told_b, params_b):
        if size is not None and not 0.75 < n_params_b / size < 1.3:
            return False
    return (
        told_b is not None
        or params_b is not None
        or not re.search(r"\d\.\d", slug)
        or (any(char.isdigit() for char in found))
    )


@cache
def size_b(name: str) -> float:
    """Return a known model's parameters in 10^9."""
    model = known_model(name)
    if model is None:
        raise UsageError(f"{name} is not a known model")
    return model.spec.n_params / 1e9


def gpu_names(told: str, n_gpus: int | None, vram_gib: float | None) -> list[str] | str:
    """Return the profiles of the GPUs that a text names, or why there are none."""
    names: list[str] = []
    for part in re.split(r"\s\+\s|\s&\s|\sand\s", told):
        count, slug = _counted(part)
        name = gpu_name(slug, vram_gib)
        if name is None:
            return f"no profile of the GPU: {told}"
        if name == "":
            return f"several machines: {told}"
        names += [name] * count
    if len(set(names)) == 1 and n_gpus:
        names = names[:1] * n_gpus
    return names


def _counted(part: str) -> tuple[int, str]:
    plain = part.strip().lower().replace("\u2011", "-")
    count = re.match(r"(\d{1,2})\s*[x×]\s*(?=\D)", plain) or re.search(  # noqa: RUF001 (typed so)
        r"\s*[*x×]\s*(\d{1,2})$",
        plain,  # noqa: RUF001
    )
    if count is None:
        return 1, plain
    return int(count[1]), (plain[: count.start()] + plain[count.end() :]).strip()


@cache
def gpu_name(told: str, vram_gib: float | None = None) -> str | None:
    """Return the profile of one GPU; ``""`` for what is no single machine, None for an unknown."""
    slug = _slug(re.sub(r"[(),]", " ", told))
    slug = re.sub(r"\b(nvidia|geforce|amd|tesla|intel|instinct|graphics|gpu|fe)\b-?", "", slug)
    slug = re.sub(r"\b(mobile|notebook)\b", "laptop", slug).strip("-")
    found = _aliased("gpus", slug)
    if found is not None:
        return _existing(found) if found else ""
    bare = re.sub(r"-?\b\d+(\.\d+)?-?(gb|gib|g)\b.*$", "", slug).strip("-")
    tries = [slug, bare]
    if vram_gib:
        tries.append(f"{bare}-{round(vram_gib)}gb")
    return next((name for each in tries if (name := _existing(each)) is not None), None)


def _existing(slug: str) -> str | None:
    if not re.search(r"\d", slug):
        return None
    for card in _cards():
        if re.sub(r"^(rtx|gtx|rx|radeon-pro|radeon)-", "", card) == re.sub(
            r"^(rtx|gtx|rx|quadro|radeon-pro|radeon|pro)-", "", slug
        ):
            return card
    try:
        return load_profile(slug).name
    except UsageError:
        return None
