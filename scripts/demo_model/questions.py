"""Decides when an answer about localllm's commands is right."""

from __future__ import annotations

import re

_COMMAND = re.compile(
    r"(?<![\w./-])"
    r"(?:localllm (?:chat|plan|bench|hardware|doctor)\b|\./scripts/\w+|/[a-z]+\b"
    r"|--[a-z][a-z-]*|-p\b|LOCALLLM_\w+|Ctrl-C)"
)
# What may stand beside the thing asked for: its other name, or the command it belongs to.
_BESIDE = {
    "-p": {"localllm chat"},
    "--resume": {"localllm chat"},
    "/exit": {"/bye"},
}


def right(answer: str, needs: str) -> bool:
    """Whether an answer names what was asked for and no other command, option or script."""
    if needs not in answer:
        return False
    return set(_COMMAND.findall(answer)) <= {needs} | _BESIDE.get(needs, set())
