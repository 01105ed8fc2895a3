"""The rules that cut a host off, as text for ``nft -f``: two tables in one transaction.

``inet`` stands before connection tracking and sees every interface, also one that is plugged in later. ``netdev`` stands on
every physical port and sees what ``inet`` cannot: children of an interface (macvlan), raw frames, DHCP. Both let through by
addresses alone, never by the state of a connection. Each jumps to its rules only while an element of the set ``armed`` is
there; elements with a time-out are the dead man's handle, which the kernel itself pulls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from opsctl.model.isolation import Facts, Mark, Opening, Order

TABLE = "opsctl_iso"
FAMILIES = ("inet", "netdev")
_ARMED = {"inet": ("nf_proto", ("ipv4", "ipv6")), "netdev": ("ether_type", ("ip", "ip6", "vlan", "8021ad"))}


def load(order: Order, facts: Facts, families: Sequence[str] = FAMILIES) -> str:
    """The transaction that cuts a host off, over whatever of ours is there.

    ``facts`` give the devices, and where we are connected from, which always stays.
    """
    parts = [f"add table {family} {TABLE}\ndelete table {family} {TABLE}" for family in FAMILIES if family in families]
    if "inet" in families:
        parts.append(_table("inet", order, facts, ("pre", "type filter hook prerouting priority -310"),
                            ("outp", "type filter hook output priority -310")))
    if "netdev" in families and facts.devices:
        devices = ", ".join(f'"{device}"' for device in facts.devices)
        parts.append(_table("netdev", order, facts, ("pre", f"type filter hook ingress devices = {{ {devices} }} priority -500"),
                            ("outp", f"type filter hook egress devices = {{ {devices} }} priority -500")))
    return "\n".join(parts) + "\n"


def arm(seconds: float | None, families: Sequence[str] = FAMILIES) -> str:
    """The transaction that makes what is loaded permanent (None), or lets it lift itself in so many seconds from now.

    It fails where an element has gone, which is where the isolation has lifted itself.
    """
    lines = []
    for family in families:
        named, timed = ", ".join(_ARMED[family][1]), _elements(family, seconds)
        lines += [f"delete element {family} {TABLE} armed {{ {named} }}", f"add element {family} {TABLE} armed {{ {timed} }}"]
    return "\n".join(lines) + "\n"


def release() -> str:
    """The transaction that takes away what is ours, whether it is there or not."""
    return "".join(f"add table {family} {TABLE}\ndelete table {family} {TABLE}\n" for family in FAMILIES)


def comment(order: Order) -> str:
    """What stands at the table: whose it is, and by which order. At most 128 bytes, the kernel's limit."""
    mark = order.mark
    said = json.dumps([order.digest, mark.run, mark.at, mark.by, mark.incident], separators=(",", ":"), ensure_ascii=True)
    return said.replace('"', "'") if len(said) <= 120 else json.dumps(
        [order.digest, mark.run[:40], mark.at, mark.by[:12], (mark.incident or "")[:20] or None],
        separators=(",", ":")).replace('"', "'")


def read_comment(text: str) -> tuple[str, Mark] | None:
    """The digest and mark of a table's comment; None for one that is not ours."""
    try:
        digest, run, at, by, incident = json.loads(text.replace("'", '"'))
    except (ValueError, TypeError):
        return None
    return digest, Mark(run=run, by=by, at=at, incident=incident)


def _elements(family: str, seconds: float | None) -> str:
    after = f" timeout {round(seconds * 1000)}ms" if seconds is not None else ""
    return ", ".join(f"{name}{after}" for name in _ARMED[family][1])


def _table(family: str, order: Order, facts: Facts, into: tuple[str, str], out: tuple[str, str]) -> str:
    kind, _ = _ARMED[family]
    test = "meta nfproto @armed" if family == "inet" else "meta protocol @armed"
    lines = [
        f"table {family} {TABLE} {{", f'\tcomment "{comment(order)}"',
        f"\tset armed {{ type {kind}; flags timeout; elements = {{ {_elements(family, order.seconds)} }}; }}",
        f"\tchain {into[0]} {{ {into[1]}; policy accept; {test} jump iso_in; }}",
        f"\tchain {out[0]} {{ {out[1]}; policy accept; {test} jump iso_out; }}",
        "\tchain iso_in {", *(f"\t\t{rule}" for rule in _incoming(family, order, facts)), "\t\tcounter drop", "\t}",
        "\tchain iso_out {", *(f"\t\t{rule}" for rule in _outgoing(family, order, facts)), "\t\tcounter drop", "\t}", "}",
    ]
    return "\n".join(lines)


def _incoming(family: str, order: Order, facts: Facts) -> Iterator[str]:
    if family == "inet":
        yield "iif lo accept"
    for version, who in _managers(order, facts):
        yield f"{version} saddr {who} tcp dport {order.port} accept"
        yield f"{version} saddr {who} {'icmp' if version == 'ip' else 'icmpv6'} type echo-request accept"
    yield "icmp type destination-unreachable icmp code frag-needed accept"
    yield "icmpv6 type packet-too-big accept"
    yield "ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept"
    if order.dhcp:
        yield "udp sport 67 udp dport 68 accept"
        yield "udp sport 547 udp dport 546 accept"
    for one in order.allow:
        yield from _opened(one, "saddr", incoming=True)


def _outgoing(family: str, order: Order, facts: Facts) -> Iterator[str]:
    if family == "inet":
        yield "oif lo accept"
    for version, who in _managers(order, facts):
        # Replies only: the host cannot dial the manager.
        yield f"{version} daddr {who} tcp sport {order.port} tcp flags & (syn | ack) != syn accept"
        yield f"{version} daddr {who} {'icmp' if version == 'ip' else 'icmpv6'} type echo-reply accept"
    yield "ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept"
    if order.dhcp:
        yield "udp sport 68 udp dport 67 accept"
        yield "udp sport 546 udp dport 547 accept"
    for one in order.allow:
        yield from _opened(one, "daddr", incoming=False)


def _opened(one: Opening, side: str, *, incoming: bool) -> Iterator[str]:
    family = "ip" if one.version == 4 else "ip6"
    if one.port is None:
        yield f"{family} {side} {one.network} accept"
        return
    asks = (one.direction == "in") == incoming  # whether this is the side on which a connection begins
    port = "dport" if asks else "sport"
    replies = " tcp flags & (syn | ack) != syn" if one.protocol == "tcp" and not asks else ""
    yield f"{family} {side} {one.network} {one.protocol} {port} {one.port}{replies} accept"


def _managers(order: Order, facts: Facts) -> Iterator[tuple[str, str]]:
    every = dict.fromkeys([*([facts.manager] if facts.manager else []), *order.managers])
    for version, mark in (("ip", "."), ("ip6", ":")):
        named = [address for address in every if (":" in address) == (mark == ":")]
        if named:
            yield version, f"{{ {', '.join(named)} }}"


def passes(order: Order, facts: Facts) -> tuple[list[str], list[str]]:
    """The rules of what is let through to a host, and from it, wherever its packets pass."""
    return list(_incoming("netdev", order, facts)), list(_outgoing("netdev", order, facts))
