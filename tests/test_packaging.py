"""The wheel: what is in it, and that it runs from wherever it is put."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A source distribution of this checkout, and the wheel that was built from it."""

    sdist: Path
    wheel: Path

    def names(self) -> set[str]:
        """The files in the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def read(self, suffix: str) -> str:
        """The text of the one file whose path ends so."""
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = (each for each in archive.namelist() if each.endswith(suffix))
            return archive.read(name).decode()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Made as ``pip install`` makes it, without a network: the sdist first, the wheel from that."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(REPOSITORY)],
        check=True,
        capture_output=True,
    )
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    return Built(sdist=sdist, wheel=wheel)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed in; its dependencies are this interpreter's."""
    target = tmp_path_factory.mktemp("installed") / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "--target", str(target), str(built.wheel)], check=True)
    return target


def run_installed(target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed console script, away from the checkout."""
    return subprocess.run(
        [str(target / "bin" / "localllm"), *arguments],
        env=os.environ | {"PYTHONPATH": str(target)},
        cwd=target.parent,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def test_the_wheel_holds_the_whole_package_and_nothing_else(built: Built) -> None:
    sources = {
        str(path.relative_to(REPOSITORY))
        for ending in ("py", "tcss")
        for path in (REPOSITORY / "localllm").rglob(f"*.{ending}")
    }
    profiles = {
        "localllm/_profiles/" + str(path.relative_to(REPOSITORY / "profiles"))
        for path in (REPOSITORY / "profiles").rglob("*.toml")
    }
    expected = sources | profiles | {"localllm/py.typed", "localllm/_demo/demo.gguf"}
    assert len(profiles) > 5
    assert {name for name in built.names() if ".dist-info/" not in name} == expected


def test_the_demo_model_stays_small_and_whole(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        demo = archive.getinfo("localllm/_demo/demo.gguf")
        assert archive.read(demo)[:4] == b"GGUF"
    assert demo.file_size <= 5_000_000


def test_the_console_script_and_the_metadata(built: Built) -> None:
    scripts = configparser.ConfigParser()
    scripts.read_string(built.read(".dist-info/entry_points.txt"))
    assert dict(scripts["console_scripts"]) == {"localllm": "localllm.cli.main:main"}

    metadata = Parser().parsestr(built.read(".dist-info/METADATA"))
    assert (metadata["Name"], metadata["Requires-Python"]) == ("localllm", ">=3.11")
    assert metadata["License-Expression"] == "MIT"
    assert "localllm" in metadata.get_payload()
    assert metadata.get_all("Provides-Extra") == ["engine"]
    engine = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" in line]
    assert [line.partition("==")[0] for line in engine] == ["llama-cpp-python"]
    assert "MIT License" in built.read(".dist-info/licenses/LICENSE")


def test_the_sdist_can_be_set_up_and_tested_too(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "scripts/localllm", "tests/test_packaging.py"} <= names
    assert not {name for name in names if name.startswith((".venv", ".setup", ".git/"))}


def test_the_installed_command_runs_away_from_the_checkout(installed: Path) -> None:
    done = run_installed(installed, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage: localllm" in done.stdout
    where = "import localllm; print(localllm.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where],
        env=os.environ | {"PYTHONPATH": str(installed)},
        cwd=installed.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(installed)


def test_the_installed_command_finds_its_profiles_and_its_demo_model(installed: Path) -> None:
    done = run_installed(installed, "plan", "demo", "--hardware", "rtx-4090", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == "localllm.plan/1"
    assert document["verdict"] == "fits"
    assert document["devices"][0]["total_bytes"] > 20 << 30
