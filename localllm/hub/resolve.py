"""Names of models -> what is known of them: their files here, a header, or a recorded shape.

To run a model its files must be here: a path, a part of a split file, or ``demo``. To plan one, its
address will do (``headers/remote.py``), or a name whose shape is recorded (``known/models.py``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from localllm.core.model import ModelSpec
from localllm.core.text import printable
from localllm.errors import GGUFError, NotFoundError, UsageError
from localllm.hub.gguf.reader import GGUFHeader, directory_error, open_file
from localllm.hub.gguf.split import model_stem, read_model
from localllm.hub.names.reading import (
    DEMO,
    AddressName,
    ModelName,
    PathName,
    PlainName,
    RepoName,
    read_name,
)
from localllm.hub.spec.model_spec import model_spec

if TYPE_CHECKING:
    from localllm.core.kept import KeptModel
    from localllm.hub.headers.remote import OnReading, RemoteModel
    from localllm.hub.known.models import KnownModel

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
        from localllm.hub.gguf.hollow import bare_header, write_bare

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
    meant = meaning_of(name, environ)
    if isinstance(meant, PathName):
        return at_path(meant.path)
    from localllm.hub.kept.here import kept_as

    kept = kept_as(meant, environ=environ)
    if len(kept) == 1:
        return kept_model(kept[0])
    from localllm.hub.names.errors import listed, not_here

    if kept:
        raise UsageError(
            f"{printable(name)} is here in {len(kept)} quantisations.",
            hint=f"Name one: {listed([each.name for each in kept])}.",
        )
    raise not_here(name, meant, environ)


def meaning_of(name: str, environ: Mapping[str, str] = os.environ) -> ModelName:
    """Return what a name means, with the person's own aliases replaced by what they stand for.

    Raises UsageError for what can be no name, and for aliases that make no sense.
    """
    meant = read_name(name, environ)
    if not isinstance(meant, PlainName):
        return meant
    from localllm.hub.names.aliases import read_aliases

    return read_aliases(environ).meaning(meant, environ)


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
    name: str,
    *,
    on_reading: OnReading | None = None,
    environ: Mapping[str, str] = os.environ,
) -> LocalModel | RemoteModel | KnownModel:
    """Return what a plan needs of a model: of its files, its address, or a name that is known.

    A file that is here comes first, then ``demo``, then the recorded shapes (``llama-3-70b``,
    ``llama-3-70b:Q5_K_M``). ``on_reading`` hears how the reading of a remote header goes. Raises
    what ``resolve`` and ``remote_model`` do.
    """
    meant = meaning_of(name, environ)
    if isinstance(meant, PathName):
        return at_path(meant.path)
    address = _address(meant, environ)
    if address is not None:
        from localllm.hub.headers.remote import remote_model

        tell = on_reading or (lambda reading: None)
        return remote_model(address, on_reading=tell, environ=environ)
    from localllm.hub.known.models import known_model

    known = known_model(plain_text(meant)) if isinstance(meant, PlainName) else None
    if known is None:
        from localllm.hub.names.errors import not_here

        raise not_here(name, meant, environ)
    return known


def plain_text(name: PlainName) -> str:
    """Return a name with its quantisation behind it, as a person writes it."""
    return name.name if name.quant is None else f"{name.name}:{name.quant}"


def _address(meant: ModelName, environ: Mapping[str, str]) -> str | None:
    """Where a file is whose address is known without asking anybody."""
    if isinstance(meant, AddressName):
        return meant.address
    if not isinstance(meant, RepoName) or meant.path is None:
        return None
    from urllib.parse import quote

    from localllm.hub.remote_url import hub_endpoint

    at = f"{meant.repo}/resolve/{quote(meant.revision, safe='')}/{quote(meant.path)}"
    return f"{hub_endpoint(environ).url}/{at}"


def at_path(name: str) -> LocalModel:
    """Return the model of a file that is here, or ``demo``. Raises what ``resolve`` does."""
    path = Path(os.path.expanduser(name))  # of the home of nobody, a path that is not there
    if name == DEMO:
        return _demo()
    if os.path.isdir(path):
        raise directory_error(path)
    try:
        return _load(path, name=model_stem(path))
    except NotFoundError as error:
        if os.path.exists(path):
            raise  # a missing part
        from localllm.hub.names.errors import near_files

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
