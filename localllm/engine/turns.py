"""One request at a time, from any thread."""

from __future__ import annotations

import threading


class Ticket:
    """The right to talk to the child, given back once."""

    def __init__(self, turn: Turn) -> None:
        self._turn: Turn | None = turn

    def release(self) -> None:
        """Give the turn back; a second call does nothing."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.owner = None
            turn.lock.release()


class Turn:
    """One request at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner: int | None = None

    def take(self, *, timeout_s: float = -1) -> Ticket | None:
        """Wait for the turn; None when the time is over."""
        if not self.lock.acquire(timeout=timeout_s):
            return None
        self.owner = threading.get_ident()
        return Ticket(self)

    def take_or_raise(self) -> Ticket:
        """Wait for the turn. Raises ``RuntimeError`` where waiting would never end."""
        if self.owner == threading.get_ident():
            raise RuntimeError("a request is running: exhaust or close its iterator first")
        ticket = self.take()
        assert ticket is not None
        return ticket
