"""A program for a child process: the unmodified huggingface_hub against the Hub in ``HF_ENDPOINT``.

Prints what each call came to as one JSON object: a value, or the types of the exception.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, file_exists, hf_hub_download, snapshot_download

Calls = dict[str, Callable[[], Any]]


def main() -> None:
    commit, token = sys.argv[1:]
    api = HfApi()
    calls: Calls = {
        "dry run": lambda: dry_run("user/repo", "a b/ü.gguf"),
        "info": lambda: sizes(api.model_info("user/repo", files_metadata=True, timeout=5)),
        "licence": lambda: api.model_info("user/repo").card_data.license,
        "expanded": lambda: api.model_info("user/repo", expand=["gguf"]).gguf["context_length"],
        "download": lambda: size(hf_hub_download("user/repo", "a b/ü.gguf")),
        "small": lambda: size(hf_hub_download("user/repo", "README.md")),
        "branch": lambda: size(hf_hub_download("user/repo", "m.gguf", revision="refs/pr/1")),
        "old commit": lambda: size(hf_hub_download("user/repo", "m.gguf", revision=commit)),
        "renamed": lambda: size(hf_hub_download("user/old", "m.gguf")),
        "tree": lambda: [one.path for one in api.list_repo_tree("user/repo", recursive=True)],
        "top of the tree": lambda: [one.path for one in api.list_repo_tree("user/repo")],
        "paths-info": lambda: paths_info(api, "user/repo", ["m.gguf", "README.md", "none"]),
        "snapshot": lambda: Path(snapshot_download("user/repo")).name,
        "verify": lambda: verify(api, "user/repo"),
        "search": lambda: [
            one.id for one in api.list_models(filter="gguf", search="repo", sort="downloads")
        ],
        "exists": lambda: [file_exists("user/repo", name) for name in ("m.gguf", "none")],
        "gated, listed": lambda: sizes(api.model_info("user/gated", files_metadata=True)),
        "gated": lambda: hf_hub_download("user/gated", "m.gguf"),
        "private": lambda: hf_hub_download("user/private", "m.gguf"),
        "missing repo": lambda: api.model_info("user/none"),
        "missing file": lambda: hf_hub_download("user/repo", "none.gguf"),
        "missing revision": lambda: hf_hub_download("user/repo", "m.gguf", revision="none"),
        "disabled": lambda: api.model_info("user/disabled"),
        "wrong token": lambda: api.whoami(token="hf_wrong"),
        "whoami": lambda: api.whoami(token=token)["name"],
        "private, with a token": lambda: size(
            hf_hub_download("user/private", "m.gguf", token=token)
        ),
        "gated, with a token": lambda: size(hf_hub_download("user/gated", "m.gguf", token=token)),
    }
    print(json.dumps({name: outcome(call) for name, call in calls.items()}))


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error).__name__


def size(path: str) -> int:
    return Path(path).stat().st_size


def sizes(info: Any) -> dict[str, int]:
    return {one.rfilename: one.size for one in info.siblings}


def dry_run(repo: str, path: str) -> list[Any]:
    found = hf_hub_download(repo, path, dry_run=True)
    return [found.file_size, found.will_download]


def paths_info(api: HfApi, repo: str, paths: list[str]) -> list[Any]:
    found = api.get_paths_info(repo, paths)
    return [[one.path, one.size, one.lfs is not None] for one in found]


def verify(api: HfApi, repo: str) -> list[Any]:
    found = api.verify_repo_checksums(repo)
    return [found.checked_count, found.mismatches, found.missing_paths]


if __name__ == "__main__":
    main()
