"""What Home knows of its models: rows, verdicts, downloads, look-ups. It draws and asks nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from localllm.core.fetching import ToFetch
from localllm.core.kept import Inventory, Leftover
from localllm.core.policy import Policy
from localllm.core.recommendation import Known
from localllm.errors import LocalLLMError
from localllm.tui.fetching.ways import in_keys
from localllm.tui.home.cells import Told
from localllm.tui.home.rows import Row, Sort, Verdict
from localllm.tui.home.shelf import Entry, Shelf, here_rows, known_rows
from localllm.tui.home.weigher import Ask
from localllm.words.kept import left_over

if TYPE_CHECKING:
    from localllm.choosing import Decided
    from localllm.tui.fetching.fetches import Fetch
    from localllm.tui.subject import Subject


class Collection:
    """The models of Home. Everything is looked up elsewhere and put here."""

    def __init__(self) -> None:
        """Know of nothing yet."""
        self.shelf = Shelf()
        self.doings: dict[str, str] = {}
        """What is being looked up, by the key of an entry."""
        self.problems: dict[str, LocalLLMError] = {}
        """What did not work, by the key of an entry."""
        self._found: dict[str, Decided] = {}
        self._verdicts: dict[tuple[tuple[str, ...], Policy], dict[str, Verdict]] = {}
        self._outdated: dict[tuple[tuple[str, ...], Policy], set[str]] = {}
        """Verdicts that are shown until there are newer ones."""
        self._fetch_of: dict[str, str] = {}
        self._fetches: tuple[Fetch, ...] = ()

    # -- what is put in --------------------------------------------------------------------------

    def put_here(self, inventory: Inventory, leftovers: Iterable[Leftover]) -> None:
        """Take what is here, instead of what was."""
        here = here_rows(inventory)
        for verdicts in self._verdicts.values():  # files may be others than they were
            for key in [key for key in verdicts if verdicts[key].is_here]:
                del verdicts[key]
        names = {row.name for row in here}
        self.shelf = replace(
            self.shelf,
            here=here,
            found=tuple(row for row in self.shelf.found if row.name not in names),
            notes=(*inventory.notes, *map(in_keys, left_over(tuple(leftovers)))),
        )
        self.put_fetches(self._fetches)

    def put_known(self, known: Iterable[Known]) -> None:
        """Take the models with a recorded shape."""
        self.shelf = replace(self.shelf, known=known_rows(tuple(known)))

    def put_fetches(self, fetches: Iterable[Fetch]) -> None:
        """Take the downloads: those that no row stands for get one of their own."""
        self._fetches = tuple(fetches)
        names = {row.name for row in (*self.shelf.here, *self.shelf.found)}
        others = [
            Row(name=fetch.name, kind="fetch")
            for fetch in self._fetches
            if fetch.name not in names and fetch.state != "done"
        ]
        self.shelf = replace(self.shelf, fetches=tuple(others))

    def put_found(self, name: str, decided: Decided, subject: Subject, verdict: Verdict) -> Row:
        """Take a name that was looked up; return its row, the first of its kind."""
        row = Row(name=decided.name or name, kind="found")
        others = tuple(each for each in self.shelf.found if each.key != row.key)
        self.shelf = replace(self.shelf, found=(row, *others))
        self._found[row.key] = decided
        self.put_verdicts(subject, {row.key: verdict})
        if decided.fetch is not None:
            self.put_decided(row, decided.fetch)
        return row

    def put_decided(self, row: Row, wanted: ToFetch) -> None:
        """Take what a row would download, so that it shows how that goes."""
        self._fetch_of[row.key] = wanted.name

    def forget_verdicts(self) -> None:
        """Know no verdict any more: the machine is looked at anew."""
        self._verdicts.clear()
        self._outdated.clear()

    def weigh_anew(self) -> None:
        """Want all verdicts once more: more was measured."""
        self._outdated = {wished: set(verdicts) for wished, verdicts in self._verdicts.items()}

    def put_verdicts(self, subject: Subject, verdicts: Mapping[str, Verdict]) -> None:
        """Take verdicts on a subject's machine with its wishes, by the key of a row."""
        self.verdicts(subject).update(verdicts)
        self._outdated.get((subject.machines, subject.wishes), set()).difference_update(verdicts)

    # -- what comes out --------------------------------------------------------------------------

    def verdicts(self, subject: Subject) -> dict[str, Verdict]:
        """Return the verdicts on a subject's machine with its wishes, by the key of a row."""
        return self._verdicts.setdefault((subject.machines, subject.wishes), {})

    def told(self, subject: Subject) -> Told:
        """Return what is known of the rows besides their names."""
        return Told(
            verdicts=self.verdicts(subject),
            fetches=self._fetches_by_key(),
            doings=self.doings,
            problems=self.problems,
            where=" + ".join(subject.machines) or "this machine",
        )

    def decided(self, row: Row) -> Decided | None:
        """Return what a row's name was found to mean, where it was looked up."""
        fetch = self._fetches_by_key().get(row.key)
        return fetch.decided if fetch is not None else self._found.get(row.key)

    def entries(
        self, subject: Subject, text: str, sort: Sort, *, offer: str | None = None
    ) -> list[Entry]:
        """Return the lines for what was typed."""
        return self.shelf.entries(text, sort, self.verdicts(subject), offer=offer)

    def asks(self, subject: Subject, first: Iterable[Entry]) -> list[Ask]:
        """Return the models that have no verdict yet: those of the entries first, then all."""
        judged = self._judged(subject)
        rows: Iterator[Row] = (entry.row for entry in first if entry.row is not None)
        every = dict.fromkeys((*rows, *self.shelf.rows()))
        return [
            Ask(key=row.key, name=row.name, kept=row.kept)
            for row in every
            if row.key not in judged and row.kind not in ("fetch", "found")
            if not row.is_incomplete
        ]

    def found_without_verdict(self, subject: Subject) -> Mapping[str, Decided]:
        """Return what was looked up for another machine or other wishes, by the key of its row."""
        judged = self._judged(subject)
        return {key: decided for key, decided in self._found.items() if key not in judged}

    def wishes(self, row: Row, wishes: Policy) -> Policy:
        """Return the wishes for a row: a file is in the quantisation that it is in."""
        return replace(wishes, quant=None) if row.kind in ("kept", "demo", "found") else wishes

    def _judged(self, subject: Subject) -> set[str]:
        outdated = self._outdated.get((subject.machines, subject.wishes), set())
        return self.verdicts(subject).keys() - outdated

    def _fetches_by_key(self) -> dict[str, Fetch]:
        by_name = {fetch.name: fetch for fetch in self._fetches if fetch.state != "done"}
        keys = {f"{kind}:{name}": name for name in by_name for kind in ("kept", "fetch", "found")}
        wanted = {**keys, **self._fetch_of}
        return {key: by_name[name] for key, name in wanted.items() if name in by_name}
