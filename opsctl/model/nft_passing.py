"""Which rule of those on a host lets a call through, read from the text of ``nft list``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

_TERM = re.compile(r"""
    (?P<version>ip6?)\ (?P<side>[sd]addr)\ (?P<not_address>!=\ )?(?P<addresses>\{[^}]*\}|\S+)
    | (?P<family>ip6?)\ (?:hoplimit|ttl)\ (?:!=\ )?\S+
    | tcp\ (?P<port_side>[sd]port)\ (?P<not_port>!=\ )?(?P<ports>\{[^}]*\}|\S+)
    | (?P<no_call>tcp\ flags\ !=\ syn\ /\ syn,ack|ct\ state\ \S+|[io]if(name)?\ "?lo"?|(icmp|icmpv6|udp|igmp)\ \S+)
    | (?P<nothing>counter(\ packets\ \d+\ bytes\ \d+)?|meta\ l4proto\ tcp)
    | (?P<verdict>accept)$
""", re.VERBOSE)


def letting(raw: str, *, incoming: bool, version: int, other: str, port: int) -> str | None:
    """The first rule of ours that accepts a new TCP connection to ``port``; None where none does.

    ``other`` is the address on the far side, empty where nobody knows it.
    """
    return next((rule for rule in _rules(raw, "iso_in" if incoming else "iso_out")
                 if _accepts(rule, "saddr" if incoming else "daddr", version, other, port)), None)


def _rules(raw: str, chain: str) -> Iterator[str]:
    for block in re.findall(rf"^\tchain {chain} {{\n(.*?)^\t}}", raw, re.MULTILINE | re.DOTALL):
        yield from (re.sub(r' comment ".*"$', "", line.strip()) for line in block.splitlines())


def _accepts(rule: str, side: str, version: int, other: str, port: int) -> bool:
    rest = rule
    while rest:
        term = _TERM.match(rest)
        if term is None:  # something that this does not know: it may be the one
            return rest.endswith("accept")
        rest = rest[term.end():].strip()
        if term["no_call"] and not (term["no_call"].startswith("ct") and "new" in term["no_call"]):
            return False
        if term["family"] and (term["family"] == "ip6") != (version == 6):
            return False
        if term["version"] and not (
            (term["version"] == "ip6") == (version == 6) and term["side"] == side
            and (not other or _among(term["addresses"], other) != bool(term["not_address"]))
        ):
            return False
        if term["ports"] and not (term["port_side"] == "dport" and _holds(term["ports"], port) != bool(term["not_port"])):
            return False
        if term["verdict"]:
            return True
    return False


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.strip("{} ").split(",")]


def _among(text: str, address: str) -> bool:
    try:
        return any(_contains(word, ipaddress.ip_address(address)) for word in _words(text))
    except ValueError:  # no address, so it is not known
        return True


def _contains(word: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        first, _, last = word.partition("-")
        if last:
            low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
            return low.version == address.version and int(low) <= int(address) <= int(high)
        return address in ipaddress.ip_network(word)
    except ValueError:
        return True  # a named set, whose elements are not in the text


def _holds(text: str, port: int) -> bool:
    for word in _words(text):
        first, _, last = word.partition("-")
        if not (first.isdigit() and (last or first).isdigit()) or int(first) <= port <= int(last or first):
            return True
    return False
