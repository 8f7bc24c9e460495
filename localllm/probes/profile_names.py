"""The names of the hardware profiles, and which of them a person means by another spelling.

A name that is a file's, or a variant's that a file holds, is found without opening any other file.
Only a name that nothing is called by is compared with all: upper case, ``NVIDIA GeForce`` in front,
missing hyphens and the names that a file lists as ``aliases`` all mean the profile, if they mean
one only; else the nearest are offered.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from localllm.errors import UsageError
from localllm.probes.profile_tables import bad
from localllm.probes.profile_variants import (
    VARIANT_TABLES,
    split_name,
    variant_table,
    variants,
)

_MOST_OFFERED = 8
_BRANDS = frozenset(
    (
        *("nvidia", "geforce", "rtx", "gtx", "quadro", "tesla", "amd", "radeon", "rx", "instinct"),
        *("intel", "arc", "r", "tm", "gpu", "graphics", "generation", "accelerator", "edition"),
        *("hbm2", "hbm2e", "hbm3", "hbm3e"),
    )
)
"""Words that people add or leave out."""
_VARIANT = re.compile(rf"^\[({'|'.join(VARIANT_TABLES)})\]", re.MULTILINE)


def profile_names() -> tuple[str, ...]:
    """Return the names of all profiles, sorted, MIG slices and memory sizes among them."""
    found: list[str] = []
    for name in _file_names():
        found.append(name)
        text = _text(name)
        if _VARIANT.search(text):  # parsing every file would cost ten times as much
            found.extend(name + variant for variant in variants(_parsed(name, text)))
    return tuple(sorted(found))


def read_profile(name: str) -> tuple[str, str, dict[str, Any]]:
    """Return a profile's file by any spelling of its name: file, variant, parsed TOML.

    Raises UsageError with the nearest names for one that nothing is called by, or several things.
    """
    found = _lookup(name) or _lookup(_resolved(name))
    if found is None:
        raise _unknown(name)
    return found


def _lookup(name: str) -> tuple[str, str, dict[str, Any]] | None:
    known = _file_names()
    if name in known:
        return name, "", _parsed(name, _text(name))
    base, variant = split_name(name)
    if base in known:
        data = _parsed(base, _text(base))
        if variant_table(variant) in data:
            return base, variant, data
    return None


def _resolved(name: str) -> str:
    """Return the one profile that a spelling means. Raises UsageError."""
    wanted = _words(name)
    plain = wanted - _BRANDS
    by_name, by_alias, by_product = [], [], []
    extra: dict[str, int] = {}
    for profile in profile_names():
        words = _words(profile)
        if words == wanted:
            return profile
        if plain and words - _BRANDS == plain:
            by_name.append(profile)
        elif plain and plain < words:
            extra[profile] = len(words - _BRANDS - plain)
    for profile, aliases, product in _other_names():
        if plain and any(_words(alias) - _BRANDS == plain for alias in aliases):
            by_alias.append(profile)
        if plain and _words(product) - _BRANDS == plain:
            by_product.append(profile)
    fewest = min(extra.values(), default=0)
    nearest = [profile for profile, count in extra.items() if count == fewest]
    for candidates in (by_name, by_alias, by_product, nearest):
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise UsageError(
                f"{name!r} may be several hardware profiles.",
                hint=f"Nearest: {', '.join(_shortest(candidates))}.",
            )
    raise _unknown(name)


def _other_names() -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield every file's name, its aliases, and the name that the vendor's tools print."""
    for name in sorted(_file_names()):
        data = _parsed(name, _text(name))
        aliases = data.get("aliases", [])
        words = aliases if isinstance(aliases, list) else []
        yield name, tuple(map(str, words)), str(data.get("description", ""))


def profile_texts() -> Iterator[tuple[str, str]]:
    """Yield every file's name and its TOML as text: parsing them all costs ten times as much."""
    for name in sorted(_file_names()):
        yield name, _text(name)


def _words(name: str) -> frozenset[str]:
    """Return a name's words in lower case, letters and digits apart: ``rtx4090ti`` is three."""
    text = re.sub(r"(?<![a-z0-9.])([a-z]+?)(\d{3,4})(?![\d.])", r"\1 \2", name.lower())
    text = re.sub(r"(?<!\d)(\d{4})(?=[a-z])", r"\1 ", text)
    return frozenset(re.findall(r"[a-z0-9.]+", text))


def _shortest(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (len(name), name))[:_MOST_OFFERED]


def _unknown(name: str) -> UsageError:
    near = difflib.get_close_matches(name.lower(), profile_names(), n=3, cutoff=0.5)
    hint = f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(sorted(_file_names()))}."
    return UsageError(f"No hardware profile is called {name!r}.", hint=hint)


def _file_names() -> frozenset[str]:
    entries = (entry.name for entry in _folder().iterdir())
    return frozenset(name.removesuffix(".toml") for name in entries if name.endswith(".toml"))


def _text(name: str) -> str:
    try:
        return (_folder() / f"{name}.toml").read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise bad(name, f"is not TOML: {error}") from error


def _parsed(name: str, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise bad(name, f"is not TOML: {error}") from error


def _folder() -> Traversable:
    """Return the profiles inside the installed package, or those of the checkout."""
    packaged = files("localllm") / "_profiles" / "hardware"
    if packaged.is_dir():
        return packaged
    return Path(__file__).parents[2] / "profiles" / "hardware"
