"""What the Hub means when it refuses: its codes and messages -> our errors, with what to click.

Pure: strings in, errors out. The Hub names the reason in ``X-Error-Code`` and ``X-Error-Message``;
its status alone says little, since it answers 401 for a repository that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from localllm.core.text import printable
from localllm.errors import AccessError, LocalLLMError, NotFoundError

BAD_TOKEN = "Invalid credentials in Authorization header"
DISABLED = "Access to this resource is disabled."
"""``X-Error-Message``, word by word as huggingface_hub 2.4.0 compares it (``utils/_http.py``)."""
_RESOLVE = re.compile(r"(https?://.+?)/([^/?]+/[^/?]+)/resolve/([^/?]+)/([^?]+)(?:\?.*)?")


class TokenError(AccessError):
    """The Hub does not know the token: no repository of it can be read with that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for at a Hub, and as whom."""

    endpoint: str
    """The Hub's address, without a slash at its end."""
    repo: str
    """``user/repo``."""
    revision: str = "main"
    path: str | None = None
    """A file's; None for the repository itself."""
    has_token: bool = False
    """Whether a token goes with the question."""

    @property
    def page(self) -> str:
        """Where a person sees the repository."""
        return f"{self.endpoint}/{self.repo}"

    @property
    def tokens_page(self) -> str:
        """Where a person makes a token."""
        return f"{self.endpoint}/settings/tokens"

    @property
    def shown(self) -> str:
        """What is wanted, safe to print."""
        text = self.repo if self.path is None else f"{self.path} of {self.repo}"
        at = "" if self.revision == "main" else f" at {self.revision}"
        return printable(f"{text}{at}")


def wanted_at(url: str, *, has_token: bool) -> Wanted | None:
    """Read the address of a Hub's file; None for any other address."""
    match = _RESOLVE.fullmatch(url)
    if match is None:
        return None
    endpoint, repo, revision, path = match.groups()
    return Wanted(
        endpoint=endpoint,
        repo=unquote(repo),
        revision=unquote(revision),
        path=unquote(path),
        has_token=has_token,
    )


def coded_refusal(wanted: Wanted, *, code: str, message: str) -> LocalLLMError | None:
    """Return what the Hub's own words mean; None where it says nothing that is known.

    ``code``: ``X-Error-Code``; ``message``: ``X-Error-Message``; both empty where not sent.
    """
    for said, make in _MEANINGS:
        if said in (code, message):
            return make(wanted, message)
    return None


def gated(wanted: Wanted, message: str = "") -> LocalLLMError:
    """Return the error for a licence that must be accepted: on which page, then what to set."""
    if not wanted.has_token:
        return AccessError(
            f"{wanted.shown} is gated: its licence must be accepted first.",
            hint=f"Open {wanted.page}, log in and accept the licence, then set HF_TOKEN to a token"
            f" with read access ({wanted.tokens_page}).",
        )
    return AccessError(
        f"{wanted.shown} is gated, and the account of your token has no access to it.",
        hint=f"Open {wanted.page} with that account and accept the licence; some publishers answer"
        " later. A fine-grained token also needs read access to gated repositories"
        f" ({wanted.tokens_page}).",
    )


def bad_token(wanted: Wanted, message: str = "") -> LocalLLMError:
    """Return the error for a token that the Hub does not know, or not any more."""
    return TokenError(
        f"{wanted.endpoint} does not accept your token.",
        hint=f"Make a new one with read access ({wanted.tokens_page}) and set HF_TOKEN to it, or"
        " unset HF_TOKEN: an open repository needs none. `localllm doctor` shows where the token"
        " comes from.",
    )


def no_repo(wanted: Wanted, message: str = "") -> LocalLLMError:
    """Return the error for a repository that does not exist or that is hidden: one answer."""
    if wanted.has_token:
        return NotFoundError(
            f"There is no repository {printable(wanted.repo)} at {wanted.endpoint}, or it is"
            " private and your token may not read it.",
            hint=f"Check the name ({wanted.page}); for a private one, use a token of an account"
            f" that may read it ({wanted.tokens_page}).",
        )
    return NotFoundError(
        f"There is no repository {printable(wanted.repo)} at {wanted.endpoint}, or it is private.",
        hint=f"Check the name ({wanted.page}); for a private one, set HF_TOKEN to a token with read"
        f" access ({wanted.tokens_page}).",
    )


def forbidden(wanted: Wanted, message: str = "") -> LocalLLMError:
    """Return the error for a plain 403."""
    said = f' ("{printable(message[:200])}")' if message else ""
    return AccessError(
        f"{wanted.shown} may not be read{said}.",
        hint=f"Open {wanted.page} to see why; a token needs read access ({wanted.tokens_page}).",
    )


def no_file(wanted: Wanted, message: str = "") -> LocalLLMError:
    """Return the error for a file, or whatever else was asked for, that does not exist."""
    if wanted.path is None:
        return no_repo(wanted)
    return NotFoundError(
        f"There is no file {printable(wanted.path)} in {printable(wanted.repo)} at"
        f" {printable(wanted.revision)}.",
        hint=f"See what is there: {wanted.page}/tree/main",
    )


def _no_revision(wanted: Wanted, message: str) -> LocalLLMError:
    return NotFoundError(
        f"There is no revision {printable(wanted.revision)} of {printable(wanted.repo)}.",
        hint=f"See what is there: {wanted.page}/tree/main",
    )


def disabled(wanted: Wanted, message: str = "") -> LocalLLMError:
    """Return the error for a repository that the Hub has closed."""
    return AccessError(
        f"{wanted.endpoint} has disabled {printable(wanted.repo)}.",
        hint="Nobody can read it; use another publisher's.",
    )


_MEANINGS: tuple[tuple[str, Callable[[Wanted, str], LocalLLMError]], ...] = (
    (BAD_TOKEN, bad_token),
    (DISABLED, disabled),
    ("GatedRepo", gated),
    ("RepoNotFound", no_repo),
    ("RevisionNotFound", _no_revision),
    ("EntryNotFound", no_file),
)
