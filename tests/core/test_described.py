"""What a header says of its model, read from keys that anybody may have written."""

from __future__ import annotations

from typing import cast

import pytest

from localllm.core.described import origin_of, template_features, type_shares
from localllm.core.model import MetadataValue
from tests.support.specs import llama_3_8b


def test_types_share_out_every_byte_and_tensor() -> None:
    """Llama 3 8B at Q4_K_M: 193 matrices in q4_K, 33 finer ones in q6_K, 65 norms in f32."""
    tensors = llama_3_8b().tensors
    shares = type_shares(tensors)
    assert {share.type: share.n_tensors for share in shares} == {"q4_K": 193, "q6_K": 33, "f32": 65}
    assert sum(share.n_bytes for share in shares) == sum(tensor.n_bytes for tensor in tensors)
    assert [share.bits_per_weight for share in shares] == [4.5, 6.5625, 32.0]
    assert [share.n_bytes for share in shares] == sorted((s.n_bytes for s in shares), reverse=True)
    assert type_shares(()) == ()


def test_a_licence_called_other_gives_way_to_its_name() -> None:
    named: dict[str, MetadataValue] = {"general.license": "other"}
    assert origin_of(named).licence == "other"
    named["general.license.name"] = "Toy\n Licence"
    assert origin_of(named).licence == "Toy Licence"
    assert origin_of({"general.license": "mit", "general.license.name": "x"}).licence == "mit"


def test_base_models_are_repositories_where_the_file_gives_their_address() -> None:
    found = origin_of(
        {
            "general.base_model.count": 3,
            "general.base_model.0.repo_url": "https://huggingface.co/maker/Base-1.0",
            "general.base_model.0.name": "Base",
            "general.base_model.1.repo_url": "https://example.org/x/y",
            "general.base_model.1.name": "Other",
        }
    )
    assert found.base_models == ("maker/Base-1.0", "Other")


@pytest.mark.parametrize("count", [10**9, -1, "2", 2.0, (1,), True])
def test_a_header_can_neither_fail_nor_stall_the_reader(count: object) -> None:
    found = origin_of(
        {
            "general.base_model.count": cast(MetadataValue, count),
            "general.license": 7,
            "general.languages": "en",
            "general.tags": (1, "chat"),
        }
    )
    assert found.licence is None and found.base_models == () and found.languages == ()
    assert found.tags == ("1", "chat")


def test_what_a_template_provides_for_is_read_from_its_words() -> None:
    assert template_features("{{ messages }}") == ()
    assert template_features("{% if tools is not none %}") == ("tools",)
    assert template_features("my_tools toolset") == ()
    assert template_features("plain", ["<think>"]) == ("reasoning",)
    assert template_features("reasoning_effort") == ("reasoning (reasoning_effort)",)
    assert template_features("tools documents image_url") == ("tools", "documents", "images")
