"""How long a download waits for a server, and how often it asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPatience:
    """Waits in seconds, and the number of tries."""

    timeout_s: float = 10.0
    """Without a byte from the server."""
    n_tries: int = 10
    """Without one new byte; any byte starts the count again."""
    first_wait_s: float = 1.0
    """Before the second try; doubled before each further one."""
    longest_wait_s: float = 30.0
    """What doubling ends at."""
    longest_asked_s: float = 120.0
    """A server that asks for more is asked again after this."""

    longest_answer_s: float = 60.0
    """From a question to the answer's first byte or its end, however steadily its head trickles."""

    def wait_s(self, n_failed: int, asked_s: float | None = None) -> float:
        """Return how long to wait after so many failures in a row, from 1.

        ``asked_s``: for how long the server wants to be left alone (``Retry-After``).
        """
        own_s = min(self.first_wait_s * 2.0 ** min(n_failed - 1, 60), self.longest_wait_s)
        # 0, or a date that has passed, is no reason to ask again at once
        return own_s if asked_s is None else max(own_s, min(asked_s, self.longest_asked_s))
