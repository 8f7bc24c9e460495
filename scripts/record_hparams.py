#!/usr/bin/env python3
"""Record what llama.cpp itself reads from the headers of every architecture.

    scripts/record_hparams.py --source DIR

DIR is ``vendor/llama.cpp`` of the unpacked source distribution of the installed llama-cpp-python:
its internal headers and the installed library together say what ``load_hparams`` makes of each case
in ``tests/support/hparam_cases.py``. The result, ``tests/fixtures/hparams.json``, is what
``tests/hub/spec/test_hparams.py`` holds our ModelSpec to. Needs a C++ compiler; run it after a
change of the cases or an upgrade of llama-cpp-python.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from importlib.metadata import distribution, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.hparam_cases import case_header, cases, digest

PACKAGE = "llama-cpp-python"
OUT = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "hparams.json"


def main() -> None:
    """Build the program, show it every case, group equal answers, write them down."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--source", type=Path, required=True, metavar="DIR")
    source: Path = parser.parse_args().source
    libraries = Path(str(distribution(PACKAGE).locate_file("llama_cpp/lib")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = build(folder, source, libraries)
        answers = ask(folder, program)
    grouped: dict[str, list[dict[str, object]]] = {}
    for variant, by_answer in answers.items():
        grouped[variant] = [
            {"architectures": names, "hparams": json.loads(answer)}
            for answer, names in sorted(by_answer.items(), key=lambda item: item[1])
        ]
    record = {PACKAGE: version(PACKAGE), "cases": digest(), "variants": grouped}
    OUT.write_text(json.dumps(record, separators=(",", ":")).replace('{"arch', '\n{"arch') + "\n")
    print(
        f"{OUT}: {sum(len(names) for group in answers.values() for names in group.values())} cases"
    )


def build(folder: Path, source: Path, libraries: Path) -> Path:
    """Compile the recorder against llama.cpp's headers and the installed libraries."""
    program = folder / "record_hparams"
    includes = [f"-I{source / part}" for part in ("include", "src", "ggml/include", "ggml/src")]
    names = ["-l:libllama.so", "-l:libggml.so.0", "-l:libggml-base.so.0"]
    code = str(Path(__file__).with_suffix(".cpp"))
    link = [f"-L{libraries}", *names, f"-Wl,-rpath,{libraries}"]
    compiler = os.environ.get("CXX", "c++")
    subprocess.run([compiler, "-std=c++17", *includes, code, "-o", str(program), *link], check=True)
    return program


def ask(folder: Path, program: Path) -> dict[str, dict[str, list[str]]]:
    """Return variant -> answer (as JSON, zeros left out) -> architectures that gave it."""
    files = {}
    for arch, variant in cases():
        path = folder / f"{arch}@{variant}.gguf"
        path.write_bytes(case_header(arch, variant))
        files[str(path)] = (arch, variant)
    # no backtrace: the recorder runs into assertions on purpose, and a debugger would hang it
    environment = {**os.environ, "GGML_NO_BACKTRACE": "1"}
    output = subprocess.run(
        [str(program), *files], capture_output=True, text=True, check=True, env=environment
    ).stdout
    answers: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for line in output.splitlines():
        answer = json.loads(line)
        arch, variant = files[answer.pop("file")]
        if "refused" in answer:
            answer = {"refused": True}
        else:
            answer = {key: value for key, each in answer.items() if (value := _short(each)) != 0}
        answers[variant][json.dumps(answer)].append(arch)
    return answers


def _short(value: int | list[int]) -> int | list[int]:
    """One number in place of a list that repeats it."""
    return value[0] if isinstance(value, list) and len(set(value)) == 1 else value


if __name__ == "__main__":
    main()
