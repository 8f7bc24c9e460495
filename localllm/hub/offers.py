"""A repository's files -> the models on offer in it: quantisations, parts together, the rest apart.

Pure: names and sizes in, values out. The quantisation is read from the file's name.
"""

from __future__ import annotations

from dataclasses import dataclass

from localllm.hub.repo_files import RepoFile

UNKNOWN_QUANT = "?"
"""Of a file whose name does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One model file, or all parts of one, in one quantisation."""

    quant: str
    """As the publisher names it, in capitals: ``Q4_K_M``, ``UD-Q4_K_XL``, ``Q4_K_L``."""
    files: tuple[RepoFile, ...]
    """The parts, in order."""

    @property
    def n_bytes(self) -> int:
        """Of all parts."""
        return sum(file.n_bytes for file in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What a repository has for us."""

    models: tuple[Offer, ...]
    """Largest first; one for each quantisation."""
    projectors: tuple[RepoFile, ...] = ()
    """``mmproj`` files: eyes and ears of a model, no model."""
    imatrices: tuple[RepoFile, ...] = ()
    """Importance matrices, made for quantising."""
    incomplete: tuple[str, ...] = ()
    """Quantisations of which a part is missing, and other things left out, as sentences."""
