"""What a model says of itself: facts of its header in the words of its keys, for ``localllm show``.

Pure: a header's metadata and tensors in, values out. A key that is missing, or is not what its name
says, gives None: whoever wrote the file was free to leave it out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from localllm.core.model import MetadataValue, ModelSpec, TensorInfo

MAX_BASES = 16
"""Base models that are looked for: a merge has a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedFile:
    """One file of a model."""

    place: str
    """Its path here or in its repository, or its address."""
    n_bytes: int
    sha256: str | None = None
    """What its keeper says that it hashes to; None where nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A model and what is known of it without loading it."""

    name: str
    """As it can be asked for."""
    known_by: Literal["its files", "its header on a server", "its recorded shape"]
    spec: ModelSpec
    template: str | None
    """Its chat template: a program by a stranger."""
    arrays: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Keys whose values are too long to keep: type of the elements, and how many."""
    files: tuple[DescribedFile, ...] = ()
    licence: str | None = None
    """As its publisher names it, where the file itself does not say."""
    publisher: str | None = None
    is_gated: bool | None = None
    """Whether its licence must be accepted first; None where that is not known."""
    reasoning_markers: tuple[str, ...] = ()
    """What opens a block of reasoning, of the markup that localllm knows, in the template."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeShare:
    """The tensors of one type."""

    type: str
    n_tensors: int
    n_bytes: int
    n_elements: int

    @property
    def bits_per_weight(self) -> float:
        """Bits that one element takes, scales included."""
        return 8 * self.n_bytes / self.n_elements if self.n_elements else 0.0


def type_shares(tensors: Sequence[TensorInfo]) -> tuple[TypeShare, ...]:
    """Return the tensors of a file by their type, the type with the most bytes first."""
    by_type: defaultdict[str, list[TensorInfo]] = defaultdict(list)
    for tensor in tensors:
        by_type[tensor.type].append(tensor)
    shares = [
        TypeShare(
            type=name,
            n_tensors=len(each),
            n_bytes=sum(tensor.n_bytes for tensor in each),
            n_elements=sum(tensor.n_elements for tensor in each),
        )
        for name, each in by_type.items()
    ]
    return tuple(sorted(shares, key=lambda share: (-share.n_bytes, share.type)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who made a model, of what, and under which terms, as its file says."""

    licence: str | None
    author: str | None
    """``general.author``, or the organization."""
    quantised_by: str | None
    base_models: tuple[str, ...]
    """``user/repo`` where the file gives the address, else names."""
    url: str | None
    description: str | None
    languages: tuple[str, ...]
    tags: tuple[str, ...]
    imatrix: str | None
    """The file that the importance matrix was made from; None without one."""


def origin_of(metadata: Mapping[str, MetadataValue]) -> Origin:
    """Return the ``general.*`` keys that say where a model comes from."""

    def text(*keys: str) -> str | None:
        for key in keys:
            value = metadata.get(key)
            if isinstance(value, str) and value.strip():
                return " ".join(value.split())
        return None

    licence = text("general.license")
    if licence is None or licence.lower() == "other":
        licence = text("general.license.name", "general.license.link") or licence
    return Origin(
        licence=licence,
        author=text("general.author", "general.organization"),
        quantised_by=text("general.quantized_by"),
        base_models=tuple(_bases(metadata)),
        url=text("general.url", "general.repo_url", "general.source.url"),
        description=text("general.description"),
        languages=_texts(metadata.get("general.languages")),
        tags=_texts(metadata.get("general.tags")),
        imatrix=text("quantize.imatrix.dataset", "quantize.imatrix.file"),
    )


def template_features(template: str, reasoning_markers: Collection[str] = ()) -> tuple[str, ...]:
    """Return what a chat template provides for, by the names in its text: nothing is run.

    ``tools``; ``reasoning`` with the switches that it reads; ``documents``; ``images``. A name that
    only stands in a comment counts as well.
    """
    words = set(re.findall(r"[A-Za-z_]+", template))
    switches = [word for word in _SWITCHES if word in words]
    found = []
    if "tools" in words:
        found.append("tools")
    if reasoning_markers or switches or "reasoning_content" in words:
        found.append(f"reasoning ({', '.join(switches)})" if switches else "reasoning")
    if "documents" in words:
        found.append("documents")
    if {"image_url", "image"} & words:
        found.append("images")
    return tuple(found)


_SWITCHES = ("enable_thinking", "thinking", "thinking_budget", "reasoning_effort")
"""What templates call the argument: Qwen and GLM, DeepSeek, Seed, gpt-oss."""


def _bases(metadata: Mapping[str, MetadataValue]) -> Iterator[str]:
    count = metadata.get("general.base_model.count")
    for index in range(min(count, MAX_BASES) if isinstance(count, int) else 0):
        address = metadata.get(f"general.base_model.{index}.repo_url")
        name = metadata.get(f"general.base_model.{index}.name")
        match = _HUB_PAGE.fullmatch(address) if isinstance(address, str) else None
        if match is not None:
            yield match[1]
        elif isinstance(name, str) and name.strip():
            yield " ".join(name.split())


_HUB_PAGE = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)/?", re.ASCII)


def _texts(value: MetadataValue | None) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, tuple) else ()
