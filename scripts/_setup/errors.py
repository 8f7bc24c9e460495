"""What can go wrong in the set-up, and what to tell the person about it."""

from __future__ import annotations

import re
from pathlib import Path


class SetupError(Exception):
    """One sentence, a hint, and the exit code."""

    def __init__(self, message: str, *, hint: str | None = None, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.log_path: Path | None = None


class CommandFailed(Exception):
    """A command ended with an error; ``tail`` is the end of what it printed."""

    def __init__(self, *, command: list[str], returncode: int, tail: str) -> None:
        super().__init__(f"{command[0]} ended with {returncode}")
        self.command = command
        self.returncode = returncode
        self.tail = tail


AGAIN = "run the same command again; it continues where it stopped."

_NETWORK_HINT = (
    "The first set-up needs PyPI (https://pypi.org). Check the network, or HTTPS_PROXY or "
    f"PIP_INDEX_URL if you use a proxy or a mirror, and {AGAIN}"
)

# The first that matches wins: a full disk and a lost network make compilers and resolvers fail too.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"No space left on device|ENOSPC|Disk quota exceeded",
        "the disk is full",
        "The set-up needs about 1.5 GB, in this folder and in ~/.cache/localllm (or TMPDIR). "
        f"Make room and {AGAIN}",
    ),
    (
        r"Read-only file system",
        "the file system is read-only",
        "Copy the checkout to a folder that can be written, or: pipx install 'PATH[engine]'",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate|UnknownIssuer",
        "the package index's TLS certificate was not accepted",
        "Behind a proxy that re-encrypts: PIP_CERT=/path/to/its/certificate.pem (for uv: "
        "SSL_CERT_FILE). Otherwise check the clock of this machine.",
    ),
    (
        r"NewConnectionError|Failed to establish a new connection|Connection refused|ProxyError|"
        r"Name or service not known|Temporary failure in name resolution|nodename nor servname|"
        r"Network is unreachable|ConnectTimeout|ReadTimeoutError|Connection reset by peer|"
        r"Cannot connect to proxy|error sending request|dns error|tcp connect error|"
        r"Could not connect|RemoteDisconnected|IncompleteRead|Max retries exceeded",
        "the package index cannot be reached",
        _NETWORK_HINT,
    ),
    (
        r"Killed signal terminated program|internal compiler error: Killed|"
        r"virtual memory exhausted|[Cc]annot allocate memory|out of memory allocating",
        "memory ran out",
        f"Compile with one job: set CMAKE_BUILD_PARALLEL_LEVEL=1 and {AGAIN}",
    ),
)


def explain(tail: str) -> tuple[str, str] | None:
    """The cause that the end of a command's output names, and a hint; None for an unknown one."""
    for pattern, cause, hint in _CAUSES:
        if re.search(pattern, tail):
            return cause, hint
    return None


def failure(what: str, error: CommandFailed) -> SetupError:
    """An error for the person: what was being done, why it failed, the command's own last words."""
    known = explain(error.tail)
    if known is None and "(from versions: none)" in error.tail:
        known = ("the package index offered nothing", _NETWORK_HINT)
    if known is not None:
        return SetupError(f"{what}: {known[0]}", hint=known[1])
    return SetupError(f"{what}: {last_words(error.tail) or f'exit status {error.returncode}'}")


def last_words(tail: str) -> str:
    """The line of a command's output that says most about why it failed.

    The first error of CMake or a compiler, else the last exception of a Python program, else the
    last line: pip's own summary, at the end, says nothing that they did not.
    """
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        if line.startswith("CMake Error"):
            return " ".join(lines[index : index + 2])[:300]
        if re.search(r":\d+: (fatal )?error: |^(fatal error|nvcc fatal|ERROR): ", line):
            return line[:300]
    for line in reversed(lines):
        if re.match(r"[\w.]*(Error|Exception): ", line):
            return line[:300]
    return lines[-1][:300] if lines else ""
