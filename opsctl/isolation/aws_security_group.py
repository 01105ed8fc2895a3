"""An instance at EC2 cut off by its security groups, and where it can be by the access list of its subnet.

What was decided, from AWS's documentation; shown against stand-ins only:

- The groups of **every** network interface are kept in tags of the interface before they are replaced
  (*ModifyNetworkInterfaceAttribute*; the call on the instance fails where there are several).
- Tracked connections run on after a change of groups, an established TCP connection until it has been idle for up to five days
  (*Amazon EC2 security group connection tracking*). What cuts them at once is a network access list, which is stateless and
  counts for a whole subnet (*Network ACLs*, Amazon VPC User Guide): it is put there only where the subnet holds nobody but this
  instance. Elsewhere they run on, and the stand is partial. The way over a group open to the whole world, which makes
  connections untracked, is not gone: it would open the host to everybody first. Stopping loses what is in memory; that is
  `stop`, a word of its own, for a person to say.
- Neither groups nor lists stop what AWS itself serves the instance: names through the Route 53 Resolver (VPC + 2), DHCP, time,
  and the metadata with the credentials of its role.
- AWS has nothing that lifts itself. The release goes through AWS, never through the host, so none is stranded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from opsctl.errors import Interrupted, NotConverged, OpsError, ProgramFailed, Refused, SafetyRefusal, concerning
from opsctl.isolation import aws_acl, aws_group
from opsctl.isolation.aws_calls import Ec2
from opsctl.isolation.interface import Driver
from opsctl.model import cloud_rules
from opsctl.model.isolation import Cut, Facts, Order, Stand
from opsctl.shells.own_addresses import towards

_RUN_ON = ("connections of {name} that were open may run on until they are idle, for up to five days: AWS does not cut what it tracks "
           "there; `opsctl stop` does")
_PODS = "{name} is a trunk: the interfaces of pods behind it have groups of their own, which are not touched"
_RESOLVER = "names are still looked up through AWS's own resolver, which no group stops: the DNS Firewall of Route 53 does"

_LOOKS = 10  # a second apart


class AwsSecurityGroup(Driver):
    """``address`` is the host's, by which is told from which of ours we come; behind NAT ``isolation: managers:`` says it."""

    name = "aws_security_group"
    enforced = "cloud"
    lifts_itself = False

    def __init__(self, host: str, *, instance: str, address: str, ec2: Ec2) -> None:
        self.host = host
        self.instance = instance
        self.address = address
        self.ec2 = ec2
        self._notes: list[str] = []

    def observe(self) -> Stand:
        with concerning(self.host):
            return self._observe()

    def _observe(self) -> Stand:
        interfaces = self._interfaces()
        facts = Facts(addresses=tuple(dict.fromkeys(_addresses(interfaces))), manager=towards(self.address),
                      devices=tuple(one["NetworkInterfaceId"] for one in interfaces))
        raw = json.dumps(interfaces, default=str, sort_keys=True)
        if not any(_touched(one) for one in interfaces):
            return Stand("open", facts=facts, raw=raw)
        groups = aws_group.existing(self.ec2, {each for one in interfaces for each in _ours(one)})
        wrong = [why for one in interfaces if (why := _open_by(one, groups)) is not None]
        cut = {one["NetworkInterfaceId"] for one in interfaces if self._cut_by_list(one)}
        pods = [_PODS.format(name=one["NetworkInterfaceId"]) for one in interfaces if one.get("InterfaceType") == "trunk"]
        partial = [*wrong, *pods, *(_RUN_ON.format(name=one["NetworkInterfaceId"]) for one in interfaces
                             if one["NetworkInterfaceId"] not in cut), _RESOLVER]
        orders = {_tags(one).get(cloud_rules.ORDER) for one in interfaces}
        said = cloud_rules.read_order_tag(orders.pop() or "") if len(orders) == 1 else None
        seal = [[one["NetworkInterfaceId"], _groups(one), one["NetworkInterfaceId"] in cut] for one in interfaces]
        rules = sorted((ident, [str(rule) for rule in cloud_rules.of_group(group)]) for ident, group in groups.items())
        return Stand(
            "lifted" if wrong else "isolated", partial=tuple(partial), digest=said[0] if said else None, mark=said[1] if said else None,
            seal=hashlib.sha256(json.dumps([seal, rules]).encode()).hexdigest(), persisted=True, facts=facts, raw=raw)

    def load(self, order: Order, stand: Stand) -> None:
        """What had been done when a call fails is undone. An access list that cannot be put before a subnet fails nothing."""
        if order.seconds is not None:
            raise SafetyRefusal(f"{self.host} is cut off at AWS, which lifts nothing by itself", where=self.host,
                                hint="--hold cuts it off until it is released; the release goes through AWS, not through the host")
        with concerning(self.host):
            self._notes = []
            interfaces = self._interfaces()
            self._check(interfaces)
            rules = cloud_rules.rules(order, stand.facts.manager)
            networks = dict.fromkeys(one["VpcId"] for one in interfaces)
            groups = {network: aws_group.isolating(self.ec2, network, rules) for network in networks}
            done: list[Mapping[str, Any]] = []
            try:
                for one in interfaces:
                    done.append(one)
                    self._save(one, order, groups[one["VpcId"]])
                self._put_lists(interfaces, cloud_rules.with_replies(rules))
                for one in interfaces:
                    self._put_group(one, groups[one["VpcId"]])
            except BaseException as error:
                undone = [self._undo(one) for one in reversed(done)]
                if isinstance(error, OpsError) and not all(undone):
                    error.hint = f"what had been changed before that could not be undone: opsctl isolate status {self.host}"
                raise
            self._settle(groups)
            for one in interfaces:
                for group in _ours(one) - set(groups.values()):
                    aws_group.drop_unused(self.ec2, group)

    def confirm(self) -> None:
        stand = self.observe()
        if stand.standing != "isolated":
            raise NotConverged(f"{self.host} is not cut off: {stand.partial[0] if stand.partial else 'its groups are its own'}",
                               where=self.host)

    def extend(self, seconds: float) -> None:
        raise SafetyRefusal(f"the isolation of {self.host} at AWS does not lift itself, so it has no end to move", where=self.host)

    def snapshot(self) -> bytes:
        return b""

    def cut(self, order: Order) -> Cut:
        """It was done with ``load``; nobody can count connections from outside."""
        return Cut(None, None, tuple(self._notes))

    def release(self) -> None:
        """Raises NotConverged, after everything else, where groups are gone that an interface had."""
        wrong: list[str] = []
        ours: set[str] = set()
        with concerning(self.host):
            for one in self._interfaces(also_detached=True):
                ours |= _ours(one)
                wrong += self._release(one)
            for group in sorted(ours):
                aws_group.drop_unused(self.ec2, group)
        if wrong:
            raise NotConverged(f"{self.host}: {'; '.join(wrong)}", where=self.host,
                               hint="give the interface the groups that it is to have in AWS's console, and release it again")

    def persist(self, order: Order) -> None:
        """It is not on the host, so a reboot lifts nothing."""

    def close(self) -> None:
        """There is nothing to let go of: boto3's connections are shared by all hosts of a region."""

    def check(self) -> None:
        """Whether all is allowed that cutting off and releasing need. Raises as the others do; nothing is changed."""
        with concerning(self.host):
            interfaces = self._interfaces()
            self._check(interfaces)
            for subnet in dict.fromkeys(one["SubnetId"] for one in interfaces):
                aws_acl.check(self.ec2, subnet)

    def _interfaces(self, *, also_detached: bool = False) -> list[dict[str, Any]]:
        """The network interfaces of the instance, by id; on request those that were ours and are not plugged in any more.

        Raises ProgramFailed where there is no such instance, or it has none.
        """
        wanted = [{"Name": "attachment.instance-id", "Values": [self.instance]}]
        if also_detached:
            known = {one["NetworkInterfaceId"]: one for filters in (wanted, [{"Name": f"tag:{cloud_rules.INSTANCE}",
                                                                              "Values": [self.instance]}])
                     for one in self.ec2.listed("describe_network_interfaces", "NetworkInterfaces", Filters=filters)}
        else:
            known = {one["NetworkInterfaceId"]: one
                     for one in self.ec2.listed("describe_network_interfaces", "NetworkInterfaces", Filters=wanted)}
        if not known:
            found = self.ec2.ask("describe_instances", InstanceIds=[self.instance]).get("Reservations", ())
            state = next((each["State"]["Name"] for one in found for each in one["Instances"]), "not there")
            raise ProgramFailed(f"{self.host}: instance {self.instance} in {self.ec2.region} is {state} and has no network interface",
                                where=self.host, hint="are instance: and region: right?")
        return [known[ident] for ident in sorted(known)]

    def _check(self, interfaces: Sequence[Mapping[str, Any]]) -> None:
        """Whether everything is allowed that cutting off and releasing need, before anything of the host is changed."""
        names = [one["NetworkInterfaceId"] for one in interfaces]
        self.ec2.may("create_tags", Resources=names, Tags=[{"Key": cloud_rules.INSTANCE, "Value": self.instance}])
        self.ec2.may("delete_tags", Resources=names, Tags=[{"Key": cloud_rules.INSTANCE}])
        for one in interfaces:
            self.ec2.may("modify_network_interface_attribute", NetworkInterfaceId=one["NetworkInterfaceId"], Groups=_groups(one))
        self.ec2.may("create_security_group", GroupName=f"{cloud_rules.NAME}probe", Description="probe", VpcId=interfaces[0]["VpcId"])

    def _save(self, one: Mapping[str, Any], order: Order, group: str) -> None:
        """The groups of an interface stay as they were first kept: what it has meanwhile may be ours, or an attacker's."""
        known = _tags(one)
        tags = {cloud_rules.INSTANCE: self.instance, cloud_rules.ORDER: cloud_rules.order_tag(order), cloud_rules.OURS: group}
        if cloud_rules.GROUPS not in known:
            tags |= cloud_rules.saved([each for each in _groups(one) if not _is_ours(one, each)])
        self._tag(one, tags)

    def _put_group(self, one: Mapping[str, Any], group: str) -> None:
        if _groups(one) != [group]:
            self.ec2.ask("modify_network_interface_attribute", NetworkInterfaceId=one["NetworkInterfaceId"], Groups=[group])

    def _settle(self, groups: Mapping[str, str]) -> None:
        """Wait until AWS shows what it was told, which may take it some seconds; the next look decides."""
        for _ in range(_LOOKS):
            if all(_groups(one) == [groups.get(one["VpcId"])] for one in self._interfaces()):
                return
            time.sleep(1)

    def _tag(self, one: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        self.ec2.ask("create_tags", Resources=[one["NetworkInterfaceId"]],
                     Tags=[{"Key": key, "Value": text} for key, text in tags.items()])

    def _untag(self, one: Mapping[str, Any], keys: Iterable[str]) -> None:
        if dropped := [{"Key": key} for key in keys]:
            self.ec2.ask("delete_tags", Resources=[one["NetworkInterfaceId"]], Tags=dropped)

    def _put_lists(self, interfaces: Sequence[Mapping[str, Any]], rules: Sequence[cloud_rules.Rule]) -> None:
        """The access list of each subnet that holds nobody else; why not elsewhere is noted."""
        mine = [one["NetworkInterfaceId"] for one in interfaces]
        for subnet in dict.fromkeys(one["SubnetId"] for one in interfaces):
            here = [one for one in interfaces if one["SubnetId"] == subnet]
            try:
                if others := aws_acl.others_in(self.ec2, subnet, mine):
                    self._notes.append(f"connections that were open were not cut in {subnet}: {len(others)} other network interfaces "
                                       f"are in it, such as {others[0]}")
                elif any(sum(rule.direction == way for rule in rules) > cloud_rules.MOST_ACL_RULES for way in ("in", "out")):
                    self._notes.append(f"connections that were open were not cut in {subnet}: an access list takes at most "
                                       f"{cloud_rules.MOST_ACL_RULES} rules, and more is to stay open")
                else:
                    self._put_list(subnet, here, rules)
            except Interrupted:
                raise
            except OpsError as error:
                self._notes.append(f"connections that were open were not cut in {subnet}: {error.message}")

    def _put_list(self, subnet: str, here: Sequence[Mapping[str, Any]], rules: Sequence[cloud_rules.Rule]) -> None:
        aws_acl.check(self.ec2, subnet)
        found = aws_acl.of_subnet(self.ec2, subnet)
        known = [tags[cloud_rules.ACL] for one in here if cloud_rules.ACL in (tags := _tags(one))]
        before = known[0] if known else str(found[0]["NetworkAclId"]) if found else ""
        for one in here:
            if cloud_rules.ACL not in _tags(one):
                self._tag(one, {cloud_rules.ACL: before})
        aws_acl.put(self.ec2, subnet, rules)

    def _undo(self, one: Mapping[str, Any]) -> bool:
        """Give an interface back what it had when ``load`` began; whether that went well, since something failed already."""
        name, had = one["NetworkInterfaceId"], _tags(one)
        with contextlib.suppress(OpsError):
            self.ec2.ask("modify_network_interface_attribute", NetworkInterfaceId=name, Groups=_groups(one))
            now = next(self.ec2.listed("describe_network_interfaces", "NetworkInterfaces", NetworkInterfaceIds=[name]))
            if cloud_rules.ACL in _tags(now) and cloud_rules.ACL not in had:
                aws_acl.put_back(self.ec2, one["SubnetId"], _tags(now)[cloud_rules.ACL])
            self._untag(one, [key for key in cloud_rules.ours(_tags(now)) if key not in had])
            if before := {key: had[key] for key in cloud_rules.ours(had)}:
                self._tag(one, before)
            return True
        return False

    def _release(self, one: Mapping[str, Any]) -> list[str]:
        """Restore one interface; what could not be, one sentence each. What others have changed meanwhile stays."""
        name, tags = one["NetworkInterfaceId"], _tags(one)
        if not _touched(one):
            return []
        wrong = []
        if any(_is_ours(one, each) for each in _groups(one)):
            saved = cloud_rules.saved_groups(tags)
            if not saved:
                return [f"nobody knows which groups {name} had: its tags are gone, so it stays cut off"]
            there = aws_group.existing(self.ec2, saved)
            left, gone = [each for each in saved if each in there], [each for each in saved if each not in there]
            if not left:
                return [f"{', '.join(gone)}, all that {name} had, were deleted meanwhile, so it stays cut off"]
            self.ec2.ask("modify_network_interface_attribute", NetworkInterfaceId=name, Groups=left)
            if gone:
                wrong.append(f"{name} is open again without {', '.join(gone)}, deleted meanwhile")
        if cloud_rules.ACL in tags and (why := aws_acl.put_back(self.ec2, one["SubnetId"], tags[cloud_rules.ACL])):
            wrong.append(why)
        self._untag(one, cloud_rules.ours(tags))
        return wrong

    def _cut_by_list(self, one: Mapping[str, Any]) -> bool:
        """Whether an access list of ours stands before an interface; where that may not be asked it is not believed."""
        if cloud_rules.ACL not in _tags(one):
            return False
        try:
            found = aws_acl.of_subnet(self.ec2, one["SubnetId"])
        except Refused:
            return False
        return found is not None and aws_acl.is_ours(found[0])


def _tags(one: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in one.get("TagSet", ())}


def _groups(one: Mapping[str, Any]) -> list[str]:
    return [str(group["GroupId"]) for group in one.get("Groups", ())]


def _is_ours(one: Mapping[str, Any], group: str) -> bool:
    return any(each["GroupId"] == group and each.get("GroupName", "").startswith(cloud_rules.NAME) for each in one.get("Groups", ()))


def _ours(one: Mapping[str, Any]) -> set[str]:
    """The groups of ours that an interface has, or had before somebody changed it."""
    tagged = _tags(one).get(cloud_rules.OURS)
    return {*(each for each in _groups(one) if _is_ours(one, each)), *([tagged] if tagged else [])}


def _touched(one: Mapping[str, Any]) -> bool:
    return bool(cloud_rules.ours(_tags(one))) or any(_is_ours(one, each) for each in _groups(one))


def _open_by(one: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Why an interface is not cut off; None where it is."""
    name, others = one["NetworkInterfaceId"], [each for each in _groups(one) if not _is_ours(one, each)]
    if others:
        return f"{name} is open: it has {', '.join(others)}"
    for ident in _groups(one):
        group = groups.get(ident)
        if group is None or cloud_rules.name(cloud_rules.of_group(group)) != group["GroupName"]:
            return f"{name} is open: the rules of its security group {ident} were changed"
    return None


def _addresses(interfaces: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for one in interfaces:
        for each in one.get("PrivateIpAddresses", ()):
            yield each["PrivateIpAddress"]
            if public := each.get("Association", {}).get("PublicIp"):
                yield public
        yield from (each["Ipv6Address"] for each in one.get("Ipv6Addresses", ()))
