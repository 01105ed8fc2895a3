"""Readiness for an incident: what has to stand beforehand, what of it a machine saw, and what a person said until when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from opsctl.model.values import value

RECORDED = "readiness.recorded"
"""What the journal calls a person's word; its data: item, by, on, until, note, digest."""
OK, SAID, EXPIRED, CHANGED, MISSING = "ok", "recorded", "expired", "changed", "missing"
FINE = (OK, SAID)


@value
class Item:
    """Something that has to stand before an incident. ``force`` and ``sources`` as the protocol has them; ``asked``: a person has to say it."""

    id: str
    title: str
    force: str
    sources: tuple[str, ...]
    asked: bool
    hint: str


@value
class Word:
    """What a person said of an item: since ``on`` it stands, and is asked for again after ``until``. ``digest``: of what it was said about."""

    item: str
    by: str
    on: date
    until: date
    note: str = ""
    digest: str = ""


@value
class Stand:
    """How an item stands: one of the words above, and what was seen."""

    item: Item
    state: str
    seen: str
    hint: str = ""
    details: Mapping[str, Any] | None = None

    @property
    def fine(self) -> bool:
        return self.state in FINE


def words_of(entries: Iterable[Mapping[str, Any]]) -> dict[str, Word]:
    """The newest word on each item, from the data of the journal's entries in their order."""
    return {one["item"]: Word(one["item"], one["by"], date.fromisoformat(one["on"]), date.fromisoformat(one["until"]), one.get("note", ""), one.get("digest", ""))
            for one in entries}


def said(item: Item, word: Word | None, today: date, digest: str = "") -> Stand:
    """How an item stands that rests on somebody's word; ``digest``: of what it is about now."""
    again = f"opsctl readiness record {item.id} --by NAME --on DATE --until DATE"
    if word is None:
        return Stand(item, MISSING, "nobody said so yet", f"{item.hint}; then {again}")
    who = f"{word.by}, {word.on}" + (f": {word.note}" if word.note else "")
    if word.until < today:
        return Stand(item, EXPIRED, f"was said until {word.until} ({who})", f"look again, then {again}")
    if digest != word.digest:
        return Stand(item, CHANGED, f"what it was said about has changed since ({who})", f"{item.hint}; then {again}")
    return Stand(item, SAID, f"until {word.until} ({who})")


def instead(stand: Stand, word: Word | None, today: date) -> Stand:
    """What a machine saw, or where that is not enough, somebody's word for it."""
    if stand.fine or word is None:
        return stand
    by_word = said(stand.item, word, today)
    return Stand(stand.item, by_word.state, f"{by_word.seen}; seen: {stand.seen}" if by_word.fine else f"{stand.seen}; {by_word.seen}",
                 "" if by_word.fine else stand.hint, stand.details)
