"""Tables: GGUF's value types, llama.cpp's file types, and the tensor types that are no more.

``FILE_TYPES`` is ``llama_ftype`` of ``llama.h`` as llama-cpp-python 0.3.36 vendors it. The tensor
types themselves are in ``core/ggml.py``.
"""

from __future__ import annotations

REMOVED_TYPE_NAMES: dict[int, str] = {
    4: "q4_2",
    5: "q4_3",
    31: "q4_0_4_4",
    32: "q4_0_4_8",
    33: "q4_0_8_8",
    36: "iq4_nl_4_4",
    37: "iq4_nl_4_8",
    38: "iq4_nl_8_8",
}
"""Tensor types that llama.cpp once read and reads no more: id -> name."""

VALUE_TYPES: dict[int, tuple[str, int]] = {
    0: ("u8", 1),
    1: ("i8", 1),
    2: ("u16", 2),
    3: ("i16", 2),
    4: ("u32", 4),
    5: ("i32", 4),
    6: ("f32", 4),
    7: ("bool", 1),
    8: ("string", 0),
    9: ("array", 0),
    10: ("u64", 8),
    11: ("i64", 8),
    12: ("f64", 8),
}
"""GGUF value types: id -> name and bytes of one value (0: of its own length)."""

STRING = 8
ARRAY = 9

VALUE_FORMATS: dict[int, str] = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
"""Value types of a fixed size: id -> ``struct`` format, little-endian in the file."""

FILE_TYPES: dict[int, str] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}
"""``general.file_type`` (``llama_ftype``) -> the quantisation as people name it.

38 is ``MXFP4_MOE`` in llama.cpp; the files on offer are called MXFP4.
"""
