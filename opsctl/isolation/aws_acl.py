"""Access lists of subnets, which cut connections that security groups let run on; only where a subnet has no one else in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opsctl.errors import ProgramFailed
from opsctl.isolation.aws_calls import Ec2
from opsctl.model import cloud_rules
from opsctl.model.cloud_rules import Rule

_NAMED = "Name"


def of_subnet(ec2: Ec2, subnet: str) -> tuple[Mapping[str, Any], str] | None:
    """The access list of a subnet, and the id of its association; None where AWS knows none."""
    found = ec2.listed("describe_network_acls", "NetworkAcls", Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])
    for acl in found:
        for one in acl.get("Associations", ()):
            if one["SubnetId"] == subnet:
                return acl, str(one["NetworkAclAssociationId"])
    return None


def others_in(ec2: Ec2, subnet: str, mine: Sequence[str]) -> list[str]:
    """Network interfaces in a subnet that are not of the host: what would be cut off with it."""
    found = ec2.listed("describe_network_interfaces", "NetworkInterfaces", Filters=[{"Name": "subnet-id", "Values": [subnet]}])
    return sorted(one["NetworkInterfaceId"] for one in found if one["NetworkInterfaceId"] not in mine)


def is_ours(acl: Mapping[str, Any]) -> bool:
    """Whether a list is one of ours, and lets through what its name says."""
    return _name(acl).startswith(cloud_rules.NAME) and cloud_rules.name(cloud_rules.of_acl(acl)) == _name(acl)


def check(ec2: Ec2, subnet: str) -> None:
    """Whether the list of a subnet may be changed, and changed back. Raises Refused, and ProgramFailed where AWS knows no list."""
    found = of_subnet(ec2, subnet)
    if found is None:
        raise ProgramFailed(f"AWS knows no access list of {subnet}")
    acl, association = found
    network = str(acl["VpcId"])
    ec2.may("create_network_acl", VpcId=network, TagSpecifications=_tags("probe"))
    ec2.may("create_network_acl_entry", NetworkAclId=acl["NetworkAclId"], **next(cloud_rules.entries([_ANY])))
    ec2.may("replace_network_acl_association", AssociationId=association, NetworkAclId=acl["NetworkAclId"])
    ec2.may("delete_network_acl", NetworkAclId=acl["NetworkAclId"])


def put(ec2: Ec2, subnet: str, rules: Sequence[Rule]) -> None:
    """Give a subnet a list that lets through these rules and nothing else."""
    found = of_subnet(ec2, subnet)
    assert found is not None, "check was called before"
    acl, association = found
    with ec2.guard:
        ident = _isolating(ec2, str(acl["VpcId"]), rules)
        if ident != acl["NetworkAclId"]:
            ec2.ask("replace_network_acl_association", AssociationId=association, NetworkAclId=ident)
            if _name(acl).startswith(cloud_rules.NAME):  # that of another order
                _drop_unused(ec2, str(acl["NetworkAclId"]))


def put_back(ec2: Ec2, subnet: str, before: str) -> str | None:
    """Give a subnet the list that it had, where ours is there; what is wrong with that, as a sentence.

    Where the one it had is gone it gets the default list of its VPC.
    """
    found = of_subnet(ec2, subnet)
    if found is None or not _name(found[0]).startswith(cloud_rules.NAME):
        return None
    acl, association = found
    wanted = [{"Name": "vpc-id", "Values": [acl["VpcId"]]}]
    there = {one["NetworkAclId"]: one for one in ec2.listed("describe_network_acls", "NetworkAcls", Filters=wanted)}
    back, wrong = before, None
    if before not in there:
        back = next(ident for ident, one in there.items() if one.get("IsDefault"))
        wrong = f"the access list {before} of {subnet} was deleted meanwhile: it has the default one, {back}"
    with ec2.guard:
        ec2.ask("replace_network_acl_association", AssociationId=association, NetworkAclId=back)
        _drop_unused(ec2, str(acl["NetworkAclId"]))
    return wrong


_ANY = Rule("in", "-1", None, None, "192.0.2.1/32")


def _isolating(ec2: Ec2, network: str, rules: Sequence[Rule]) -> str:
    name = cloud_rules.name(rules)
    wanted = [{"Name": "vpc-id", "Values": [network]}, {"Name": f"tag:{_NAMED}", "Values": [name]}]
    for acl in ec2.listed("describe_network_acls", "NetworkAcls", Filters=wanted):
        if is_ours(acl):  # one that was changed is left alone, and is not used
            return str(acl["NetworkAclId"])
    made: str = ec2.ask("create_network_acl", VpcId=network, TagSpecifications=_tags(name))["NetworkAcl"]["NetworkAclId"]
    for entry in cloud_rules.entries(rules):
        ec2.ask("create_network_acl_entry", NetworkAclId=made, **entry)
    return made


def _drop_unused(ec2: Ec2, acl: str) -> None:
    try:
        ec2.ask("delete_network_acl", NetworkAclId=acl)
    except ProgramFailed as error:
        if error.details.get("code") not in ("DependencyViolation", "InvalidNetworkAclID.NotFound"):
            raise


def _name(acl: Mapping[str, Any]) -> str:
    return next((str(tag["Value"]) for tag in acl.get("Tags", ()) if tag["Key"] == _NAMED), "")


def _tags(name: str) -> list[dict[str, Any]]:
    return [{"ResourceType": "network-acl", "Tags": [{"Key": _NAMED, "Value": name}]}]
