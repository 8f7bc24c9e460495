"""Sets up .venv in this checkout; called by scripts/localllm and scripts/test. ``setup.py --help``
says more.

Runs on the system's own Python with nothing but the standard library. This file also runs on a
Python that is too old for the rest, to say so."""

import os
import sys

if os.name == "nt":
    sys.exit(
        "error: the set-up is for Linux and macOS\nhint: use WSL, or pipx install 'PATH[engine]'"
    )
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("error: localllm needs Python 3.11 or newer; this is " + sys.version.split()[0])

scripts = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, scripts)

from pathlib import Path  # noqa: E402

from _setup.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], root=Path(scripts).parent))
