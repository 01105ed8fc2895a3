"""What stands at a machine that cuts others off, read back from our table there: who is held, by whose order, and whether it is whole."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Any

from opsctl.model import nft_rules
from opsctl.model.isolation import Mark
from opsctl.model.nft_gateway import BASE, ENDS, KINDS, PASS, Member, chains, member, tests
from opsctl.model.values import value


@value
class Note:
    """What stands at a member: the group of its order, and who ordered it, or of which address it is a part."""

    group: str
    digest: str | None = None
    mark: Mark | None = None
    part_of: str | None = None


@value
class Gate:
    """What stands at a machine. ``held``: who is cut off, and for how many seconds still (None: permanent).

    ``notes``: who belongs to which orders, whether the isolation has lifted itself or not. ``rules``: the text of the
    rules of each chain, without what moves by itself. ``parts``: by the text of a member, those that were cut off with it.
    """

    there: bool = False
    held: Mapping[Member, float | None] = field(default_factory=dict)
    notes: Mapping[Member, tuple[Note, ...]] = field(default_factory=dict)
    parts: Mapping[str, tuple[Member, ...]] = field(default_factory=dict)
    groups: Collection[str] = ()
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dormant: bool = False

    def of(self, own: Collection[Member]) -> list[Member]:
        """Everything that was cut off for the host with these addresses, in order."""
        found = {each for each in own if each in self.notes}
        found.update(part for each in own for part in self.parts.get(each.text, ()))
        return sorted(found, key=lambda each: (each.kind, each.text))

    def written(self, own: Collection[Member]) -> Note | None:
        """What stands at the host about its order."""
        notes = (note for each in own for note in self.notes.get(each, ()))
        return next((note for note in notes if note.digest is not None), None)

    def seal(self, own: Collection[Member]) -> str:
        """A hash of all that holds the host: the shared rules, those of its order, its own elements."""
        members = self.of(own)
        groups = {note.group for each in members for note in self.notes[each]}
        own_chains = [name for name in self.rules if name in chains() or name.rpartition("_")[2] in groups]
        lines: list[Any] = [self.altered] + [[name, self.rules[name]] for name in sorted(own_chains)]
        lines += [[name, [line for line in self.rules.get(name, ()) if any(group in line for group in groups)]]
                  for name in PASS]
        elements = [[each.kind, each.text, each in self.held, sorted(note.group for note in self.notes[each])] for each in members]
        return hashlib.sha256(json.dumps([lines, elements]).encode()).hexdigest()


    @property
    def altered(self) -> list[str]:
        """The chains that are not as they have to be, which somebody changed: who is held may pass, or what may pass is held.

        By what is in them and how many rules there are; each version of nft prints a rule as it likes.
        """
        if not self.there:
            return []
        found = [] if not self.dormant else ["all"]
        for name, (hook, target) in BASE.items():
            lines = self.rules.get(name, ("",))
            wanted = list(tests(name))
            if f'"{hook}", "policy": "accept", "prio": -310' not in lines[0] or len(lines) - 1 - (hook == "output") != len(wanted) or not all(
                    any(f'"@{held}"' in line and f'"{target}"' in line for line in lines) for held, _ in wanted):
                found.append(name)
        for way in ("from", "to"):
            for what, rules in ENDS.items():
                lines = self.rules.get(f"{way}_{what}", ("",))
                if len(lines) != len(rules) + 2 or f'"pass_{way}"' not in lines[1] or lines[-1] != '[{"drop": null}]':
                    found.append(f"{way}_{what}")
            if len(self.rules.get(f"pass_{way}", ())) != 1 + len(self.groups) * (len(KINDS) - (way == "to")):
                found.append(f"pass_{way}")
        return found


def read(document: str, dormant: bool) -> Gate:
    """From ``nft -j list table`` of ours, which does not tell whether the table is dormant; an empty text: it is not there."""
    if not document.strip():
        return Gate()
    held: dict[Member, float | None] = {}
    notes: dict[Member, list[Note]] = defaultdict(list)
    parts: dict[str, list[Member]] = defaultdict(list)
    groups: set[str] = set()
    rules: dict[str, list[str]] = {}
    for one in json.loads(document)["nftables"]:
        if "chain" in one:
            said = {key: one["chain"][key] for key in ("hook", "policy", "prio") if key in one["chain"]}
            rules.setdefault(one["chain"]["name"], []).append(json.dumps(said, sort_keys=True))
        elif "rule" in one:
            rules.setdefault(one["rule"]["chain"], []).append(json.dumps(one["rule"]["expr"], sort_keys=True))
        elif "set" in one:
            name, elements = one["set"]["name"], one["set"].get("elem", [])
            if name.startswith("o"):
                group = name.rpartition("_")[2]
                groups.add(group)
                for each, _, comment in map(_element, elements):
                    note = _note(group, comment)
                    notes[each].append(note)
                    if note.part_of:
                        parts[note.part_of].append(each)
            elif name.startswith("held"):
                held.update((each, left) for each, left, _ in map(_element, elements))
    return Gate(True, held, {each: tuple(found) for each, found in notes.items()},
                {name: tuple(found) for name, found in parts.items()}, groups,
                {name: tuple(lines) for name, lines in rules.items()}, dormant)


def _element(element: Any) -> tuple[Member, float | None, str]:
    more: dict[str, Any] = element.get("elem", {}) if isinstance(element, dict) else {}
    found = more.get("val", element)
    text = f"{found['prefix']['addr']}/{found['prefix']['len']}" if isinstance(found, dict) else found
    left = more["expires"] + 0.5 if "expires" in more else None  # nft cuts it down to whole seconds
    return member(text), left, more.get("comment", "")


def _note(group: str, comment: str) -> Note:
    if comment.startswith("part of "):
        return Note(group, part_of=comment.removeprefix("part of "))
    known = nft_rules.read_comment(comment)
    return Note(group, *known) if known else Note(group)
