"""What a cloud's groups and access lists let through for an order, and what is kept of how it was before."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from opsctl.model.isolation import Mark, Order
from opsctl.model.values import value

NAME = "opsctl-isolation-"
"""How the names of our groups and access lists begin; what follows is the digest of their rules."""

GROUPS, ACL, ORDER, INSTANCE, OURS = "opsctl:groups", "opsctl:acl", "opsctl:isolated", "opsctl:instance", "opsctl:group"
"""Tags of a network interface: its groups before, the access list of its subnet before, the order, whose it was, its group now."""

MOST_ACL_RULES = 20
"""Rules of an access list and direction that AWS allows where nobody asked for more."""

_LONGEST = 256  # characters of a tag's value
_HIGH = (1024, 65535)


@value
class Rule:
    """One thing that passes. ``protocol`` is ``-1`` for all; of ICMP ``first`` is the type and ``last`` the code."""

    direction: Literal["in", "out"]
    protocol: str
    first: int | None
    last: int | None
    network: str

    @property
    def version(self) -> int:
        return 6 if ":" in self.network else 4

    def permission(self) -> dict[str, Any]:
        """As EC2 takes it for a security group."""
        ranges = {"IpRanges": [{"CidrIp": self.network}]} if self.version == 4 else {"Ipv6Ranges": [{"CidrIpv6": self.network}]}
        ports = {"FromPort": self.first, "ToPort": self.last} if self.first is not None else {}
        return {"IpProtocol": self.protocol, **ports, **ranges}


def rules(order: Order, manager: str | None) -> tuple[Rule, ...]:
    """What a security group has to let through, and nothing else; replies pass by themselves there.

    ``manager`` is the address that we come from, where that is known. Path MTU needs its messages from any router.
    """
    found = [Rule("in", "icmp", 3, 4, "0.0.0.0/0"), Rule("in", "icmpv6", 2, 0, "::/0")]
    for address in dict.fromkeys([*([manager] if manager else []), *order.managers]):
        found.append(Rule("in", "tcp", order.port, order.port, str(ipaddress.ip_network(address))))
    for one in order.allow:
        network = str(ipaddress.ip_network(one.network))
        if one.port is None:
            found += [Rule("in", "-1", None, None, network), Rule("out", "-1", None, None, network)]
        else:
            found.append(Rule(one.direction, one.protocol, one.port, one.port, network))
    return tuple(sorted(set(found), key=str))


def with_replies(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The same for an access list, which knows no connections: replies go to high ports."""
    found = list(rules)
    for one in tuple(found):
        if one.protocol in ("tcp", "udp"):
            found.append(Rule("out" if one.direction == "in" else "in", one.protocol, *_HIGH, one.network))
    return tuple(sorted(set(found), key=str))


def name(rules: Iterable[Rule]) -> str:
    """What a group or access list with these rules is called, so that one that was changed shows."""
    said = "\n".join(sorted(map(str, rules)))
    return f"{NAME}{hashlib.sha256(said.encode()).hexdigest()[:16]}"


def of_group(group: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules that a security group has, as EC2 describes it."""
    found = [*_permitted("in", group.get("IpPermissions", ())), *_permitted("out", group.get("IpPermissionsEgress", ()))]
    return tuple(sorted(set(found), key=str))


def _permitted(direction: Literal["in", "out"], permissions: Iterable[Mapping[str, Any]]) -> Iterator[Rule]:
    for one in permissions:
        sources = [each["CidrIp"] for each in one.get("IpRanges", ())]
        sources += [each["CidrIpv6"] for each in one.get("Ipv6Ranges", ())]
        sources += [each["PrefixListId"] for each in one.get("PrefixListIds", ())]
        sources += [each["GroupId"] for each in one.get("UserIdGroupPairs", ())]
        for source in sources:
            protocol = one["IpProtocol"]
            ports = (None, None) if protocol == "-1" else (one.get("FromPort"), one.get("ToPort"))
            yield Rule(direction, protocol, *ports, source)


_NUMBERS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}


def of_acl(acl: Mapping[str, Any]) -> tuple[Rule, ...]:
    """What an access list lets through, as EC2 describes it."""
    found = []
    for one in acl.get("Entries", ()):
        if one["RuleAction"] == "allow":
            ports = one.get("PortRange") or {}
            icmp = one.get("IcmpTypeCode") or {}
            protocol = _NUMBERS.get(one["Protocol"], one["Protocol"])
            first, last = (icmp.get("Type"), icmp.get("Code")) if protocol.startswith("icmp") else (ports.get("From"), ports.get("To"))
            found.append(Rule("out" if one["Egress"] else "in", protocol, first, last,
                              one.get("CidrBlock") or one.get("Ipv6CidrBlock") or ""))
    return tuple(sorted(set(found), key=str))


def entries(rules: Iterable[Rule]) -> Iterator[dict[str, Any]]:
    """The entries of an access list, as EC2 takes them."""
    numbers = {protocol: number for number, protocol in _NUMBERS.items()}
    for place, one in enumerate(rules):
        more: dict[str, Any] = {"CidrBlock": one.network} if one.version == 4 else {"Ipv6CidrBlock": one.network}
        if one.protocol.startswith("icmp"):
            more["IcmpTypeCode"] = {"Type": one.first, "Code": one.last}
        elif one.first is not None:
            more["PortRange"] = {"From": one.first, "To": one.last}
        yield {"RuleNumber": 100 + place, "Protocol": numbers.get(one.protocol, one.protocol), "RuleAction": "allow",
               "Egress": one.direction == "out", **more}


def saved(groups: Sequence[str]) -> dict[str, str]:
    """The tags that hold the ids of groups, in as many as they need."""
    values, key = [""], GROUPS
    for one in groups:
        longer = f"{values[-1]} {one}".strip()
        if len(longer) > _LONGEST:
            values.append(one)
        else:
            values[-1] = longer
    return {key if not number else f"{key}:{number + 1}": text for number, text in enumerate(values)}


def saved_groups(tags: Mapping[str, str]) -> tuple[str, ...] | None:
    """The ids that ``saved`` put away, in their order; None where there are none of its tags."""
    if GROUPS not in tags:
        return None
    more = sorted((key for key in tags if key.startswith(f"{GROUPS}:")), key=lambda key: int(key.rpartition(":")[2]))
    return tuple(group for key in (GROUPS, *more) for group in tags[key].split())


def ours(tags: Iterable[str]) -> list[str]:
    """The keys of ours among those of a network interface."""
    return sorted(key for key in tags if key in (GROUPS, ACL, ORDER, INSTANCE, OURS) or key.startswith(f"{GROUPS}:"))


def order_tag(order: Order) -> str:
    """An order as the value of a tag."""
    mark = order.mark
    words = (order.digest, mark.run, mark.at, mark.by, mark.incident or "-")
    return " ".join("".join(each if each.isalnum() or each in "+-=._:/@" else "_" for each in word) for word in words)[:_LONGEST]


def read_order_tag(text: str) -> tuple[str, Mark] | None:
    """The digest and mark of such a value; None for one that is none."""
    words = text.split(" ")
    if len(words) != 5:
        return None
    digest, run, at, by, incident = words
    return digest, Mark(run=run, by=by, at=at, incident=None if incident == "-" else incident)
