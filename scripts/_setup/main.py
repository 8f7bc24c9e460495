"""The set-up from end to end: one lock, then the steps that are not done yet, then the stamp."""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from _setup.choose import choose
from _setup.errors import AGAIN, SetupError
from _setup.facts import gather
from _setup.llama import Engine
from _setup.lock import locked
from _setup.state import (
    digest,
    engine_version,
    group_requirements,
    packages_key,
    read_project,
    write_atomically,
)
from _setup.talk import Talk, format_seconds
from _setup.venv import Venv
from _setup.wheel import cache_folder


class Ended(BaseException):
    """SIGTERM or SIGHUP: end as on Ctrl-C, children first."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: list[str], *, root: Path) -> int:
    """Exit code: 0 ready, 1 failed, 2 wrong usage, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="setup.py",
        description="Sets up .venv in this checkout: localllm, llama.cpp for this machine, "
        "and what the kind needs. Does only what is not done. Called by scripts/localllm and test.",
    )
    parser.add_argument(
        "kind", nargs="?", default="run", choices=["run", "test", "train"], help="default: run"
    )
    parser.add_argument(
        "--stamp", metavar="KEY", help="what scripts/_setup/ready.sh compares on its fast path"
    )
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    if options.stamp is not None:
        _end_with_parent()
    talk = Talk(log_path=None)
    try:
        set_up(root, kind=options.kind, stamp=options.stamp)
    except SetupError as error:
        return _tell(error)
    except OSError as error:
        told = of_os(error, root=root)
        if told is None:
            raise
        return _tell(told)
    except KeyboardInterrupt:
        talk.say("\ninterrupted; the same command continues where it stopped")
        return 130
    except Ended as ended:
        return 128 + ended.number
    return 0


def set_up(root: Path, *, kind: str, stamp: str | None) -> None:
    """Brings .venv to what ``kind`` needs."""
    facts = gather(os.environ)
    choose(facts)  # a wrong LOCALLLM_BACKEND is told before anything is touched
    folder = root / ".setup"
    folder.mkdir(exist_ok=True)
    waiting = Talk(log_path=None)
    with locked(
        folder / "lock",
        who=f"process {os.getpid()}, which began at {time.strftime('%H:%M:%S')}",
        waiting=lambda who: waiting.step(
            f"another set-up of this checkout is at work ({who or 'just begun'}); waiting for it"
        ),
        tick=waiting.tick,
    ) as locks:
        waiting.done()
        talk = Talk(log_path=folder / "setup.log")
        try:
            with _temporary(root) as environ:
                venv = Venv(root, talk=talk, environ=environ, locks=locks)
                _steps(venv, kind=kind, stamp=stamp)
        except SetupError as error:
            error.log_path = talk.log_path
            raise
        finally:
            talk.close()


@contextmanager
def _temporary(root: Path) -> Iterator[dict[str, str]]:
    """The environment with a folder of our own for temporary files.

    A pip that is killed leaves what it unpacked; here the next set-up finds and removes it.
    """
    environ = dict(os.environ)
    base = environ.get("TMPDIR") or cache_folder(environ, root=root) / "tmp"
    folder = Path(base, f"localllm-setup-{digest(str(root))}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield environ | {"TMPDIR": str(folder)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _steps(venv: Venv, *, kind: str, stamp: str | None) -> None:
    began = time.monotonic()
    talk, root = venv.talk, venv.root
    project = read_project(root)
    engine = Engine(venv, facts=gather(os.environ), version=engine_version(project))
    venv.check()
    choice = None
    if not engine.is_ready():
        talk.say(f"Setting up localllm in {root}")
        choice = engine.choice()
    venv.prepare()
    wanted = _packages(venv, kind=kind)
    if wanted:
        talk.step("localllm and its packages" if "packages" in wanted else f"what {kind} needs")
        for step in wanted:
            venv.change(step)
        venv.install(
            [each for step in wanted for each in wanted[step][1]],
            doing="installing localllm's packages failed",
        )
        for step in wanted:
            venv.steps.finish(step, wanted[step][0])
        talk.done()
    if choice is not None:
        installed = engine.install(choice)
        engine.report(installed, choice)
        talk.say(f"Ready in {format_seconds(time.monotonic() - began)}.")
    if stamp is not None:
        for each in ("run", kind):
            text = f"{root}\n{stamp}\n{engine.backend()}\n"
            write_atomically(venv.path / f"localllm-{each}.stamp", text)


def _packages(venv: Venv, *, kind: str) -> dict[str, tuple[str, list[str]]]:
    """The package steps that are not done: name to key and requirements."""
    project = read_project(venv.root)
    steps = {"packages": (packages_key(project, root=venv.root), ["--editable", str(venv.root)])}
    if kind != "run":
        requirements = group_requirements(project, kind)
        steps[f"group {kind}"] = (digest(requirements), requirements)
    return {name: step for name, step in steps.items() if venv.steps.get(name) != step[0]}


def _tell(error: SetupError) -> int:
    """The error on stderr, as localllm itself prints one; the exit code."""
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint is not None:
        print(f"hint: {error.hint}", file=sys.stderr)
    if error.log_path is not None:
        print(f"log: {error.log_path}", file=sys.stderr)
    return error.exit_code


def of_os(error: OSError, *, root: Path) -> SetupError | None:
    """What the file system refused, in words; None for what would be a bug."""
    where = error.filename or root
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return SetupError(
            f"cannot write {where}: {error.strerror}",
            hint="The set-up makes .venv in the checkout. Copy that to a folder of yours, or: "
            "pipx install 'PATH[engine]'",
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SetupError(
            f"the disk is full ({where})",
            hint=f"Make room (about 1.5 GB) and {AGAIN}",
        )
    return None


def _end_with_parent() -> None:
    """On Linux: SIGTERM for us when the script that called us dies, by kill -9 too."""
    if sys.platform.startswith("linux"):
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)
