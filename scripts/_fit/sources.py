"""Who measured a public row, how far it is trusted, and how old the llama.cpp was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from _fit.texts import text

_USER_REPORTED = ("localmaxxing", "llmfit-community")
_BENCHED = ("xiongjiedai", "scoreboard", "kyuz0", "geerling", "hilbertraum", "dgx-spark", "4x3090")
_GROUPS = {"llmfit#774": "Akciali", "llmfit#775": "Akciali"}
"""Rows of one person under several names."""


def group_of(row: Mapping[str, Any]) -> str:
    """Return whose measurement a row is: what cross-validation leaves out together."""
    source = text(row, "source_id") or text(row, "group") or text(row, "source") or "unknown"
    for prefix in ("scoreboard", "XiongjieDai", "kyuz0", "geerling", *_USER_REPORTED):
        if source.lower().startswith(prefix.lower()):
            return prefix
    plain = re.sub(r"^ik-bench#", "ik#", source)
    return _GROUPS.get(plain, plain)


def tier_of(row: Mapping[str, Any]) -> str:
    """Return C for what users report to a site, A for benches with a build, B for the rest.

    What lies in memory of which nobody tells the kind cannot test a model of that memory: C too.
    """
    if "memory as the platform has it" in text(row, "note"):
        return "C"
    source = (text(row, "source_id") or text(row, "group")).lower()
    if source.startswith(_USER_REPORTED):
        return "C"
    if source.startswith(_BENCHED):
        return "A"
    benched = "bench" in text(row, "runner") or bool(row.get("build"))
    pulled = " PR #" in text(row, "source") and "llama.cpp" in text(row, "source")
    return "A" if (pulled and benched) or (row.get("build") and source.startswith("ik#")) else "B"


def era_of(date: str, build: str, source: str) -> str:
    """Return the era of llama.cpp: before mid December 2024, before 2026, or since.

    Without a date by the build's number, then by the number of the issue it was told in.
    """
    found = re.search(r"(20\d\d)(?:-(\d\d))?(?:-(\d\d))?", date)
    if found is not None:
        year, month, day = (int(part or 0) for part in found.groups())
        if (year, month, day) < (2024, 12, 15):
            return "2024"
        return "2025" if year < 2026 else "2026"
    builds = re.findall(r"\bb?(\d{4,5})\b", build)
    if builds:
        return _by_number(int(builds[0]), 4330, 7580)
    issues = re.findall(r"llama\.cpp\S* (?:issue|PR|discussion|pull)?\s*#(\d{4,5})", source)
    if issues:
        return _by_number(int(issues[0]), 10830, 18500)
    return "2025"


def _by_number(value: int, end_2024: int, end_2025: int) -> str:
    if value < end_2024:
        return "2024"
    return "2025" if value < end_2025 else "2026"
