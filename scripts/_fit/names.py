"""Which of our models and machines a public row means."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from localllm.core.hardware import Hardware, HardwareProfile
from localllm.errors import UsageError
from localllm.hub.known.models import known_model, known_name
from localllm.probes.profiles import load_profile, parse_profile

FACTS = Path(__file__).parents[1] / "facts"

_MOST_GPUS = 16
"""llama.cpp's ``llama_max_devices``."""
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
    plain = name.lower().replace("\u2011", "-").replace("–", "-")
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
    named = re.search(rf"(?<![0-9.]){told_b:g}b", found) is not None if told_b else False
    for size in (told_b, params_b):
        widest = 1.6 if named else 1.3  # names round: gemma-2-2b has 2.6 B parameters
        if size is not None and not 0.75 < n_params_b / size < widest:
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
        names += [name] * min(count, _MOST_GPUS + 1)
    n_gpus = max(n_gpus or 0, 0) or len(names)
    if max(n_gpus, len(names)) > _MOST_GPUS:
        return f"more GPUs than llama.cpp takes: {max(n_gpus, len(names))}"
    if len(set(names)) == 1:
        names = names[:1] * n_gpus
    return names


def _counted(part: str) -> tuple[int, str]:
    plain = re.sub(r"\bpcie [\d.]+ ?x\d+", "", part.strip().lower())
    count = re.match(r"(\d{1,2})\s*[x×]\s*(?=\D)", plain)
    count = count or re.search(r"\s*[*x×]\s*(\d{1,2})$", plain)
    if count is None:
        return 1, plain
    return int(count[1]), (plain[: count.start()] + plain[count.end() :]).strip()


@cache
def gpu_name(told: str, vram_gib: float | None = None) -> str | None:
    """Return the profile of one GPU; ``""`` for what is no single machine, None for an unknown."""
    for text in (re.sub(r"[(),]", " ", told), re.sub(r"\(.*?\)", " ", told)):
        slug = _slug(text)
        slug = re.sub(r"\b(nvidia|geforce|amd|tesla|intel|instinct|graphics|gpu|fe)\b-?", "", slug)
        slug = re.sub(r"\b(mobile|notebook)\b", "laptop", slug).strip("-")
        size = re.search(r"\b(\d+)-?(?:gb|gib)\b", slug)
        vram = f"{size[1]}gb" if size else f"{round(vram_gib)}gb" if vram_gib else "?"
        found = _aliased("gpus", slug)
        if found == "":
            return ""
        bare = found or re.sub(r"-?\b\d+(\.\d+)?-?(gb|gib)\b.*$", "", slug).strip("-")
        tries = [f"{found}-{vram}", found] if found else [slug, bare, f"{bare}-{vram}"]
        name = next((name for each in tries if (name := _existing(each)) is not None), None)
        if name is not None:
            return name
    return None


@cache
def _existing(slug: str) -> str | None:
    """Return the GPU's profile of a name, of localllm or of our own cards."""
    if not re.search(r"\d", slug):
        return None
    plain = re.sub(r"^(quadro-)?(rtx|gtx|rx|radeon-pro|radeon|pro)-", "", slug)
    for card in _cards():
        if slug == card or plain == re.sub(r"^(rtx|gtx|rx|radeon-pro|radeon)-", "", card):
            return card
    try:
        found = load_profile(slug)
    except UsageError:
        return None
    return found.name if found.hardware.devices else None
