"""What a file is that is not GGUF: the most frequent faults, told apart by their first bytes."""

from __future__ import annotations

from localllm.core.text import printable
from localllm.errors import GGUFError

_CONVERT = "llama.cpp reads GGUF: get the GGUF version of the model."
_AGAIN = "Download the file again; for a gated model, accept its licence and log in first."

_SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the model itself",
        "Fetch the real file with `git lfs pull`, or download it from its page.",
    ),
    (b"\x80\x02", "a PyTorch checkpoint (pickle)", _CONVERT),
    (b"\x80\x04", "a Python pickle", _CONVERT),
    (b"lmgg", "a model of the old GGML format", _CONVERT),
    (b"fmgg", "a model of the old GGML format (GGMF)", _CONVERT),
    (b"tjgg", "a model of the old GGML format (GGJT)", _CONVERT),
    (b"algg", "an adapter of the old GGML format", _CONVERT),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "Unpack it first."),
    (b"\xfd7zXZ\x00", "an xz archive", "Unpack it first."),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it first."),
    (b"Rar!", "a RAR archive", "Unpack it first."),
    (b"\x89HDF", "an HDF5 file", _CONVERT),
    (b"\x7fELF", "a program, not a model", "Pass a .gguf file."),
    (b"MZ", "a Windows program, not a model", "Pass a .gguf file."),
)


def foreign_error(start: bytes, size: int) -> GGUFError:
    """Return the error for a file of ``size`` bytes that begins with ``start`` and is not GGUF."""
    if size == 0:
        return GGUFError("the file is empty.", offset=0, hint=_AGAIN)
    if start.startswith(b"GGUF"):
        return GGUFError(
            f"the file ends after {size} bytes: it is only the beginning of a GGUF file.",
            offset=size,
            hint="The download is probably incomplete: let it finish, or start it again.",
        )
    what, hint = _identify(start, size)
    return GGUFError(f"this is not a GGUF file but {what}.", offset=0, hint=hint)


def _identify(start: bytes, size: int) -> tuple[str, str]:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<!do", b"<htm", b"<head")):
        return "an HTML page, probably a login or an error page", _AGAIN
    if text.startswith((b"<?xml", b"<error")):
        return "an XML document, probably a server's error message", _AGAIN
    for signature, what, hint in _SIGNATURES:
        if start.startswith(signature):
            return what, hint
    if start.startswith(b"PK"):
        return "a PyTorch checkpoint or another zip archive", _CONVERT
    if len(start) > 9 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < size:
        return "a safetensors file", _CONVERT
    if text.startswith((b"{", b"[")):
        return "a JSON document, perhaps a server's error message", _AGAIN
    if start[257:262] == b"ustar":
        return "a tar archive", "Unpack it first."
    if not any(start):
        return "zeros: room reserved by a download that never came", _AGAIN
    magic = start[:4].decode("latin-1").encode("unicode_escape").decode()
    if printable(magic).isascii() and start[:64].isascii() and start[:16].decode().isprintable():
        return f'text that begins with "{start[:16].decode()}"', _AGAIN
    return f'something unknown that begins with "{magic}"', "Pass a .gguf file."
