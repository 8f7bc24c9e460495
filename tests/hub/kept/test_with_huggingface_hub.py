"""A cache that huggingface_hub itself fills from a Hub on this machine, and reads after us."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from localllm.hub.kept.hf_cache import find_kept, kept_in
from localllm.hub.kept.leftovers import find_leftovers
from localllm.hub.kept.removal import plan_removal, remove
from localllm.hub.kept.verifying import verify
from tests.support.hf_cache import HFCache
from tests.support.loopback_hub import LoopbackHub

_REPO = "bartowski/Toy-GGUF"
_FETCH = """
import os, sys
from huggingface_hub import file_download, hf_hub_download
for name in sys.argv[2:]:
    if name.startswith("killed:"):  # when all bytes are there, and before they get their name
        file_download._chmod_and_move = lambda *_: os._exit(9)
    hf_hub_download(sys.argv[1], name.removeprefix("killed:"))
"""


def _fetch(hub: LoopbackHub, root: Path, *names: str) -> int:
    environ = {
        "PATH": os.environ["PATH"],
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_CACHE": str(root),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    command = [sys.executable, "-c", _FETCH, _REPO, *names]
    return subprocess.run(command, env=environ, timeout=60, check=False).returncode


def test_what_huggingface_hub_fetched_is_read_checked_and_removed_and_it_accepts_the_rest(
    tmp_path: Path,
) -> None:
    from huggingface_hub import hf_hub_download, scan_cache_dir

    cache = HFCache(tmp_path / "hub")
    files = {f"toy-{quant}.gguf": quant.encode() * 5000 for quant in ("Q4_K_M", "Q8_0", "Q6_K")}
    with LoopbackHub() as hub:
        old = hub.add_repo(_REPO, {**files, "README.md": b"# Toy"})
        names = ["toy-Q4_K_M.gguf", "toy-Q8_0.gguf", "README.md"]
        assert _fetch(hub, cache.root, *names) == 0
        new = hub.update_repo(_REPO, {"toy-Q8_0.gguf": b"better" * 5000})
        assert _fetch(hub, cache.root, "toy-Q8_0.gguf", "killed:toy-Q6_K.gguf") == 9
    inventory = kept_in(cache.root)
    assert {(model.name, model.commit) for model in inventory.models} == {
        (f"{_REPO}:Q8_0", new),
        (f"{_REPO}@{old[:12]}:Q4_K_M", old),
        (f"{_REPO}@{old[:12]}:Q8_0", old),
    }
    verdicts = [verdict.result for model in inventory.models for verdict in verify(model)]
    assert verdicts == ["ok"] * 3
    (partial,) = find_leftovers(cache.root)
    assert (partial.kind, partial.path.suffix) == ("partial", ".incomplete")

    before = cache.n_bytes()
    removal = plan_removal(find_kept(cache.root, _REPO, quant="Q8_0"), cache.root)
    assert remove(removal) == removal.freed_bytes == before - cache.n_bytes()
    assert cache.warnings() == []
    (left,) = scan_cache_dir(cache.root).repos
    assert {file.file_name for revision in left.revisions for file in revision.files} == set(names)
    path = hf_hub_download(
        _REPO,
        "toy-Q4_K_M.gguf",
        revision=old,
        cache_dir=cache.root,
        local_files_only=True,
        token=False,
    )
    assert Path(path).read_bytes() == files["toy-Q4_K_M.gguf"]
    remove(plan_removal(kept_in(cache.root).models, cache.root))
    assert kept_in(cache.root).models == ()
    assert cache.warnings() == []
