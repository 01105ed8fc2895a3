"""Security groups that let nothing through but what an order says, one for all hosts of a network that share it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from opsctl.errors import NotConverged, OpsError, ProgramFailed
from opsctl.isolation.aws_calls import Ec2
from opsctl.model import cloud_rules
from opsctl.model.cloud_rules import Rule

_DONE = ("InvalidPermission.NotFound", "InvalidPermission.Duplicate")  # somebody else made the same change just now
_TRIES = 3


def isolating(ec2: Ec2, network: str, rules: Sequence[Rule]) -> str:
    """The id of the group in a VPC with exactly these rules, made where it is missing, put right where it was changed.

    Raises NotConverged where somebody keeps changing it.
    """
    name = cloud_rules.name(rules)
    with ec2.guard:
        for _ in range(_TRIES):
            group = _found(ec2, network, name) or _made(ec2, network, name)
            if cloud_rules.of_group(group) == tuple(rules):
                return str(group["GroupId"])
            _put_right(ec2, group, rules)
    raise NotConverged(f"the security group {name} in {network} does not keep the rules that it is given")


def existing(ec2: Ec2, groups: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """Those of these groups that are still there, by id."""
    if not groups:
        return {}
    found = ec2.listed("describe_security_groups", "SecurityGroups", Filters=[{"Name": "group-id", "Values": sorted(groups)}])
    return {str(one["GroupId"]): one for one in found}


def drop_unused(ec2: Ec2, group: str) -> None:
    """Delete a group of ours where no interface has it any more; AWS itself refuses where one has."""
    with ec2.guard:
        used = ec2.ask("describe_network_interfaces", Filters=[{"Name": "group-id", "Values": [group]}])
        if used.get("NetworkInterfaces"):
            return
        try:
            ec2.ask("delete_security_group", GroupId=group)
        except ProgramFailed as error:
            if error.details.get("code") not in ("DependencyViolation", "InvalidGroup.InUse", "InvalidGroup.NotFound"):
                raise


def _found(ec2: Ec2, network: str, name: str) -> Mapping[str, Any] | None:
    wanted = [{"Name": "vpc-id", "Values": [network]}, {"Name": "group-name", "Values": [name]}]
    return next(iter(ec2.listed("describe_security_groups", "SecurityGroups", Filters=wanted)), None)


def _made(ec2: Ec2, network: str, name: str) -> Mapping[str, Any]:
    try:
        made = ec2.ask("create_security_group", GroupName=name, VpcId=network,
                       Description="Made by opsctl: cuts off what is in it, and goes with the last of it")
    except ProgramFailed as error:
        if error.details.get("code") != "InvalidGroup.Duplicate":  # another controller was quicker
            raise
    else:
        ec2.client.get_waiter("security_group_exists").wait(
            GroupIds=[made["GroupId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 15})
    group = _found(ec2, network, name)
    if group is None:
        raise ProgramFailed(f"the security group {name} that was made in {network} is not there", hint="try again in a moment")
    return group


def _put_right(ec2: Ec2, group: Mapping[str, Any], rules: Sequence[Rule]) -> None:
    """Take away what it lets through too much, a new one's default rule too, then add what is missing."""
    ident, has = group["GroupId"], set(cloud_rules.of_group(group))
    for direction, key, revoke, allow in (
        ("in", "IpPermissions", "revoke_security_group_ingress", "authorize_security_group_ingress"),
        ("out", "IpPermissionsEgress", "revoke_security_group_egress", "authorize_security_group_egress"),
    ):
        if {one for one in has if one.direction == direction} - set(rules):
            _change(ec2, revoke, GroupId=ident, IpPermissions=_bare(group[key]))
            has = {one for one in has if one.direction != direction}
        if missing := [one.permission() for one in rules if one.direction == direction and one not in has]:
            _change(ec2, allow, GroupId=ident, IpPermissions=missing)


def _change(ec2: Ec2, operation: str, **words: Any) -> None:
    try:
        ec2.ask(operation, **words)
    except OpsError as error:
        if error.details.get("code") not in _DONE:
            raise


def _bare(permissions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As they were described, without what is empty: EC2 refuses that."""
    return [{key: content for key, content in one.items() if content or content == 0} for one in permissions]
