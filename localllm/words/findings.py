"""The doctor's findings as every shell marks them."""

from __future__ import annotations

from collections.abc import Mapping

from localllm.doctor.finding import Level

MARKS: Mapping[Level, tuple[str, str]] = {
    "ok": ("✓", "+"),
    "warn": ("!", "!"),
    "missing": ("✗", "x"),
}
"""What stands before a finding, and what does where there is no Unicode."""
