"""The rules that cut a host off, as text for ``nft -f``: two tables in one transaction.

``inet`` stands before connection tracking and sees every interface, also one that is plugged in later. ``netdev`` stands on
every physical port and sees what ``inet`` cannot: children of an interface (macvlan), raw frames, DHCP. Both let through by
addresses alone, never by the state of a connection. Each jumps to its rules only while an element of the set ``armed`` is
there; elements with a time-out are the dead man's handle, which the kernel itself pulls. What is let in again for a time is the
same the other way round: rules that count only while the set ``opened`` has elements, whose time-outs close it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from opsctl.model.isolation import Facts, Mark, Opening, Order

TABLE = "opsctl_iso"
FAMILIES = ("inet", "netdev")
ARMED = {"inet": ("nf_proto", ("ipv4", "ipv6")), "netdev": ("ether_type", ("ip", "ip6", "vlan", "8021ad"))}
_HOOKS = {
    "inet": ("type filter hook prerouting priority -310", "type filter hook output priority -310"),
    "netdev": ("type filter hook ingress devices = {{ {} }} priority -500", "type filter hook egress devices = {{ {} }} priority -500"),
}


def load(order: Order, facts: Facts, families: Sequence[str] = FAMILIES, gone: Sequence[str] = (), still_open: Sequence[str] = ()) -> str:
    """The transaction that cuts a host off, over whatever of ours is there.

    ``facts`` give the devices, and where we are connected from, which always stays. ``gone``: families whose table is taken
    away without one that takes its place. ``still_open``: families that have to let in for a time what is there now; it fails
    where that has closed itself.
    """
    held = [f"delete element {family} {TABLE} opened {{ {', '.join(ARMED[family][1])} }}" for family in still_open]
    wanted = [family for family in FAMILIES if family in families and (family == "inet" or facts.devices)]
    parts = [f"add table {family} {TABLE}\ndelete table {family} {TABLE}" for family in FAMILIES if family in wanted or family in gone]
    parts += [_table(family, order, facts) for family in wanted]
    return "\n".join([*held, *parts]) + "\n"


def arm(seconds: float | None, families: Sequence[str] = FAMILIES) -> str:
    """The transaction that makes what is loaded permanent (None), or lets it lift itself in so many seconds from now.

    It fails where an element has gone, which is where the isolation has lifted itself.
    """
    lines = []
    for family in families:
        named, timed = ", ".join(ARMED[family][1]), _elements(family, seconds)
        lines += [f"delete element {family} {TABLE} armed {{ {named} }}", f"add element {family} {TABLE} armed {{ {timed} }}"]
    return "\n".join(lines) + "\n"


def comment(order: Order) -> str:
    """What stands at the table: whose it is, and by which order. At most 128 bytes, the kernel's limit."""
    mark = order.mark
    run, at, by, incident = (re.sub(r"[^\w.@:+-]", "_", text or "", flags=re.ASCII) for text in (mark.run, mark.at, mark.by, mark.incident))
    for most in (60, 40, 12, 0):
        said = json.dumps([order.digest, run[:48], at[:32], by[:most], incident[:most] or None], separators=(",", ":"))
        if len(said) <= 127:
            break
    return said.replace('"', "'")


def read_comment(text: str) -> tuple[str, Mark] | None:
    """The digest and mark of a table's comment; None for one that is not ours."""
    try:
        digest, run, at, by, incident = json.loads(text.replace("'", '"'))
    except (ValueError, TypeError, RecursionError):  # it stands on the host, where others can write
        return None
    if len(text) > 128 or not all(isinstance(word, str) for word in (digest, run, at, by, incident or "")):
        return None
    return digest, Mark(run=run, by=by, at=at, incident=incident)


def managers(order: Order, facts: Facts) -> tuple[Opening, ...]:
    """Who may log in: the one that is connected, and those that are named."""
    # Behind a forwarded port sshd's own is another one than the one that is called.
    ports = dict.fromkeys([port for port in (facts.port, order.port) if port is not None])
    return tuple(Opening(address, port) for address in dict.fromkeys([*([facts.manager] if facts.manager else []), *order.managers])
                 for port in ports)


def _elements(family: str, seconds: float | None) -> str:
    after = f" timeout {round(seconds * 1000)}ms" if seconds is not None else ""
    return ", ".join(f"{name}{after}" for name in ARMED[family][1])


def _table(family: str, order: Order, facts: Facts) -> str:
    kind, _ = ARMED[family]
    test = "meta nfproto @armed" if family == "inet" else "meta protocol @armed"
    devices = ", ".join(f'"{device}"' for device in facts.devices)
    into, out = (hook.format(devices) for hook in _HOOKS[family])
    last = f'\t\tcounter drop comment "{order.profile}"'
    opened = [f"\tset opened {{ type {kind}; flags timeout; elements = {{ {_elements(family, order.open_for)} }}; }}",
              "\tchain opened_in {", *(f"\t\t{_opened(one, incoming=True)}" for one in order.opened), "\t}",
              "\tchain opened_out {", *(f"\t\t{_opened(one, incoming=False)}" for one in order.opened), "\t}"] if order.opened else []
    lines = [
        f"table {family} {TABLE} {{", f'\tcomment "{comment(order)}"',
        f"\tset armed {{ type {kind}; flags timeout; elements = {{ {_elements(family, order.seconds)} }}; }}", *opened,
        f"\tchain pre {{ {into}; policy accept; {test} jump iso_in; }}",
        f"\tchain outp {{ {out}; policy accept; {test} jump iso_out; }}",
        "\tchain iso_in {", *_jump(test, order, "in"), *(f"\t\t{rule}" for rule in _incoming(family, order, facts)), last, "\t}",
        "\tchain iso_out {", *_jump(test, order, "out"), *(f"\t\t{rule}" for rule in _outgoing(family, order, facts)), last, "\t}", "}",
    ]
    return "\n".join(lines)


def _jump(test: str, order: Order, way: str) -> list[str]:
    return [f"\t\t{test.replace('@armed', '@opened')} jump opened_{way}"] if order.opened else []


def _incoming(family: str, order: Order, facts: Facts) -> Iterator[str]:
    if family == "inet":
        yield "iif lo accept"
    let_in = managers(order, facts)
    for one in (*let_in, *order.allow):
        yield _opened(one, incoming=True)
    for family_of, network, kind in _pinging(let_in):
        yield f"{family_of} saddr {network} {kind} type echo-request accept"
    yield "icmp type destination-unreachable icmp code frag-needed accept"
    yield "icmpv6 type packet-too-big accept"
    yield "ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept"
    # A switch that listens in on multicast forgets who does not answer, and neighbour discovery with it.
    yield "ip6 hoplimit 1 icmpv6 type mld-listener-query accept"
    if order.dhcp:
        yield "udp sport 67 udp dport 68 accept"
        yield "udp sport 547 udp dport 546 accept"
    if order.profile == "outbound-only":
        if facts.serves:
            yield f"tcp dport {{ {', '.join(map(str, facts.serves))} }} drop"
        yield "tcp flags & (syn | ack) == syn drop"
        yield "meta l4proto tcp accept"
        yield "icmp type { echo-reply, destination-unreachable, time-exceeded } accept"
        yield "icmpv6 type { echo-reply, destination-unreachable, time-exceeded } accept"


def _outgoing(family: str, order: Order, facts: Facts) -> Iterator[str]:
    if family == "inet":
        yield "oif lo accept"
    let_in = managers(order, facts)
    for one in (*let_in, *order.allow):
        yield _opened(one, incoming=False)
    for family_of, network, kind in _pinging(let_in):
        yield f"{family_of} daddr {network} {kind} type echo-reply accept"
    yield "ip6 hoplimit 255 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept"
    yield "ip6 hoplimit 1 icmpv6 type { mld-listener-report, mld2-listener-report } accept"
    if order.dhcp:
        yield "udp sport 68 udp dport 67 accept"
        yield "udp sport 546 udp dport 547 accept"
    if order.profile == "outbound-only":
        if facts.serves:
            yield f"tcp sport {{ {', '.join(map(str, facts.serves))} }} drop"
        yield "tcp flags & (syn | ack) == (syn | ack) drop"
        yield "meta l4proto tcp accept"
        yield "icmp type echo-request accept"
        yield "icmpv6 type echo-request accept"


def _opened(one: Opening, *, incoming: bool) -> str:
    place = f"{'ip' if one.version == 4 else 'ip6'} {'saddr' if incoming else 'daddr'} {one.network}"
    said = f'accept comment "{one}"'
    if one.port is None:
        return f"{place} {said}"
    asks = (one.direction == "in") == incoming  # whether this is the side on which a connection begins
    port = "dport" if asks else "sport"
    # Replies only: who is let in cannot be dialled from here.
    replies = " tcp flags & (syn | ack) != syn" if one.protocol == "tcp" and not asks else ""
    return f"{place} {one.protocol} {port} {one.port}{replies} {said}"


def _pinging(let_in: Sequence[Opening]) -> Iterator[tuple[str, str, str]]:
    for network, version in dict.fromkeys((one.network, one.version) for one in let_in):
        yield ("ip", network, "icmp") if version == 4 else ("ip6", network, "icmpv6")


def passes(order: Order, facts: Facts) -> tuple[list[str], list[str]]:
    """The rules of what is let through to a host, and from it, wherever its packets pass."""
    return list(_incoming("netdev", order, facts)), list(_outgoing("netdev", order, facts))
