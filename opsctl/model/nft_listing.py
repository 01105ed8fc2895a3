"""Our own tables read back from what ``nft list table`` prints: what they let through, for how long, and whether they are whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from opsctl.model.isolation import PROFILES, Mark, Opening, opening
from opsctl.model.nft_rules import ARMED, TABLE, read_comment
from opsctl.model.values import value

_TABLE = re.compile(rf"^table (inet|netdev) {TABLE} \{{.*?^\}}$", re.MULTILINE | re.DOTALL)
_SETS = {name: re.compile(rf"^\tset {name} \{{(.*?)^\t\}}$", re.MULTILINE | re.DOTALL) for name in ("armed", "opened")}
_CHAIN = re.compile(r"^\tchain (\S+) \{\n(.*?)^\t\}$", re.MULTILINE | re.DOTALL)
_HOOKS = {"inet": {"pre": "prerouting", "outp": "output"}, "netdev": {"pre": "ingress", "outp": "egress"}}
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@value
class Table:
    """One of our two tables as it is now.

    ``elements``: what is left of the set ``armed``, each with the seconds until it goes, None for never; ``opened`` the same of
    the set of that name, None where there is none. ``text`` is without what moves by itself: counters, timers, the order of
    elements, and what lets in for a time.
    """

    family: str
    elements: Mapping[str, float | None]
    text: str
    opened: Mapping[str, float | None] | None = None

    @property
    def whole(self) -> bool:
        """Whether its chains stand where they must, jump, and drop at their end."""
        if re.search(r"^\tflags .*dormant", self.text, re.MULTILINE):
            return False
        chains = {found[1]: found[2].strip().splitlines() or [""] for found in _CHAIN.finditer(self.text)}
        for name, hook in _HOOKS[self.family].items():
            lines = chains.get(name, [""])
            if f" hook {hook} " not in lines[0] or not lines[-1].endswith(f" @armed jump iso_{'in' if name == 'pre' else 'out'}"):
                return False
        return all(re.match(r"\s*counter .*drop\b", chains.get(name, [""])[-1]) for name in ("iso_in", "iso_out"))

    @property
    def missing(self) -> list[str]:
        """Elements that are gone, without which its rules hold for a part of the traffic only, or for none."""
        return [name for name in ARMED[self.family][1] if name not in self.elements]

    @property
    def devices(self) -> frozenset[str]:
        """The devices that both hooks stand on."""
        found = [frozenset(re.findall(r'[^\s{},"]+', names))
                 for names in re.findall(r"hook (?:in|e)gress devices? (?:= )?(.*?) priority", self.text)]
        return frozenset.intersection(*found) if len(found) == 2 else frozenset()

    @property
    def openings(self) -> tuple[Opening, ...]:
        """What it lets through, managers among it, and what it lets in for a time while it does."""
        text = self.text if self.opened else _CHAIN.sub(lambda found: "" if found[1].startswith("opened_") else found[0], self.text)
        return _openings(text)

    @property
    def for_a_time(self) -> tuple[Opening, ...]:
        """What it lets in for a time, or did."""
        return _openings("\n".join(found[2] for found in _CHAIN.finditer(self.text) if found[1].startswith("opened_")))

    @property
    def open_left(self) -> float | None:
        """Seconds until that closes itself; 0 where it has, None where there is no such thing."""
        if self.opened is None:
            return None
        left = [seconds for seconds in self.opened.values() if seconds is not None]
        return min(left, default=0.0) if all(name in self.opened for name in ARMED[self.family][1]) else 0.0

    @property
    def profile(self) -> str:
        found = re.search(r'^\t\tcounter .*drop comment "(.*)"$', self.text, re.MULTILINE)
        return found[1] if found and found[1] in PROFILES else PROFILES[0]

    @property
    def said(self) -> tuple[str, Mark] | None:
        """Digest and mark of the order that it was loaded by."""
        found = re.search(r'^\tcomment "(.*)"$', self.text, re.MULTILINE)
        return read_comment(found[1]) if found else None


def tables(text: str) -> dict[str, Table]:
    """Our tables by family, from what one or more calls of ``nft list table`` printed, or from what loads them."""
    found = {}
    for match in _TABLE.finditer(text):
        family, body = match[1], re.sub(r"counter packets \d+ bytes \d+", "counter", match[0])
        sets: dict[str, dict[str, float | None]] = {}
        for name, form in _SETS.items():
            if kept := form.search(body):
                sets[name] = _elements(kept[1])
                listed = f"\t\telements = {{ {', '.join(sorted(sets[name]))} }}\n" if sets[name] and name == "armed" else ""
                rest = re.sub(r"^\t\telements = .*?\}\n", "", kept[1], flags=re.MULTILINE | re.DOTALL)
                body = body.replace(kept[0], f"\tset {name} {{{rest}{listed}\t}}")
        found[family] = Table(family, sets.get("armed", {}), body, sets.get("opened"))
    return found


def seal(found: Mapping[str, Table]) -> str:
    """A hash of our tables that moves only where somebody changed them."""
    return hashlib.sha256("\n".join(found[family].text for family in sorted(found)).encode()).hexdigest()


def shortest(found: Sequence[Table]) -> float | None:
    """Seconds until the first element goes; None where none goes."""
    left = [seconds for table in found for seconds in table.elements.values() if seconds is not None]
    return min(left, default=None)


def _elements(text: str) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, rest in re.findall(r"([\w.-]+)((?: timeout \S+)?(?: expires \S+)?)\s*(?:,|\})", text.partition("elements")[2]):
        left = re.search(r"expires (\S+?),?$", rest) or re.search(r"timeout (\S+?),?$", rest)
        found["vlan" if name == "8021q" else name] = _seconds(left[1]) if left else None
    return found


def _openings(text: str) -> tuple[Opening, ...]:
    found = dict.fromkeys(re.findall(r' accept comment "(.*)"$', text, re.MULTILINE))
    return tuple(one for said in found if (one := _opening(said)) is not None)


def _opening(text: str) -> Opening | None:
    try:
        return opening(text)
    except ValueError:
        return None


def _seconds(text: str) -> float:
    """``1m5s996ms``."""
    return sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)(ms|[dhms])", text))
