"""The names of the recorded models: how one is found, spelt as it may be, and whose weights it is.

Two models can share a shape, so that either's plan is the other's, and be different models: an
instruct model and its base, a later release. Such a name is a variant: planned from the shape it
shares, fetched only from repositories of its own (``names/sources.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from localllm.hub.known.schema import Recorded, read_recorded

_VENDOR = re.compile(
    r"^(?:(?:meta|google|nvidia|mistralai|openai|microsoft)[-_ ]"
    r"|(?:ai21labs|allenai|baidu|bytedance-seed|coherelabs|cohereforai|deepseek-ai|huggingfacetb"
    r"|ibm-granite|lgai-exaone|liquidai|minimaxai|moonshotai|qwen|tencent|tiiuae|zai-org)_)"
)
"""Whose model it is, as some write it before the name; the second row is bartowski's habit."""
_FORM = re.compile(r"[-_. ](hf|gguf)$")
_TUNED = re.compile(r"[-_. ](instruct|it|chat)(?=[-_. ]|$)")
_BASE = re.compile(r"[-_. ]base$")
_SEPARATORS = re.compile(r"(?<!\d)[-_:. /]+|[-_:. /]+(?!\d)")
"""What may be left out: all but what stands between two digits, or a 34b would be a 3-4b."""
_BETWEEN_DIGITS = re.compile(r"[-_:. ]+")
_NAME = re.compile(r'^\[models\."([^"]+)"\]', re.MULTILINE)
_ALIASES = re.compile(r"^aliases = \[([^\]]*)\]", re.MULTILINE)
_VARIANT = re.compile(r'^variants\."([^"]+)" = ', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class NamesOfModel:
    """What a model is called besides its name."""

    aliases: tuple[str, ...]
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a name was found to be."""

    file_name: str
    """The family's."""
    model: str
    """The name of the recorded model."""
    variant: str | None = None
    """The name of other weights of the same shape."""
    words: frozenset[str] = frozenset()
    """What was left away to find it, of ``tuned`` and ``base``."""

    @property
    def facts(self) -> Recorded:
        """What the family's file says of the model. Raises IntegrityError for a bad file."""
        return _facts(self.file_name, self.model)


def find_known(name: str) -> Known | None:
    """Return what a name or an alias without a quantisation is, if it is known.

    Case, dashes, dots, the vendor before it and words for its tuning behind it do not matter.
    """
    by_key = _by_key()
    lowered = name.strip().lower()
    words: set[str] = set()
    for tried in dict.fromkeys((lowered, _VENDOR.sub("", lowered))):
        words.clear()
        while True:
            if (found := by_key.get(key_of(tried))) is not None:
                file_name, model, variant = found
                return Known(
                    file_name=file_name, model=model, variant=variant, words=frozenset(words)
                )
            shorter = _FORM.sub("", tried)
            if shorter == tried and (shorter := _TUNED.sub("", tried)) != tried:
                words.add("tuned")
            elif shorter == tried and (shorter := _BASE.sub("", tried)) != tried:
                words.add("base")
            if shorter == tried:
                break
            tried = shorter
    return None


def known_names() -> tuple[str, ...]:
    """Return the names of all recorded models, sorted; aliases and variants are not among them."""
    return tuple(sorted({model for _, model, _ in _by_key().values()}))


def known_name(name: str) -> str | None:
    """Return the recorded model whose shape a name without a quantisation has, if any."""
    found = find_known(name)
    return found.model if found else None


def nearest_names(name: str, n: int = 3, *, others: Iterable[str] = ()) -> list[str]:
    """Return the known names, and others, that are most like one that is not, nearest first."""
    import difflib  # not needed as long as names are right

    by_key = {key: variant or model for key, (_, model, variant) in _by_key().items()}
    by_key.update((key_of(other), other) for other in others)
    wanted = key_of(name.partition(":")[0])
    close = difflib.get_close_matches(wanted, list(by_key), n=3 * n, cutoff=0.6)
    return list(dict.fromkeys(by_key[key] for key in close))[:n]


def key_of(name: str) -> str:
    """Return a name as names are compared: without its case and most separators."""
    return _BETWEEN_DIGITS.sub("-", _SEPARATORS.sub("", name.strip().lower()))


def names_in(text: str) -> dict[str, NamesOfModel]:
    """Return the models of a family's file with their other names, read without parsing it.

    Looking up one name in forty files must cost a few milliseconds; a test holds this to what a
    TOML parser finds.
    """
    found: dict[str, NamesOfModel] = {}
    starts = list(_NAME.finditer(text))
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        section = text[start.end() : end.start() if end else len(text)]
        aliases = _ALIASES.search(section)
        found[start[1]] = NamesOfModel(
            tuple(re.findall(r'"([^"]+)"', aliases[1]) if aliases else ()),
            tuple(_VARIANT.findall(section)),
        )
    return found


def models_folder() -> Path:
    """Return where the families' files are: in the package, or at the root of a checkout."""
    # importlib.resources would say it too, for 30 ms
    packaged = Path(__file__).parents[2] / "_profiles" / "models"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "profiles" / "models"


@cache
def _by_key() -> dict[str, tuple[str, str, str | None]]:
    """A name, alias or variant as it is compared -> the file, the model, the variant."""
    by_key: dict[str, tuple[str, str, str | None]] = {}
    for entry in models_folder().iterdir():
        if not entry.name.endswith(".toml"):
            continue
        for name, found in names_in(entry.read_text(encoding="utf-8")).items():
            for each in (name, *found.aliases):
                by_key[key_of(each)] = (entry.name, name, None)
            for each in found.variants:
                by_key[key_of(each)] = (entry.name, name, each)
    return by_key


@cache
def _facts(file_name: str, name: str) -> Recorded:
    return read_recorded(models_folder(), file_name, name)
