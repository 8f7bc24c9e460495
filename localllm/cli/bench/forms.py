"""The forms that bench prints in, which its help names before anything else is imported."""

from __future__ import annotations

from typing import Literal

Form = Literal["md", "csv", "json", "jsonl", "sql"]
FORMS: tuple[Form, ...] = ("md", "csv", "json", "jsonl", "sql")
