"""Which models here a person means: by the listed name, a path, a repository, a known name."""

from __future__ import annotations

from pathlib import Path

import pytest

from localllm.core.kept import KeptFile, KeptModel
from localllm.errors import NotFoundError, UsageError
from localllm.hub.kept.by_name import kept_by_name

ENVIRON = {"HOME": "/nowhere", "LOCALLLM_CONFIG_DIR": "/nowhere"}


def kept(repo: str, quant: str, *, at: str = "", n_parts: int = 1) -> KeptModel:
    name = f"{repo}{f'@{at}' if at else ''}:{quant}"
    path = Path("/cache") / f"{repo.replace('/', '--')}{at}-{quant}.gguf"
    return KeptModel(
        name=name,
        keeper="hugging-face",
        repo=repo,
        commit=(at or "f" * 12).ljust(40, "0"),
        quant=quant,
        files=(KeptFile(path=path, n_bytes=1),),
        n_parts=n_parts,
        last_used_s=0.0,
        is_current=not at,
        missing=(Path("/cache/part-2.gguf"),) if n_parts > 1 else (),
    )


Q4 = kept("maker/Toy-GGUF", "Q4_K_M")
Q8 = kept("maker/Toy-GGUF", "Q8_0", n_parts=2)
OLD = kept("maker/Toy-GGUF", "Q4_K_M", at="abcdef123456")
LLAMA = kept("bartowski/Meta-Llama-3-8B-Instruct-GGUF", "Q4_K_M")
OLLAMA = KeptModel(
    name="ollama:llama3:8b",
    keeper="ollama",
    repo=None,
    commit=None,
    quant="Q4_0",
    files=(KeptFile(path=Path("/ollama/blobs/sha256-1"), n_bytes=1),),
    n_parts=1,
    last_used_s=0.0,
)
HERE = (Q4, Q8, OLD, LLAMA, OLLAMA)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("maker/Toy-GGUF:Q4_K_M", (Q4,)),
        (" MAKER/toy-gguf:q4_k_m", (Q4,)),
        ("maker/Toy-GGUF:q4-k-m", (Q4,)),
        ("hf.co/maker/Toy-GGUF:Q8_0", (Q8,)),
        ("maker/Toy-GGUF", (Q4, Q8)),
        ("maker/Toy-GGUF@abcdef123456:Q4_K_M", (OLD,)),
        ("maker/Toy-GGUF@abcdef1", (OLD,)),
        ("/cache/maker--Toy-GGUF-Q8_0.gguf", (Q8,)),
        ("/cache/part-2.gguf", (Q8,)),
        ("llama-3-8b", (LLAMA,)),
        ("Llama-3-8B:Q4_K_M", (LLAMA,)),
        ("ollama:llama3:8b", (OLLAMA,)),
        ("ollama:llama3", (OLLAMA,)),
    ],
)
def test_a_name_means_what_is_here_of_it(name: str, meant: tuple[KeptModel, ...]) -> None:
    assert kept_by_name(name, HERE, ENVIRON) == meant


def test_only_an_old_revision_is_meant_where_nothing_else_is_here() -> None:
    assert kept_by_name("maker/Toy-GGUF", (OLD,), ENVIRON) == (OLD,)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("maker/Toi-GGUF:Q4_K_M", "maker/Toy-GGUF:Q4_K_M"),
        ("toy", "maker/Toy-GGUF"),
        ("maker/Toy-GGUF:Q2_K", "maker/Toy-GGUF"),
        ("zzzz/zzzz", "`localllm list`"),
        ("/cache/other.gguf", "`localllm list`"),
    ],
)
def test_what_is_not_here_offers_the_nearest(name: str, near: str) -> None:
    with pytest.raises(NotFoundError, match="is not among the models here") as failed:
        kept_by_name(name, HERE, ENVIRON)
    assert near in (failed.value.hint or "")


def test_what_is_no_name_is_refused() -> None:
    with pytest.raises(UsageError):
        kept_by_name("", HERE, ENVIRON)
