"""A repository's files told apart by name and size: models with their parts, and all the rest.

No file is opened. A name that may mean two things is settled by size: an importance matrix or a
LoRA adapter is small beside its model, a model whose name only mentions them is not.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from localllm.core.text import printable
from localllm.hub.gguf.split import PART
from localllm.hub.offers.quant_label import UNKNOWN_QUANT, read_label
from localllm.hub.repo_files import RepoFile

_ENDING = ".gguf"
_PIECE = re.compile(r"\.gguf[-.](?:part|split)[-.]?\w{1,8}$", re.IGNORECASE)
_PROJECTOR = re.compile(r"mmproj|(?:mm|vision)[-_]projector", re.IGNORECASE)
_IMATRIX_FILE = re.compile(r"imatrix.*\.(?:dat|gguf|gguf_file|bin)$|\.imatrix$", re.IGNORECASE)
_DRAFT = re.compile(r"(?:mtp|eagle3|dflash|dspark|draft)[-_]", re.IGNORECASE)
"""How the names of helpers for speculative decoding begin; llama.cpp's ``common/download.cpp``
tells them by the same words."""
_ADAPTER = re.compile(r"(?<![a-z])(?:q?lora|adapter)(?![a-z])", re.IGNORECASE)
_MERGED = re.compile(r"merged|fused", re.IGNORECASE)
_VOCABULARY = re.compile(r"(?<![a-z])vocab(?![a-z])", re.IGNORECASE)

_OF_A_MATRIX = 50
"""A model is more times larger than its importance matrix or its vocabulary: 70B at one bit has
16 GB, its matrix 25 MB. A model is at most 16 times larger than itself in other types."""
_OF_AN_ADAPTER = 4
_FEW = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """One model file, or all parts of one."""

    quant: str
    stem: str
    """What the model is called, without its quantisation."""
    files: tuple[RepoFile, ...]
    """The parts, in order."""

    @property
    def path(self) -> str:
        """Of the first part."""
        return self.files[0].path


@dataclass(slots=True, kw_only=True)
class ToldApart:
    """What the files of a repository are."""

    models: list[ModelFiles] = field(default_factory=list)
    drafts: list[ModelFiles] = field(default_factory=list)
    projectors: list[RepoFile] = field(default_factory=list)
    imatrices: list[RepoFile] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """Sentences."""


def is_told_apart(path: str) -> bool:
    """Whether a file has to do with GGUF models by its name; ``tell_apart`` says what it is."""
    name = _name(path)
    return (
        name.lower().endswith(_ENDING)
        or _PIECE.search(name) is not None
        or _IMATRIX_FILE.search(name) is not None
    )


def tell_apart(files: Iterable[RepoFile]) -> ToldApart:
    """Return what each file is; those that have nothing to do with GGUF are left away."""
    unique = sorted({file.path: file for file in files}.values(), key=lambda file: file.path)
    told = ToldApart()
    pieces = [file for file in unique if _PIECE.search(file.path)]
    gguf = [file for file in unique if file.path.lower().endswith(_ENDING)]
    empty = [file for file in gguf if file.n_bytes <= 0]
    gguf = [file for file in gguf if file.n_bytes > 0]
    told.projectors = [file for file in gguf if _PROJECTOR.search(file.path)]
    gguf = [file for file in gguf if not _PROJECTOR.search(file.path)]
    largest = max((file.n_bytes for file in gguf), default=0)
    told.imatrices = [file for file in unique if _is_imatrix(file, largest)]
    gguf = [file for file in gguf if not _is_imatrix(file, largest)]
    vocabularies = [file for file in gguf if _is_vocabulary(file, largest)]
    adapters = [file for file in gguf if _is_adapter(file, largest)]
    other = {file.path for file in (*vocabularies, *adapters)}
    _say(told, pieces, "cut into pieces that must be joined first")
    _say(told, empty, "empty")
    _say(told, vocabularies, "a vocabulary without a model", "vocabularies without a model")
    _say(told, adapters, "a LoRA adapter, no model", "LoRA adapters, no models")
    models = _joined([file for file in gguf if file.path not in other], told.left_out)
    told.drafts = [model for model in models if _DRAFT.match(_name(model.path))]
    told.models = [model for model in models if not _DRAFT.match(_name(model.path))]
    if not told.models:  # a repository of drafts is asked for on purpose
        told.models, told.drafts = told.drafts, []
    first_parts = [model.files[0] for model in told.drafts]
    _say(told, first_parts, "a draft for speculative decoding", "drafts for speculative decoding")
    return told


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _stem(path: str) -> str:
    return _name(path)[: -len(_ENDING)]


def _has_label(file: RepoFile) -> bool:
    return read_label(_stem(file.path)).quant != UNKNOWN_QUANT


def _is_imatrix(file: RepoFile, largest: int) -> bool:
    name = _name(file.path)
    if not _IMATRIX_FILE.search(name):
        return False
    is_model = name.lower().endswith(_ENDING) and _has_label(file)
    return not is_model or file.n_bytes * _OF_A_MATRIX < largest


def _is_vocabulary(file: RepoFile, largest: int) -> bool:
    if not _VOCABULARY.search(_name(file.path)):
        return False
    return not _has_label(file) or file.n_bytes * _OF_A_MATRIX < largest


def _is_adapter(file: RepoFile, largest: int) -> bool:
    name = _name(file.path)
    if not _ADAPTER.search(name) or _MERGED.search(name):
        return False
    return file.n_bytes * _OF_AN_ADAPTER < largest


def _joined(files: Sequence[RepoFile], left_out: list[str]) -> list[ModelFiles]:
    """Models with their parts in order; of those that are not all there, a sentence."""
    models: list[ModelFiles] = []
    parts: dict[tuple[str, int], dict[int, RepoFile]] = defaultdict(dict)
    for file in files:
        folder, slash, name = file.path.rpartition("/")
        if match := PART.fullmatch(name):
            key = (f"{folder}{slash}{match['stem']}", int(match["count"]))
            parts[key][int(match["number"])] = file
        else:
            models.append(_model(file.path[: -len(_ENDING)], (file,)))
    for (path, count), by_number in parts.items():
        model = _model(path, tuple(by_number[number] for number in sorted(by_number)))
        missing = count - len(by_number)
        if count > 0 and not missing and set(by_number) == set(range(1, count + 1)):
            models.append(model)
        elif missing > 0:
            are = "is" if missing == 1 else "are"
            left_out.append(
                f"{_shown(model)} is incomplete: {missing} of its {count} parts {are} missing."
            )
        else:
            left_out.append(f"{_shown(model)} has parts that are numbered wrongly.")
    return models


def _model(path: str, files: tuple[RepoFile, ...]) -> ModelFiles:
    """A model by its path without ending and number; a folder gives the quantisation it lacks."""
    *folders, name = path.split("/")
    label = read_label(name)
    if label.quant != UNKNOWN_QUANT:
        return ModelFiles(quant=label.quant, stem=label.stem, files=files)
    for folder in reversed(folders):
        if (quant := read_label(folder).quant) != UNKNOWN_QUANT:
            return ModelFiles(quant=quant, stem=name, files=files)
    return ModelFiles(quant=UNKNOWN_QUANT, stem=name, files=files)


def _shown(model: ModelFiles) -> str:
    return model.quant if model.quant != UNKNOWN_QUANT else printable(model.path[:200])


def _say(told: ToldApart, files: Sequence[RepoFile], one: str, several: str = "") -> None:
    """Leave a sentence on files of a kind, naming a few of them."""
    if not files:
        return
    names = [printable(_name(file.path)[:200]) for file in files[:_FEW]]
    more = len(files) - len(names)
    if len(files) == 1:
        told.left_out.append(f"{names[0]} is {one}.")
    else:
        tail = f" and {more} more" if more else ""
        told.left_out.append(f"{', '.join(names)}{tail} are {several or one}.")
