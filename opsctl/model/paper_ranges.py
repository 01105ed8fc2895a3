"""Numbers of receipts that were given out: who has which, and that nobody has what another one has."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator

from opsctl.model.values import value


@value
class Range:
    """The receipts ``first`` to ``last`` of a series, both included, given to a body; ``order`` is the order that they are used under."""

    body: str
    series: str
    first: int
    last: int
    order: str = ""

    def __str__(self) -> str:
        return f"{self.series} {span(self.first, self.last)}"

    @property
    def count(self) -> int:
        return self.last - self.first + 1


def span(first: int, last: int) -> str:
    """``101-105``, or ``101`` for one."""
    return str(first) if first == last else f"{first}-{last}"


class Ranges:
    """Ranges by series. A series may be shared by bodies, a number of it is had by one."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._by_series: dict[str, list[tuple[int, int, str, str]]] = {}
        for one in ranges:
            self.add(one)

    def add(self, one: Range) -> None:
        insort(self._by_series.setdefault(one.series, []), (one.first, one.last, one.body, one.order))

    def overlapping(self, one: Range) -> Range | None:
        """The range that has some of these numbers already, if one has."""
        listed = self._by_series.get(one.series, [])
        place = bisect_right(listed, (one.last, 1 << 62, "", ""))
        if place and listed[place - 1][1] >= one.first:
            first, last, body, order = listed[place - 1]
            return Range(body, one.series, first, last, order)
        return None

    def holder(self, series: str, number: int) -> str | None:
        """The body that has a number."""
        found = self.overlapping(Range("", series, number, number))
        return found.body if found is not None else None

    def of(self, body: str) -> list[Range]:
        """What a body has, by series and number."""
        return sorted((one for one in self if one.body == body), key=lambda one: (one.series, one.first))

    def __iter__(self) -> Iterator[Range]:
        for series, listed in self._by_series.items():
            for first, last, body, order in listed:
                yield Range(body, series, first, last, order)


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Numbers in ascending order as ranges without holes."""
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
        elif last is None or number != last:
            if first is not None and last is not None:
                yield first, last
            first = last = number
    if first is not None and last is not None:
        yield first, last
