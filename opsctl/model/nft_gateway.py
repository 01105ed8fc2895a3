"""The rules by which a machine cuts others off that it forwards for, or that come to it, as text for ``nft -f``.

Who is cut off is an element of a set, by address, by prefix and by hardware address, so that hundreds are one transaction
and cost a packet nothing. Elements with a time-out are the dead man's handle of each host. What a host's order lets through
stands in chains that all hosts with the same order share; the sets ``o…_GROUP`` say, after the time-out as well, who belongs
there, and the comment of an element who ordered it.

New connections are dropped before connection tracking; those that live are answered with a reset, so that both ends
notice. After a release the guard resets for an hour what connection tracking has forgotten: connections that were idle. Its sets
stay, empty in the end, as the rest of the table does: nothing but elements tells whether anybody is cut off.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opsctl.model import nft_rules
from opsctl.model.isolation import Facts, Mark, Order
from opsctl.model.values import value

GATE = "opsctl_gate"
"""On the machine that forwards for the hosts."""
DOOR = "opsctl_door"
"""On the machine of the backup store, which shuts them out."""

GUARD_SECONDS = 3600
# Kind of member: type and flags of its sets, and what of a packet is compared with them.
_KINDS: Mapping[str, tuple[str, str, str]] = {
    "4": ("ipv4_addr", "", "ip"), "6": ("ipv6_addr", "", "ip6"),
    "net4": ("ipv4_addr", "interval", "ip"), "net6": ("ipv6_addr", "interval", "ip6"),
    "mac": ("ether_addr", "", "ether"),
}
_SYN = "tcp flags & (fin | syn | rst | ack) == syn"
_SHARED = ("from_new", "to_new", "from_live", "to_live", "pre_from", "pre_to", "fwd_from", "fwd_to", "inp_from", "out_to")


@dataclass(frozen=True)
class Member:
    """What a host is known by: an address, a prefix, or a hardware address. ``kind`` is one of ``_KINDS``."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


def member(text: str) -> Member:
    """``10.0.0.7``, ``fd00::7``, ``10.0.7.0/24``, ``02:00:00:00:00:07``. ValueError for anything else."""
    if re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", text):
        return Member("mac", text)
    network = ipaddress.ip_network(text)
    whole = network.prefixlen == network.max_prefixlen
    return Member(("" if whole else "net") + str(network.version), str(network.network_address if whole else network))


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
    guarded: Collection[Member] = ()
    groups: Collection[str] = ()
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

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
        own_chains = [name for name in self.rules if name in _SHARED or name.rpartition("_")[2] in groups]
        lines = [[name, self.rules[name]] for name in sorted(own_chains)]
        lines += [[name, [line for line in self.rules.get(name, ()) if any(group in line for group in groups)]]
                  for name in ("pass_from", "pass_to")]
        elements = [[each.kind, each.text, each in self.held, sorted(note.group for note in self.notes[each])] for each in members]
        return hashlib.sha256(json.dumps([lines, elements]).encode()).hexdigest()


def read(document: str) -> Gate:
    """From ``nft -j list table`` of ours; an empty text is a machine without it."""
    if not document.strip():
        return Gate()
    held: dict[Member, float | None] = {}
    notes: dict[Member, list[Note]] = defaultdict(list)
    parts: dict[str, list[Member]] = defaultdict(list)
    guarded: set[Member] = set()
    groups: set[str] = set()
    rules: dict[str, list[str]] = {}
    for one in json.loads(document)["nftables"]:
        if "chain" in one:
            rules.setdefault(one["chain"]["name"], []).append(json.dumps(one["chain"].get("hook"), sort_keys=True))
        elif "rule" in one:
            rules.setdefault(one["rule"]["chain"], []).append(json.dumps(_still(one["rule"]["expr"]), sort_keys=True))
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
            elif name.startswith("guard"):
                guarded.update(each for each, _, _ in map(_element, elements))
    return Gate(bool(rules), held, {each: tuple(found) for each, found in notes.items()},
                {name: tuple(found) for name, found in parts.items()}, guarded, groups,
                {name: tuple(lines) for name, lines in rules.items()})


@value
class Wish:
    """A host to be cut off: by which order, by which members (the first is the one that the others are parts of)."""

    order: Order
    facts: Facts
    members: tuple[Member, ...]

    @property
    def own(self) -> Member:
        return self.members[0]

    @property
    def passes(self) -> tuple[Sequence[str], Sequence[str]]:
        """The rules of what comes through to the host, and from it."""
        return nft_rules.passes(self.order, self.facts)

    @property
    def group(self) -> str:
        return hashlib.sha256(json.dumps(self.passes).encode()).hexdigest()[:12]


def load(gate: Gate, wishes: Sequence[Wish], table: str) -> str:
    """The transaction that cuts hosts off, over whatever of them is there."""
    lines = [] if gate.there else list(_skeleton(table))
    made = set(gate.groups)
    for wish in wishes:
        if wish.group not in made:
            made.add(wish.group)
            lines += _group(wish, table)
    gone: list[tuple[str, str, str]] = []
    come: list[tuple[str, str, str]] = []
    for wish in wishes:
        gone += [(name, str(each), "") for each in gate.of([wish.own]) for name in _sets_of(gate, each)]
        for each in wish.members:
            after = f" timeout {round(wish.order.seconds * 1000)}ms" if wish.order.seconds is not None else ""
            comment = nft_rules.comment(wish.order) if each == wish.own else f"part of {wish.own}"
            for name in (f"held{each.kind}", f"o{each.kind}_{wish.group}"):
                gone.append((name, str(each), ""))
                come.append((name, str(each), after if name.startswith("held") else f' comment "{comment}"'))
    return _text([*lines, *_gone(table, gone), *_elements("add", table, come)])


def arm(gate: Gate, wishes: Sequence[tuple[Sequence[Member], float | None]], table: str) -> str:
    """The transaction that makes hosts' isolation permanent (None), or lets it lift itself in so many seconds from now.

    It fails where an element has gone, which is where an isolation has lifted itself.
    """
    gone, come = [], []
    for own, seconds in wishes:
        after = f" timeout {round(seconds * 1000)}ms" if seconds is not None else ""
        for each in gate.of(own):
            gone.append((f"held{each.kind}", str(each), ""))
            come.append((f"held{each.kind}", str(each), after))
    return _text([*_elements("delete", table, gone), *_elements("add", table, come)])


def release(gate: Gate, owns: Iterable[Sequence[Member]], table: str) -> str:
    """The transaction that lets hosts out, and guards them; empty where none of them is there."""
    gone, guard = [], []
    for each in dict.fromkeys(found for own in owns for found in gate.of(own)):
        gone += [(name, str(each), "") for name in _sets_of(gate, each)]
        if each.kind != "mac":
            guard.append((f"guard{each.kind}", str(each), ""))
    made = _guard(table) if guard and "guard" not in gate.rules else ()
    return _text([*made, *_gone(table, gone), *_gone(table, guard), *_elements("add", table, guard)])


def _skeleton(table: str) -> Iterator[str]:
    # Not `add`: where somebody else makes it at this moment, one of both fails whole, and looks again.
    yield f"create table inet {table}"
    yield f"table inet {table} {{"
    for kind, (type_, flags, _) in _KINDS.items():
        timed = ", ".join(filter(None, (flags, "timeout")))
        yield f"\tset held{kind} {{ type {type_}; flags {timed}; }}"
    yield "\tchain pass_from { }\n\tchain pass_to { }"
    # Before connection tracking a reset cannot be sent on every kernel: what lives goes on to the chains that can.
    for way in ("from", "to"):
        yield f"\tchain {way}_new {{ jump pass_{way}; tcp flags & (fin | syn | rst | ack) != syn accept; drop; }}"
        yield f"\tchain {way}_live {{ jump pass_{way}; {_SYN} drop; meta l4proto tcp reject with tcp reset; drop; }}"
    hooks = (("pre_from", "prerouting", "from_new"), ("pre_to", "prerouting", "to_new"), ("fwd_from", "forward", "from_live"),
             ("fwd_to", "forward", "to_live"), ("inp_from", "input", "from_live"), ("out_to", "output", "to_live"))
    for name, hook, target in hooks:
        yield f"\tchain {name} {{ type filter hook {hook} priority -310; policy accept;"
        if hook == "output":
            yield "\t\ttcp flags & rst == rst accept"  # our own resets go out here
        side = "saddr" if target.startswith("from") else "daddr"
        for kind, (_, _, compared) in _KINDS.items():
            if kind != "mac" or side == "saddr":
                yield f"\t\t{compared} {side} @held{kind} goto {target}"
        yield "\t}"
    yield "}"


def _guard(table: str) -> Iterator[str]:
    """It makes the kernel track connections, so it is not there before it is needed."""
    yield f"table inet {table} {{"
    for kind, (type_, flags, _) in _KINDS.items():
        if kind != "mac":
            yield f"\tset guard{kind} {{ type {type_}; flags {', '.join(filter(None, (flags, 'timeout')))}; timeout {GUARD_SECONDS}s; }}"
    yield "\tchain guard {"
    yield f"\t\tct state established,related return\n\t\t{_SYN} return\n\t\tmeta l4proto tcp reject with tcp reset\n\t}}"
    yield "\tchain fwd_guard { type filter hook forward priority -300; policy accept;"
    for kind, (_, _, compared) in _KINDS.items():
        if kind != "mac":
            yield f"\t\t{compared} saddr @guard{kind} goto guard\n\t\t{compared} daddr @guard{kind} goto guard"
    yield "\t}\n}"


def _group(wish: Wish, table: str) -> Iterator[str]:
    """Sets for those who belong to it, and chains with what it lets through."""
    group, (to, come_from) = wish.group, wish.passes
    yield f"table inet {table} {{"
    for kind, (type_, flags, _) in _KINDS.items():
        yield f"\tset o{kind}_{group} {{ type {type_}; {f'flags {flags}; ' if flags else ''}}}"
    for way, rules in (("to", to), ("from", come_from)):
        yield f"\tchain {way}_{group} {{"
        yield from (f"\t\t{rule}" for rule in rules)
        yield "\t}"
    yield "}"
    for kind, (_, _, compared) in _KINDS.items():
        yield f"add rule inet {table} pass_from {compared} saddr @o{kind}_{group} jump from_{group}"
        if kind != "mac":
            yield f"add rule inet {table} pass_to {compared} daddr @o{kind}_{group} jump to_{group}"


def _sets_of(gate: Gate, each: Member) -> Iterator[str]:
    yield f"held{each.kind}"
    for note in gate.notes.get(each, ()):
        yield f"o{each.kind}_{note.group}"


def _gone(table: str, elements: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Takes elements away that may be there or not: what is not there cannot be deleted, so it is added first."""
    yield from _elements("add", table, elements)
    yield from _elements("delete", table, elements)


def _elements(verb: str, table: str, elements: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """One line a set: ``(set, element, what stands behind it)``."""
    named: dict[str, dict[str, str]] = defaultdict(dict)
    for name, text, more in elements:
        named[name][text] = more
    for name, found in named.items():
        yield f"{verb} element inet {table} {name} {{ {', '.join(text + more for text, more in found.items())} }}"


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _element(element: Any) -> tuple[Member, float | None, str]:
    more: dict[str, Any] = element.get("elem", {}) if isinstance(element, dict) else {}
    found = more.get("val", element)
    text = f"{found['prefix']['addr']}/{found['prefix']['len']}" if isinstance(found, dict) else found
    return member(text), more.get("expires"), more.get("comment", "")


def _note(group: str, comment: str) -> Note:
    if comment.startswith("part of "):
        return Note(group, part_of=comment.removeprefix("part of "))
    known = nft_rules.read_comment(comment)
    return Note(group, *known) if known else Note(group)


def _still(expressions: Any) -> Any:
    """A rule without the numbers of its counter."""
    return ["counter" if isinstance(each, dict) and "counter" in each else each for each in expressions]


__all__ = ["DOOR", "GATE", "Gate", "Member", "Note", "Wish", "arm", "load", "member", "read", "release"]
