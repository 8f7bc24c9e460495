"""Names of models -> what is known of them: their files here, a header, or a recorded shape.

To run a model its files must be here: a path, a part of a split file, or ``demo``. To plan one, its
address will do (``remote.py``), or a name whose shape is recorded (``known.py``).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from localllm.core.model import ModelSpec
from localllm.core.text import printable
from localllm.errors import GGUFError, NotFoundError, UsageError
from localllm.hub.gguf import GGUFHeader, directory_error, open_file
from localllm.hub.spec import model_spec
from localllm.hub.split import model_stem, read_model

if TYPE_CHECKING:
    from localllm.core.kept import KeptModel
    from localllm.hub.known import KnownModel
    from localllm.hub.names import ModelName
    from localllm.hub.remote import OnReading, RemoteModel

DEMO = "demo"
_HUB_NAME = re.compile(r"(hf\.co/|https?://)?[\w.-]+(/[\w.-]+)+(:[\w.-]+)?")
_FOREIGN_ADDRESS = re.compile(r"(?!https?://)[A-Za-z][A-Za-z0-9+.-]*://", re.IGNORECASE)
_EDGE_BYTES = 64 * 1024
_SAMPLE_BYTES = 4096
_N_SAMPLES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A model whose files are here, and what they say of it."""

    name: str
    """What to call it: ``demo``, or the file's name without its ending."""
    paths: tuple[Path, ...]
    """All parts, in order."""
    spec: ModelSpec
    content_id: str
    """Tells this content from any other, cheaply: not a proof against forgery."""
    template: str | None
    """Its chat template: a program by a stranger, for the engine child only."""
    header: GGUFHeader = field(repr=False, compare=False)
    """The first part's, with the tensors of all."""
    recorded: ClassVar[bool] = False
    """Whether only its shape is known, from our own records."""
    notes: ClassVar[tuple[str, ...]] = ()
    """Nothing more is to be said of a file that is here."""

    def header_files(self, folder: Path, *, vocabulary: bool) -> tuple[Path, ...]:
        """Return files that llama.cpp can dry-run: the model's own, or one without its vocabulary.

        The latter is small, loads ten times faster, and is written to ``folder``. Raises
        NoHolesError where that cannot be, GGUFError where the model has changed.
        """
        if vocabulary:
            return self.paths
        from localllm.hub.hollow import bare_header, write_bare

        with open_file(self.paths[0]) as file:

            def read_span(start: int, end: int) -> bytes:
                file.seek(start)
                return file.read(end - start)

            bare = bare_header(self.header, n_vocab=self.spec.n_vocab, read_span=read_span)
        return write_bare(folder, bare)


def resolve(name: str, environ: Mapping[str, str] = os.environ) -> LocalModel:
    """Return the files and the header of a model that is here: a path, ``demo``, a kept one's name.

    Raises NotFoundError (exit 5) for a name that is neither, UsageError (2) for a folder or a file
    that is no model, or a name that several kept models have, LocalLLMError (1) for one that may
    not be read, GGUFError (7) for a bad one.
    """
    if is_path(name):
        return _resolve_local(name, _path(name))
    from localllm.hub.here import kept_as

    kept = kept_as(meaning_of(name, environ), environ=environ)
    if len(kept) == 1:
        return kept_model(kept[0])
    if kept:
        from localllm.hub.name_errors import listed

        raise UsageError(
            f"{printable(name)} is here in {len(kept)} quantisations.",
            hint=f"Name one: {listed([each.name for each in kept])}.",
        )
    from localllm.hub.name_errors import not_here

    raise not_here(name, meaning_of(name, environ), environ)


def is_path(name: str) -> bool:
    """Whether a name is ``demo`` or a file to be looked for here, be it there or not.

    Raises UsageError for an empty name, and for an address of another kind than the web's.
    """
    return not _is_url(name) and _is_here(name, _path(name))


def meaning_of(name: str, environ: Mapping[str, str] = os.environ) -> ModelName:
    """Return what a name means, with the person's own aliases replaced by what they stand for.

    Raises UsageError for what can be no name, and for aliases that make no sense.
    """
    if is_path(name):
        from localllm.hub.names import PathName

        return PathName(path=name)
    from localllm.hub.aliases import meaning_of as meaning_of_text

    return meaning_of_text(name, environ)


def local_model(path: Path, *, name: str | None = None) -> LocalModel:
    """Return the model of a file that is here, or of a split one's first part.

    ``name``: what to call it where the file's own name says nothing. Raises what ``resolve`` does.
    """
    return _load(path, name=name or model_stem(path))


def kept_model(kept: KeptModel) -> LocalModel:
    """Return a kept model, read. Raises what ``resolve`` does."""
    says_nothing = kept.keeper == "ollama"
    return local_model(kept.files[0].path, name=kept.name if says_nothing else None)


def resolve_for_plan(
    name: str, *, on_reading: OnReading | None = None
) -> LocalModel | RemoteModel | KnownModel:
    """Return what a plan needs of a model: of its files, its address, or a name that is known.

    A file that is here comes first, then ``demo``, then the recorded shapes (``llama-3-70b``,
    ``llama-3-70b:Q5_K_M``). ``on_reading`` hears how the reading of a remote header goes. Raises
    what ``resolve`` and ``remote_model`` do.
    """
    if _is_url(name):
        from localllm.hub.remote import remote_model

        return (
            remote_model(name) if on_reading is None else remote_model(name, on_reading=on_reading)
        )
    path = _path(name)
    if _is_here(name, path):
        return _resolve_local(name, path)
    from localllm.hub.known import known_model

    known = known_model(name)
    if known is None:
        from localllm.hub.name_errors import not_here

        raise not_here(name, meaning_of(name), os.environ)
    return known


def _is_url(name: str) -> bool:
    """Whether a name is an address; a plain one is known without importing what reads those."""
    if "://" not in name and ".co/" not in name.lower():
        return False
    from localllm.hub.remote_url import is_url

    return is_url(name)


def _path(name: str) -> Path:
    if not name.strip():
        raise UsageError("The name of the model is empty.", hint=f"Try `{DEMO}`.")
    if _FOREIGN_ADDRESS.match(name):
        raise UsageError(
            f"{printable(name[:200])} is no address that can be read.",
            hint="Addresses begin with https:// or http://.",
        )
    return Path(name).expanduser() if name.startswith("~") else Path(name)


def _is_here(name: str, path: Path) -> bool:
    """Whether a name is to be looked for on this machine, be it there or not."""
    if name == DEMO:
        return True
    if os.path.isdir(path) and path.name == name:
        from localllm.hub.known import known_model

        return known_model(name) is None  # a folder is no model, so the name is not meant for it
    return _is_path(name, path)


def _resolve_local(name: str, path: Path) -> LocalModel:
    if name == DEMO:
        return _demo()
    if os.path.isdir(path):
        raise directory_error(path)
    try:
        return _load(path, name=model_stem(path))
    except NotFoundError as error:
        if os.path.exists(path):
            raise  # a missing part
        from localllm.hub.name_errors import near_files

        raise NotFoundError(error.message, hint=near_files(path) or error.hint) from None


def _demo() -> LocalModel:
    from importlib import resources  # 30 ms, for nothing but this

    path = Path(str(resources.files("localllm") / "_demo" / "demo.gguf"))
    if not path.is_file():
        raise NotFoundError(
            "The demo model is missing from this installation.",
            hint="Install localllm again, or pass the path of a .gguf file.",
        )
    return _load(path, name=DEMO)


def _load(path: Path, *, name: str) -> LocalModel:
    paths, header = read_model(path)
    try:
        spec = model_spec(header, source=str(paths[0]), stem=model_stem(path))
    except (GGUFError, UsageError) as error:
        error.message = f"{printable(paths[0].name)}: {error.message}"
        error.args = (error.message,)
        raise
    return LocalModel(
        name=name,
        paths=paths,
        spec=spec,
        content_id=content_id(paths, header_bytes=header.data_offset),
        template=header.template,
        header=header,
    )


def content_id(paths: Sequence[Path], *, header_bytes: int) -> str:
    """Hash the sizes, both ends of the first part's header, and a few samples of every part."""
    digest = hashlib.sha256()
    for path in paths:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(size.to_bytes(8, "little"))
            places = [(size * i // _N_SAMPLES, _SAMPLE_BYTES) for i in range(_N_SAMPLES)]
            places += [(0, _EDGE_BYTES), (max(header_bytes - _EDGE_BYTES, 0), _EDGE_BYTES)]
            for offset, n in places:
                file.seek(offset)
                digest.update(file.read(n))
    return digest.hexdigest()


def _is_path(name: str, path: Path) -> bool:
    """Whether a name that may be a path or a name on the Hub is to be read as a path."""
    if name.endswith(".gguf") or os.path.exists(path):
        return True
    if os.sep not in name and "/" not in name:
        return False
    if name.startswith((".", "~", os.sep)):
        return True
    return os.path.isdir(path.parent) or _HUB_NAME.fullmatch(name) is None
