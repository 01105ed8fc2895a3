"""An account at AWS that is none: moto in this process, with what AWS does and moto does not, and no way to the real one."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs

from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber
from moto.ec2.models import ec2_backends
from moto.ec2.responses.network_acls import NetworkACLs

from opsctl.isolation.aws_calls import Ec2
from opsctl.isolation.aws_security_group import AwsSecurityGroup

REGION = "ap-south-1"
ACCOUNT = "123456789012"
IMAGE = "ami-12c6146b"  # one that moto knows
NOT_OURS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "NO_PROXY": "*", "no_proxy": "*"}


class Cloud:
    """One VPC with two subnets, until ``close``. ``denied`` are permissions that are missing, ``failing`` calls that fail: ``{"CreateTags": [code, …]}``.

    ``calls`` are the actions that were asked for, ``(dry)`` behind those that only were tried.
    """

    def __init__(self, ec2: Ec2) -> None:
        self.ec2 = ec2
        self.denied: set[str] = set()
        self.failing: dict[str, list[str]] = {}
        self.calls: list[str] = []
        self.client = self.ec2.client
        self.vpc = self.client.create_vpc(CidrBlock="10.5.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [self._subnet(number) for number in (1, 2)]
        self.groups = [self.group(f"g{number}") for number in range(3)]
        _asked.append(self.answer)

    def close(self) -> None:
        _asked.remove(self.answer)

    def group(self, name: str) -> str:
        return str(self.client.create_security_group(GroupName=name, Description="of the site", VpcId=self.vpc)["GroupId"])

    def instance(self, *groups: str, subnet: int = 0) -> str:
        made = self.client.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1, SubnetId=self.subnets[subnet],
                                         SecurityGroupIds=list(groups or self.groups[:2]))["Instances"][0]["InstanceId"]
        # moto answers the union of an interface's groups and those of the launch; AWS only those of the interface.
        ec2_backends[ACCOUNT][REGION].get_instance(made).security_groups = []
        return str(made)

    def plug(self, instance: str, *groups: str, subnet: int = 1) -> str:
        """One more network interface; its id."""
        made = self.client.create_network_interface(SubnetId=self.subnets[subnet], Groups=list(groups or self.groups[2:]))
        ident = str(made["NetworkInterface"]["NetworkInterfaceId"])
        place = len(self.interfaces(instance))
        self.client.attach_network_interface(NetworkInterfaceId=ident, InstanceId=instance, DeviceIndex=place)
        return ident

    def terminate(self, instance: str) -> None:
        """With its interfaces, which moto leaves."""
        gone = self.interfaces(instance)
        self.client.terminate_instances(InstanceIds=[instance])
        for name in gone:
            del ec2_backends[ACCOUNT][REGION].enis[name]

    def interfaces(self, instance: str) -> dict[str, Mapping[str, Any]]:
        """By id: groups (sorted), tags, subnet."""
        found = self.client.describe_network_interfaces(Filters=[{"Name": "attachment.instance-id", "Values": [instance]}])
        return {one["NetworkInterfaceId"]: {
            "groups": sorted(group["GroupId"] for group in one["Groups"]),
            "tags": {tag["Key"]: tag["Value"] for tag in one["TagSet"]}, "subnet": one["SubnetId"],
        } for one in found["NetworkInterfaces"]}

    def names(self) -> list[str]:
        return sorted(one["GroupName"] for one in self.client.describe_security_groups()["SecurityGroups"] if one["VpcId"] == self.vpc)

    def lists(self) -> dict[str, str]:
        """The access list of each subnet."""
        acls = self.client.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["NetworkAcls"]
        return {one["SubnetId"]: acl["NetworkAclId"] for acl in acls for one in acl["Associations"]}

    def driver(self, instance: str, host: str = "web-1") -> AwsSecurityGroup:
        return AwsSecurityGroup(host, instance=instance, address="10.5.1.4", ec2=self.ec2)

    def _subnet(self, number: int) -> str:
        return str(self.client.create_subnet(VpcId=self.vpc, CidrBlock=f"10.5.{number}.0/24")["Subnet"]["SubnetId"])

    def answer(self, request: Any) -> _Response | None:
        """What AWS answers before it acts: moto knows no permissions, and no dry run of access lists."""
        asked = parse_qs(request.body.decode() if isinstance(request.body, bytes) else request.body)
        action, dry = asked["Action"][0], asked.get("DryRun") == ["true"]
        self.calls.append(f"{action}{' (dry)' if dry else ''}")
        if action in self.denied:
            return _error(403, "UnauthorizedOperation", "You are not authorized. Encoded authorization failure message: x")
        if dry:
            return _error(412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
        if self.failing.get(action) and (code := self.failing[action].pop(0)):
            return _error(503 if code == "RequestLimitExceeded" else 400, code, f"{action} failed")
        return None


_Response = tuple[int, dict[str, str], bytes]
_asked: list[Callable[[Any], _Response | None]] = []


def _error(status: int, code: str, said: str) -> _Response:
    body = f"<Response><Errors><Error><Code>{code}</Code><Message>{said}</Message></Error></Errors><RequestID>1</RequestID></Response>"
    return status, {"Content-Type": "text/xml"}, body.encode()


def nowhere(host: Any, *words: Any, **more: Any) -> Any:
    """Instead of ``getaddrinfo``: only this machine has a name."""
    if host is not None and not re.fullmatch(r"localhost|127\..*|::1|[0-9.]+|[0-9a-f:]+", str(host)):
        raise socket.gaierror(socket.EAI_NONAME, f"no test asks for {host}")
    return _real(host, *words, **more)


_real = socket.getaddrinfo


@contextmanager
def no_cloud(**environment: str) -> Iterator[None]:
    """Credentials that are none, and no name of AWS that could be looked up."""
    with patch.dict("os.environ", {**NOT_OURS, **environment}), patch("socket.getaddrinfo", nowhere):
        yield


@contextmanager
def region() -> Iterator[Ec2]:
    """EC2 of one region, as moto plays it; each ``Cloud`` in it is a network of its own."""
    real = NetworkACLs._get_param

    def given(self: Any, name: str, *words: Any, **more: Any) -> Any:  # moto asks for the ICMP type by a name that it does not have
        return real(self, name.replace("Icmp.", "IcmpTypeCode."), *words, **more)

    acts = BotocoreStubber.process_request

    def answered(self: BotocoreStubber, request: Any) -> Any:
        return next((found for ask in _asked if (found := ask(request)) is not None), None) or acts(self, request)

    with no_cloud(), patch.object(NetworkACLs, "_get_param", given), patch.object(BotocoreStubber, "process_request", answered), mock_aws():
        yield Ec2(REGION)
