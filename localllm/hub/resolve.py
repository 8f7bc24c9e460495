"""Names of models -> what is known of them: their files here, a header, or a recorded shape.

To run a model its files must be here: a path, a part of a split file, or ``demo``. To plan one, its
address will do (``remote.py``), or a name whose shape is recorded (``known.py``).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from localllm.core.model import ModelSpec
from localllm.core.text import printable
from localllm.errors import GGUFError, NotFoundError, UsageError
from localllm.hub.gguf import GGUFHeader, directory_error, open_file
from localllm.hub.spec import model_spec
from localllm.hub.split import model_stem, read_model

if TYPE_CHECKING:
    from localllm.hub.known import KnownModel
    from localllm.hub.remote import OnReading, RemoteModel

DEMO = "demo"
_HUB_NAME = re.compile(r"(hf\.co/|https?://)?[\w.-]+(/[\w.-]+)+(:[\w.-]+)?")
_FOREIGN_ADDRESS = re.compile(r"(?!https?://)[A-Za-z][A-Za-z0-9+.-]*://", re.IGNORECASE)
_MAX_LISTED = 2000
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


def resolve(name: str) -> LocalModel:
    """Return the files and the header of a model: a path, a part of a split file, or ``demo``.

    Raises NotFoundError (exit 5) for a name that is neither, UsageError (2) for a folder or a file
    that is no model, LocalLLMError (1) for one that may not be read, GGUFError (7) for a bad one.
    """
    if _is_url(name):
        from localllm.hub.remote_url import remote_file

        raise NotFoundError(
            f"{remote_file(name).shown} is not downloaded, and this version does not download yet.",
            hint="Download it and pass its path. `localllm plan` needs its address only.",
        )
    path = _path(name)
    if not _is_here(name, path):
        raise _only_known(name) or _unknown(name)
    return _resolve_local(name, path)


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
        raise _unknown(name)
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
        raise NotFoundError(error.message, hint=_near_files(path) or error.hint) from None


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


def _only_known(name: str) -> NotFoundError | None:
    """The error for a model of which only the shape is recorded; None for any other name."""
    from localllm.hub.known import known_model

    if known_model(name) is None:
        return None
    return NotFoundError(
        f"{printable(name)} is known, but its files are not here, and this version does not"
        " download yet.",
        hint=f"Download it and pass its path. `localllm plan {name}` needs no file.",
    )


def _unknown(name: str) -> NotFoundError:
    from localllm.hub.known import nearest_names

    shown = printable(name[:200])
    near = _nearest(name.lower(), [DEMO], cutoff=0.5)
    others = _similar(name, ".") or nearest_names(shown) or nearest_names(_last_part(shown))
    if near:
        hint = f"Did you mean `{DEMO}`?"
    elif others:
        hint = f"Did you mean {_listed(others)}?"
    else:
        hint = f"Pass the path of a .gguf file, its address to plan it only, or `{DEMO}`."
    return NotFoundError(
        f'"{shown}" is neither a file nor a known name, and this version does not look for names'
        " on the Hub yet.",
        hint=hint,
    )


def _last_part(name: str) -> str:
    """Of ``user/Some-Model-GGUF:Q4_K_M`` the model."""
    return name.rpartition("/")[2].partition(":")[0].lower().removesuffix("-gguf")


def _near_files(path: Path) -> str | None:
    """A hint with the names in the folder that are most like a path that does not exist."""
    folder = path.parent
    if not os.path.isdir(folder):
        return f"There is no folder {printable(str(folder))}."
    files = _similar(path.name, str(folder))
    if not files:
        return None
    return f"Did you mean {_listed([str(folder / file) for file in files])}?"


def _similar(name: str, folder: str) -> list[str]:
    """Up to three ``.gguf`` files of the folder whose names are most like ``name``."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in islice(entries, _MAX_LISTED) if e.name.endswith(".gguf")]
    except OSError:
        return []
    by_key = {each.lower().removesuffix(".gguf"): each for each in sorted(names)}
    wanted = name.lower().removesuffix(".gguf")
    return [by_key[key] for key in _nearest(wanted, list(by_key), cutoff=0.6)]


def _nearest(wanted: str, names: list[str], *, cutoff: float) -> list[str]:
    import difflib

    return difflib.get_close_matches(wanted, names, n=3, cutoff=cutoff)


def _listed(names: Sequence[str]) -> str:
    return " or ".join(printable(name) for name in names)
