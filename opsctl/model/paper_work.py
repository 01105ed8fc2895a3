"""What was entered from paper, held against what was given out: gaps, doubles, strange numbers and days, the lost window."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from itertools import groupby
from typing import NamedTuple

from opsctl.model.paper_cells import rupees
from opsctl.model.paper_ranges import Range, Ranges, runs, span
from opsctl.model.values import value

GAP, REST, DOUBLE, OUTSIDE, THERE, SAME, EARLY, LATE, LOST, UNKNOWN = (
    "gap", "rest", "double", "outside", "there", "same", "early", "late", "lost", "unknown")
MEANINGS: Mapping[str, str] = {
    GAP: "given out and not entered, with later numbers entered",
    REST: "the end of what was given out, not entered: blank receipts that have to come back",
    DOUBLE: "one number entered more than once",
    OUTSIDE: "entered, and never given to this body",
    THERE: "the restored data holds it already: entered again it is a second bill",
    SAME: "same payer, amount, service and day under several numbers",
    EARLY: "dated before work on paper began",
    LATE: "dated after it ended, or in the future",
    LOST: "given before the cut, not in the restored data and not entered again",
    UNKNOWN: "which receipts were given before the cut is not known",
}
BY_WORD = (REST, UNKNOWN)
"""Findings that may be settled for several bodies at once, by their kind."""


class Entry(NamedTuple):
    """One receipt as it was entered; ``day`` is RFC 3339, ``paise`` exact, ``place`` file and line that it came from. There are millions of them."""

    series: str
    number: int
    day: str
    service: str
    payer: str
    account: str
    paise: int
    place: str


@value
class Last:
    """The last receipt of a series: in the restored data, and before the cut as the body itself knows it. None: not known."""

    restored: int | None = None
    cut: int | None = None


@value
class Window:
    """From which day to which one receipts are given on paper (RFC 3339, both included)."""

    since: str
    until: str


@value
class Finding:
    """Something that a person has to look at. ``id`` names it, and changes with what it is about; ``note``: how it was settled."""

    id: str
    kind: str
    text: str
    count: int = 0
    paise: int = 0
    note: str = ""


@value
class Sums:
    """Of one service: receipts that count, each number once, and what was entered beyond that."""

    service: str
    count: int
    paise: int
    double_count: int = 0
    double_paise: int = 0


@value
class Reconciled:
    """One body. ``given`` and ``entered`` are numbers of receipts; ``again`` those of them from the lost window."""

    body: str
    given: int
    entered: int
    again: int
    findings: tuple[Finding, ...] = ()
    sums: tuple[Sums, ...] = ()

    @property
    def open(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if not one.note)

    def counted(self, *kinds: str) -> int:
        """Receipts in findings of these kinds."""
        return sum(one.count for one in self.findings if one.kind in kinds)


@value
class _Seen:
    """What one pass over the entries found, by series."""

    numbers: Mapping[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    strange: Mapping[tuple[str, str], list[Entry]] = field(default_factory=lambda: defaultdict(list))
    doubles: list[list[Entry]] = field(default_factory=list)
    alike: Mapping[tuple[str, ...], list[Entry]] = field(default_factory=lambda: defaultdict(list))


def reconcile(
    body: str, entries: Iterable[Entry], given: Sequence[Range], everybody: Ranges, last: Mapping[str, Last], window: Window,
    settled: Mapping[str, str],
) -> Reconciled:
    """Everything about one body. ``entries`` come by series and number; ``given``: its ranges by series and number, ``everybody``: those of all;
    ``settled``: the notes that findings were settled with, by their ids."""
    seen = _Seen()
    count, once, more = 0, Counter[str](), Counter[str]()
    paid, twice = Counter[str](), Counter[str]()
    for _, group in groupby(entries, key=lambda one: (one.series, one.number)):
        listed = list(group)
        first = listed[0]
        count += len(listed)
        once[first.service] += 1
        paid[first.service] += first.paise
        for copy in listed[1:]:
            more[copy.service] += 1
            twice[copy.service] += copy.paise
        if len(listed) > 1:
            seen.doubles.append(listed)
        seen.numbers[first.series].append(first.number)
        if (kind := _strange(first, given, last.get(first.series, Last()), window)) is not None:
            seen.strange[kind, first.series].append(first)
        if first.payer or first.account:
            seen.alike[first.account or first.payer.casefold(), first.service, first.day, str(first.paise)].append(first)
    found = [*_gaps(given, seen), *_lost(seen, last), *_doubles(seen), *_strangers(seen, everybody), *_alike(seen)]
    findings = tuple(Finding(one.id, one.kind, one.text, one.count, one.paise, settled.get(one.id, "")) for one in found)
    lost_again = sum(_in_window(number, last.get(series, Last())) for series, numbers in seen.numbers.items() for number in numbers)
    return Reconciled(body, sum(one.count for one in given), count, lost_again, findings,
                      tuple(Sums(name, once[name], paid[name], more[name], twice[name]) for name in sorted(once.keys() | more.keys())))


def _in_window(number: int, last: Last) -> bool:
    return last.restored is not None and last.cut is not None and last.restored < number <= last.cut


def _strange(one: Entry, given: Sequence[Range], last: Last, window: Window) -> str | None:
    if any(each.series == one.series and each.first <= one.number <= each.last for each in given):
        return EARLY if one.day < window.since else LATE if one.day > window.until else None
    if last.restored is not None and one.number <= last.restored:
        return THERE
    if _in_window(one.number, last):
        return LATE if one.day > window.since else None
    return OUTSIDE


def _gaps(given: Sequence[Range], seen: _Seen) -> Iterator[Finding]:
    for one in given:
        there = [number for number in seen.numbers.get(one.series, ()) if one.first <= number <= one.last]
        highest = there[-1] if there else one.first - 1
        for first, last in _holes(there, one.first, highest):
            yield Finding(f"{GAP}:{one.series}:{span(first, last)}", GAP, f"{one.series} {span(first, last)} given out, not entered", last - first + 1)
        if highest < one.last:
            first = highest + 1
            yield Finding(f"{REST}:{one.series}:{span(first, one.last)}", REST,
                          f"{one.series} {span(first, one.last)} not entered: blank receipts to come back, or not typed in yet", one.last - highest)


def _holes(numbers: Iterable[int], first: int, last: int) -> Iterator[tuple[int, int]]:
    """What is missing of ``first`` to ``last``; ``numbers`` ascend. However long the range, it takes as long as there are numbers."""
    expected = first
    for number in numbers:
        if number > last:
            break
        if number > expected:
            yield expected, number - 1
        expected = max(expected, number + 1)
    if expected <= last:
        yield expected, last


def _lost(seen: _Seen, last: Mapping[str, Last]) -> Iterator[Finding]:
    if not last:
        yield Finding(f"{UNKNOWN}:all", UNKNOWN, "neither the restored data nor the body says what the last receipt before the cut was")
    for series, one in sorted(last.items()):
        if one.restored is None and one.cut is not None:
            yield Finding(f"{UNKNOWN}:{series}:restored", UNKNOWN, f"{series}: not known which of its receipts are in the restored data; the last before the cut was {one.cut}")
        elif one.cut is None:
            text = f"{series}: the restored data ends with {one.restored}; not known which was the last before the cut"
            yield Finding(f"{UNKNOWN}:{series}:{one.restored}", UNKNOWN, text)
        elif one.restored is not None and one.restored > one.cut:
            text = f"{series}: the restored data ends with {one.restored}, after the last before the cut ({one.cut}): one of the two is wrong"
            yield Finding(f"{UNKNOWN}:{series}:{one.restored}-{one.cut}", UNKNOWN, text)
        else:
            for first, end in _holes(seen.numbers.get(series, ()), (one.restored or 0) + 1, one.cut):
                yield Finding(f"{LOST}:{series}:{span(first, end)}", LOST,
                              f"{series} {span(first, end)} given before the cut, not in the restored data, not entered again", end - first + 1)


def _doubles(seen: _Seen) -> Iterator[Finding]:
    for listed in seen.doubles:
        first = listed[0]
        amounts = sorted({one.paise for one in listed})
        differ = "" if len(amounts) == 1 else f", with different amounts ({', '.join(rupees(one) for one in amounts)})"
        yield Finding(f"{DOUBLE}:{first.series}:{first.number}:{len(listed)}", DOUBLE,
                      f"{first.series} {first.number} entered {len(listed)} times{differ}: {', '.join(one.place for one in listed[:4])}",
                      len(listed) - 1, sum(one.paise for one in listed[1:]))


def _strangers(seen: _Seen, everybody: Ranges) -> Iterator[Finding]:
    for (kind, series), listed in sorted(seen.strange.items()):
        paid = {one.number: one.paise for one in listed}
        days = {one.number: one.day for one in listed}
        for first, last in runs(paid):
            holder = everybody.holder(series, first) if kind == OUTSIDE else None
            what = {OUTSIDE: f"never given to it{f': {holder} has it' if holder else ''}", THERE: "in the restored data already: entered again it is a second bill",
                    EARLY: f"dated {days[first]}, before work on paper began", LATE: f"dated {days[first]}, too late"}[kind]
            yield Finding(f"{kind}:{series}:{span(first, last)}", kind, f"{series} {span(first, last)} {what}", last - first + 1,
                          sum(paid[number] for number in range(first, last + 1)))


def _alike(seen: _Seen) -> Iterator[Finding]:
    for listed in seen.alike.values():
        if len(listed) > 1:
            numbers = [f"{one.series} {one.number}" for one in listed]
            shown = ", ".join(numbers[:6]) + (f" and {len(numbers) - 6} more" if len(numbers) > 6 else "")
            first = listed[0]
            yield Finding(f"{SAME}:{'+'.join(number.replace(' ', ':') for number in numbers[:6])}:{len(numbers)}", SAME,
                          f"{shown}: {first.payer or first.account}, {rupees(first.paise)}, {first.day}: paid twice, or one payment entered twice",
                          len(listed) - 1, sum(one.paise for one in listed[1:]))
