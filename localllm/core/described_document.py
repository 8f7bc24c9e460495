"""The JSON document of ``localllm show``: ``localllm.show/1``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from localllm.core.described import Described, origin_of, template_features, type_shares
from localllm.core.model import MetadataValue

SHOW_SCHEMA = "localllm.show/1"
TEMPLATE_KEY = "tokenizer.chat_template"


def show_document(
    shown: Described, *, metadata: bool = False, tensors: bool = False, template: bool = False
) -> dict[str, Any]:
    """Return a model as its JSON document; what was not asked for is ``None``."""
    spec = shown.spec
    origin = origin_of(spec.metadata)
    first = next((layer for layer in spec.layers if layer.n_head_kv), spec.layers[0])
    return {
        "schema": SHOW_SCHEMA,
        "name": shown.name,
        "known_by": shown.known_by,
        "title": spec.name,
        "source": spec.source,
        "arch": spec.arch,
        "quant": spec.quant,
        "n_params": spec.n_params,
        "file_bytes": spec.file_bytes,
        "n_layer": spec.n_layer,
        "n_ctx_train": spec.n_ctx_train,
        "n_embd": spec.n_embd,
        "n_vocab": spec.n_vocab,
        "n_head": first.n_head,
        "n_head_kv": first.n_head_kv,
        "n_embd_head_k": spec.n_embd_head_k,
        "n_embd_head_v": spec.n_embd_head_v,
        "n_ff": first.n_ff,
        "n_swa": spec.n_swa,
        "n_expert": spec.n_expert,
        "n_expert_used": spec.n_expert_used,
        "licence": origin.licence or shown.licence,
        "gated": shown.is_gated,
        "publisher": shown.publisher,
        "origin": asdict(origin),
        "types": [
            {**asdict(share), "bits_per_weight": round(share.bits_per_weight, 4)}
            for share in type_shares(spec.tensors)
        ],
        "template": {
            "n_characters": len(shown.template),
            "features": list(template_features(shown.template, shown.reasoning_markers)),
            "text": shown.template if template else None,
        }
        if shown.template is not None
        else None,
        "files": [asdict(file) for file in shown.files],
        "notes": list(shown.notes),
        "metadata": _metadata(shown) if metadata else None,
        "tensors": [
            {"name": t.name, "type": t.type, "shape": list(t.shape), "n_bytes": t.n_bytes}
            | ({"part": t.part} if t.part else {})
            for t in spec.tensors
        ]
        if tensors
        else None,
    }


def _metadata(shown: Described) -> Mapping[str, Any]:
    """Every key; of what is too long its type and its length."""
    kept = {key: _plain(value) for key, value in shown.spec.metadata.items() if key != TEMPLATE_KEY}
    return kept | {
        key: {"type": kind, "n": n} for key, (kind, n) in shown.arrays.items() if key not in kept
    }


def _plain(value: MetadataValue) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no word for it
    return value
