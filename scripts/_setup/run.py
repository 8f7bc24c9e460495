"""Commands: run under a guard, read line by line, logged, and never outliving the set-up."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from _setup.errors import CommandFailed
from _setup.talk import Talk

GUARD = Path(__file__).with_name("guard.py")
TAIL_LINES = 200


def run(
    command: list[str],
    *,
    talk: Talk,
    environ: Mapping[str, str],
    cwd: Path,
    locks: Iterable[int] = (),
    detail: Callable[[str], str | None] = lambda line: None,
) -> str:
    """The command's output, standard error included; ``locks`` are held until the command is really
    gone.

    ``detail`` turns a line of output into a word about the progress, or None to keep the last one.

    Raises:
        CommandFailed: with the end of the output.
    """
    talk.log("$ " + " ".join(command))
    reading, writing = os.pipe()
    try:
        guard = subprocess.Popen(
            [sys.executable, "-I", "-B", str(GUARD), str(reading), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            cwd=cwd,
            pass_fds=(reading, *locks),
            start_new_session=True,
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    try:
        word = ""
        for line in _lines(guard):
            if line is not None:
                talk.log(line)
                tail.append(line)
                word = detail(line) or word
            talk.tick(word)
        returncode = guard.wait()
    finally:
        os.close(writing)  # ends the command, if this is an interruption
        guard.wait()
        assert guard.stdout is not None
        guard.stdout.close()
    output = "\n".join(tail)
    if returncode != 0:
        raise CommandFailed(command=command, returncode=returncode, tail=output)
    return output


def _lines(guard: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """Lines of output until the guard ends, and None at least twice a second.

    Ends with the guard, not with the pipe: a compiler cache's server may keep that open.
    """
    assert guard.stdout is not None
    fd = guard.stdout.fileno()
    os.set_blocking(fd, False)
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        ended = False
        while True:
            selector.select(timeout=0 if ended else 0.5)
            try:
                chunk = os.read(fd, 65536)
                closed = not chunk
            except BlockingIOError:
                chunk, closed = b"", False
            rest += chunk
            *whole, rest = rest.replace(b"\r", b"\n").split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace")
            yield None
            if closed or (ended and not chunk):
                break
            ended = guard.poll() is not None
    if rest:
        yield rest.decode("utf-8", "replace")
