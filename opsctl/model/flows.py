"""Connections of hosts, as a machine that they pass through or end at sees them, and whether rules let them through."""

from __future__ import annotations

import functools
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from opsctl.model.nft_gate import Gate
from opsctl.model.nft_gateway import Member, member
from opsctl.model.values import value

_OVER = ("CLOSE", "TIME_WAIT", "NONE", "SYN_SENT", "SYN_RECV")


@value
class Flow:
    """One connection of ``host`` with ``peer``. ``begun``: by the host itself; None where nobody can tell.

    ``end`` is how it is ended: the words of ``conntrack -D``, or of a filter of ``ss -K`` where ``local``. ``turned``: it
    came in under another address (DNAT).
    """

    host: str
    peer: str
    protocol: str
    host_port: int
    peer_port: int
    begun: bool | None
    end: tuple[str, ...]
    local: bool = False
    turned: bool = False
    line: str = ""


def flows(lines: Iterable[str], hosts: Iterable[Member]) -> Iterator[Flow]:
    """The connections that have not ended, from ``conntrack -L`` and from lines ``socket LOCAL PEER``."""
    mine = Among(hosts)
    for line in lines:
        yield from _socket(line, mine) if line.startswith("socket ") else _tracked(line, mine)


def others(found: Iterable[Flow], gate: Gate) -> list[Flow]:
    """Those that what is loaded does not let through."""
    return [flow for flow in found if not _passes(flow, gate)]


class Among:
    """Whether an address is one of these, alone or in a prefix."""

    def __init__(self, members: Iterable[Member]) -> None:
        every = tuple(members)
        self.members = frozenset(every)
        self.networks = [ipaddress.ip_network(each.text) for each in every if each.kind.startswith("net")]

    def __contains__(self, text: str) -> bool:
        return member(text) in self.members or (bool(self.networks) and any(ipaddress.ip_address(text) in each for each in self.networks))


def _tracked(line: str, mine: Among) -> Iterator[Flow]:
    words = line.split()
    if words[:1] == ["udp"] and "[UNREPLIED]" in line:  # nobody answers: no connection
        return
    if len(words) < 4 or words[0] not in ("tcp", "udp") or any(word in _OVER for word in words[:5]):
        return
    known = re.findall(r"\b(src|dst|sport|dport)=(\S+)", line)
    if len(known) != 8:
        return
    asked, answer = dict(known[:4]), dict(known[4:])
    end = ("-p", words[0], "-s", asked["src"], "-d", asked["dst"], "--sport", asked["sport"], "--dport", asked["dport"])
    turned = asked["dst"] != answer["src"]
    if asked["src"] in mine:
        yield Flow(asked["src"], asked["dst"], words[0], int(asked["sport"]), int(asked["dport"]), True, end, turned=turned, line=line)
    if answer["src"] in mine:
        yield Flow(answer["src"], asked["src"], words[0], int(answer["sport"]), int(asked["sport"]), False, end, turned=turned,
                   line=line)


def _socket(line: str, mine: Among) -> Iterator[Flow]:
    _, local, peer = line.split()
    (host, host_port), (at, at_port) = _place(peer), _place(local)
    if host in mine:
        yield Flow(host, at, "tcp", host_port, at_port, None, (_filter("src", at, at_port), _filter("dst", host, host_port)), local=True,
                   line=line)


def _place(text: str) -> tuple[str, int]:
    """An address and a port as ss prints them."""
    address, _, port = text.rpartition(":")
    return address.strip("[]").partition("%")[0].removeprefix("::ffff:"), int(port)


def _filter(side: str, address: str, port: int) -> str:
    return f"{side} [{address}]:{port}" if ":" in address else f"{side} {address}:{port}"


def _passes(flow: Flow, gate: Gate) -> bool:
    """Whether the packet that begins it would come through by the rules of the host's order."""
    notes = gate.notes.get(member(flow.host)) or [
        note for each, found in gate.notes.items() if each.kind.startswith("net") and flow.host in Among([each]) for note in found]
    ways = [way for way, begun in (("from", True), ("to", False)) if flow.begun in (begun, None)]
    return any(_accepted(gate.rules.get(f"{way}_{note.group}", ())[1:], flow, way) for note in notes for way in ways)


def _accepted(rules: Sequence[str], flow: Flow, way: str) -> bool:
    """By the first rule that it meets."""
    return next((expressions[-1] == {"accept": None} for expressions in map(_parsed, rules)
                 if all(_holds(one["match"], flow, way) for one in expressions if "match" in one)), False)


@functools.lru_cache(maxsize=1000)
def _parsed(rule: str) -> Any:
    return json.loads(rule)


def _holds(test: Mapping[str, Any], flow: Flow, way: str) -> bool:
    """Whether a comparison holds for the first packet, which has only SYN set. One that it cannot tell of does not."""
    left, right = test["left"], test["right"]
    payload = left.get("payload", {})
    if left == {"meta": {"key": "l4proto"}}:
        found = flow.protocol in (right.get("set", []) if isinstance(right, dict) else [right])
    elif payload.get("protocol") in ("ip", "ip6") and payload["field"] in ("saddr", "daddr"):
        who = flow.peer if payload["field"] == ("saddr" if way == "to" else "daddr") else flow.host
        found = any(who in Among([each]) for each in _named(right))
    elif payload.get("protocol") == flow.protocol and payload["field"] in ("dport", "sport"):
        port = flow.host_port if payload["field"] == ("dport" if way == "to" else "sport") else flow.peer_port
        found = port in (right["set"] if isinstance(right, dict) else [right])
    elif flow.protocol == "tcp" and left.get("&", [None])[0] == {"payload": {"protocol": "tcp", "field": "flags"}}:
        found = right in ("syn", ["syn"])
    else:
        return False
    return found == (test["op"] != "!=")


def _named(right: Any) -> Sequence[Member]:
    """The addresses of a comparison, in nft's three ways to write them."""
    if isinstance(right, dict) and "set" in right:
        return [found for each in right["set"] for found in _named(each)]
    if isinstance(right, dict) and "prefix" in right:
        return [member(f"{right['prefix']['addr']}/{right['prefix']['len']}")]
    return [member(right)]


__all__ = ["Among", "Flow", "flows", "others"]
