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

import functools
import hashlib
import ipaddress
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsctl.model import nft_rules
from opsctl.model.isolation import Facts, Order
from opsctl.model.values import value

if TYPE_CHECKING:
    from opsctl.model.nft_gate import Gate

GATE = "opsctl_gate"
"""On the machine that forwards for the hosts."""
DOOR = "opsctl_door"
"""On the machine of the backup store, which shuts them out."""

GUARD_SECONDS = 3600
PASS = ("pass_from", "pass_to")
# Kind of member: type and flags of its sets, and what of a packet is compared with them.
KINDS: Mapping[str, tuple[str, str, str]] = {
    "4": ("ipv4_addr", "", "ip"), "6": ("ipv6_addr", "", "ip6"),
    "net4": ("ipv4_addr", "interval", "ip"), "net6": ("ipv6_addr", "interval", "ip6"),
    "mac": ("ether_addr", "", "ether"),
}
_SYN = "tcp flags & (fin | syn | rst | ack) == syn"
# Chain: its hook, and where it sends those who are cut off. ``from``: by who sends; ``to``: by who is to get it.
BASE = {
    "pre_from": ("prerouting", "from_new"), "pre_to": ("prerouting", "to_new"), "fwd_from": ("forward", "from_live"),
    "fwd_to": ("forward", "to_live"), "inp_from": ("input", "from_live"), "out_to": ("output", "to_live"),
}
ENDS = {
    # Before connection tracking a reset cannot be sent on every kernel: what lives goes on to the chains that can.
    "new": ("tcp flags & (fin | syn | rst | ack) != syn accept", "drop"),
    "live": (f"{_SYN} drop", "meta l4proto tcp reject with tcp reset", "drop"),
}


@dataclass(frozen=True)
class Member:
    """What a host is known by: an address, a prefix, or a hardware address. ``kind`` is one of ``KINDS``."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


@functools.lru_cache(maxsize=50_000)
def member(text: str) -> Member:
    """``10.0.0.7``, ``fd00::7``, ``10.0.7.0/24``, ``02:00:00:00:00:07``. ValueError for anything else."""
    if re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", text):
        return Member("mac", text)
    network = ipaddress.ip_network(text)
    whole = network.prefixlen == network.max_prefixlen
    return Member(("" if whole else "net") + str(network.version), str(network.network_address if whole else network))


@value
class Wish:
    """A host to be cut off: by which order, by which members (the first is the one that the others are parts of)."""

    order: Order
    facts: Facts
    members: tuple[Member, ...]

    @property
    def own(self) -> Member:
        return self.members[0]

    @functools.cached_property
    def passes(self) -> tuple[Sequence[str], Sequence[str]]:
        """The rules of what comes through to the host, and from it."""
        return nft_rules.passes(self.order, self.facts)

    @functools.cached_property
    def group(self) -> str:
        return hashlib.sha256(json.dumps(self.passes).encode()).hexdigest()[:12]


def load(gate: Gate, wishes: Sequence[Wish], table: str) -> str:
    """The transaction that cuts hosts off, over whatever of them is there."""
    lines = [] if gate.there and not gate.altered else list(_skeleton(gate, table))
    for group, wish in {wish.group: wish for wish in wishes}.items():
        if group not in gate.groups or _differs(gate, wish):
            lines += _group(wish, table, anew=group in gate.groups)
    gone: list[tuple[str, str, str]] = []
    come: list[tuple[str, str, str]] = []
    for wish in wishes:
        after = f" timeout {round(wish.order.seconds * 1000)}ms" if wish.order.seconds is not None else ""
        group, comment = wish.group, nft_rules.comment(wish.order)
        there = {*gate.of([wish.own]), *(each for each in wish.members if each in gate.notes or each in gate.held)}
        gone += [(name, each.text, "") for each in there for name in _sets_of(gate, each)]
        for each in wish.members:
            said = comment if each == wish.own else f"part of {wish.own}"
            come.append((f"held{each.kind}", each.text, after))
            come.append((f"o{each.kind}_{group}", each.text, f' comment "{said}"'))
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


def chains() -> list[str]:
    return [*BASE, *(f"{way}_{what}" for way in ("from", "to") for what in ENDS)]


def _skeleton(gate: Gate, table: str) -> Iterator[str]:
    """The shared rules; over those that somebody altered, with what they refer to."""
    # Not `add`: where somebody else makes it at this moment, one of both fails whole, and looks again.
    yield f"{'add' if gate.there else 'create'} table inet {table}"
    if gate.there:
        yield from (f"flush chain inet {table} {name}" for name in (*chains(), *PASS) if name in gate.rules)
    yield f"table inet {table} {{"
    for kind, (type_, flags, _) in KINDS.items():
        yield f"\tset held{kind} {{ type {type_}; flags {_timed(flags)}; }}"
    for way in ("from", "to"):
        yield f"\tchain pass_{way} {{ }}"
        for what, rules in ENDS.items():
            yield f"\tchain {way}_{what} {{ jump pass_{way}; {'; '.join(rules)}; }}"
    for name, (hook, target) in BASE.items():
        yield f"\tchain {name} {{ type filter hook {hook} priority -310; policy accept;"
        if hook == "output":
            yield "\t\ttcp flags & rst == rst accept"  # our own resets go out here
        yield from (f"\t\t{compared} @{held} goto {target}" for held, compared in tests(name))
        yield "\t}"
    yield "}"
    for group in sorted(gate.groups):
        yield from _passing(group, table)


def tests(chain: str) -> Iterator[tuple[str, str]]:
    """The sets that a chain asks, and what of a packet it compares. Who is to get a packet is not known by hardware address."""
    side = "saddr" if chain.endswith("from") else "daddr"
    return ((f"held{kind}", f"{compared} {side}") for kind, (_, _, compared) in KINDS.items() if kind != "mac" or side == "saddr")


def _timed(flags: str) -> str:
    return ", ".join(filter(None, (flags, "timeout")))


def _guard(table: str) -> Iterator[str]:
    """It makes the kernel track connections, so it is not there before it is needed."""
    yield f"table inet {table} {{"
    for kind, (type_, flags, _) in KINDS.items():
        if kind != "mac":
            yield f"\tset guard{kind} {{ type {type_}; flags {_timed(flags)}; timeout {GUARD_SECONDS}s; }}"
    yield "\tchain guard {"
    yield f"\t\tct state established,related return\n\t\t{_SYN} return\n\t\tmeta l4proto tcp reject with tcp reset\n\t}}"
    yield "\tchain fwd_guard { type filter hook forward priority -300; policy accept;"
    for kind, (_, _, compared) in KINDS.items():
        if kind != "mac":
            yield f"\t\t{compared} saddr @guard{kind} goto guard\n\t\t{compared} daddr @guard{kind} goto guard"
    yield "\t}\n}"


def _group(wish: Wish, table: str, *, anew: bool) -> Iterator[str]:
    """Sets for those who belong to it, and chains with what it lets through; ``anew``: over chains that are there."""
    group, (to, come_from) = wish.group, wish.passes
    if anew:
        yield from (f"flush chain inet {table} {way}_{group}" for way in ("to", "from"))
    yield f"table inet {table} {{"
    for kind, (type_, flags, _) in KINDS.items():
        yield f"\tset o{kind}_{group} {{ type {type_}; {f'flags {flags}; ' if flags else ''}}}"
    for way, rules in (("to", to), ("from", come_from)):
        yield f"\tchain {way}_{group} {{"
        yield from (f"\t\t{rule}" for rule in rules)
        yield "\t}"
    yield "}"
    if not anew:
        yield from _passing(group, table)


def _passing(group: str, table: str) -> Iterator[str]:
    """Where those who belong to it are sent to what it lets through."""
    for kind, (_, _, compared) in KINDS.items():
        yield f"add rule inet {table} pass_from {compared} saddr @o{kind}_{group} jump from_{group}"
        if kind != "mac":
            yield f"add rule inet {table} pass_to {compared} daddr @o{kind}_{group} jump to_{group}"


def _differs(gate: Gate, wish: Wish) -> bool:
    """Whether somebody took rules from what its order lets through, or put some there."""
    return any(len(gate.rules.get(f"{way}_{wish.group}", ())) != 1 + len(rules) for way, rules in zip(("to", "from"), wish.passes, strict=True))


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
