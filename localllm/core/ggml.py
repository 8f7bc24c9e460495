"""The ggml types: numbers, names, and bytes per block, as of llama.cpp in llama-cpp-python 0.3.36.

Read from ``ggml_blck_size`` and ``ggml_type_size``; a test compares the table with the installed
library, so that an upgrade of llama.cpp shows itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GgmlType:
    """One ggml type: rows are stored in blocks of ``block`` elements, ``n_bytes`` each."""

    id: int
    name: str
    block: int
    n_bytes: int

    @property
    def quantised(self) -> bool:
        """Whether several elements share a block (``ggml_is_quantized``)."""
        return self.block > 1


_TABLE = (
    (0, "f32", 1, 4),
    (1, "f16", 1, 2),
    (2, "q4_0", 32, 18),
    (3, "q4_1", 32, 20),
    (6, "q5_0", 32, 22),
    (7, "q5_1", 32, 24),
    (8, "q8_0", 32, 34),
    (9, "q8_1", 32, 36),
    (10, "q2_K", 256, 84),
    (11, "q3_K", 256, 110),
    (12, "q4_K", 256, 144),
    (13, "q5_K", 256, 176),
    (14, "q6_K", 256, 210),
    (15, "q8_K", 256, 292),
    (16, "iq2_xxs", 256, 66),
    (17, "iq2_xs", 256, 74),
    (18, "iq3_xxs", 256, 98),
    (19, "iq1_s", 256, 50),
    (20, "iq4_nl", 32, 18),
    (21, "iq3_s", 256, 110),
    (22, "iq2_s", 256, 82),
    (23, "iq4_xs", 256, 136),
    (24, "i8", 1, 1),
    (25, "i16", 1, 2),
    (26, "i32", 1, 4),
    (27, "i64", 1, 8),
    (28, "f64", 1, 8),
    (29, "iq1_m", 256, 56),
    (30, "bf16", 1, 2),
    (34, "tq1_0", 256, 54),
    (35, "tq2_0", 256, 66),
    (39, "mxfp4", 32, 17),
    (40, "nvfp4", 64, 36),
    (41, "q1_0", 128, 18),
    (42, "q2_0", 64, 18),
)

TYPES_BY_ID = {
    row[0]: GgmlType(id=row[0], name=row[1], block=row[2], n_bytes=row[3]) for row in _TABLE
}
TYPES_BY_NAME = {type_.name: type_ for type_ in TYPES_BY_ID.values()}

REMOVED_TYPE_IDS = frozenset({4, 5, 31, 32, 33, 36, 37, 38})
"""Types that ggml once had: Q4_2, Q4_3 and the pre-arranged Q4_0 and IQ4_NL variants."""


def row_bytes(type_name: str, n_elements: int) -> int:
    """Size of ``n_elements`` stored as one type (``ggml_row_size``), in bytes.

    ``n_elements`` must be a multiple of the type's block; ValueError otherwise.
    """
    type_ = TYPES_BY_NAME[type_name]
    if n_elements % type_.block:
        raise ValueError(f"{n_elements} elements are not whole {type_name} blocks of {type_.block}")
    return n_elements // type_.block * type_.n_bytes
