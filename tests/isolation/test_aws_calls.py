"""What is asked of EC2, request by request, against botocore's Stubber; and what is said where nobody can be asked."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from opsctl.errors import Refused, Unreachable
from opsctl.isolation.aws_calls import Ec2
from opsctl.isolation.aws_security_group import AwsSecurityGroup
from opsctl.model import cloud_rules
from opsctl.model.isolation import Facts, Mark, Order, Stand
from tests.isolation.clouds import REGION, no_cloud

MARK = Mark(run="20261129-1733-portal-7f3a", by="asha", at="2026-11-29T17:33:00Z", incident="inc-1")
HELD = Order(MARK, managers=("10.9.0.2", "fd09::2"), seconds=None)


def test_no_credentials_are_12_and_a_region_that_is_none_is_13(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    with no_cloud():
        with pytest.raises(Unreachable, match="EC2 in ap-nowhere-9 does not answer") as caught:
            Ec2("ap-nowhere-9").ask("describe_instances")
        assert "is region: right" in (caught.value.hint or "")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        with pytest.raises(Refused, match="there are no AWS credentials here") as refused:
            Ec2(REGION).ask("describe_instances")
        assert refused.value.code == 12
    with no_cloud(AWS_PROFILE="nobody"), pytest.raises(Refused, match="nobody"):
        Ec2(REGION).ask("describe_instances")


def test_every_request_of_a_change_as_aws_gets_it() -> None:
    """moto answers the union of old and new groups: here each request is held against what AWS has to be sent."""
    group, ours, name = "sg-0aaaaaaaaaaaaaaa1", "sg-0bbbbbbbbbbbbbbb2", "eni-0123456789abcdef0"
    rules = cloud_rules.rules(HELD, None)
    made = {"GroupId": ours, "GroupName": cloud_rules.name(rules), "VpcId": "vpc-1", "IpPermissionsEgress": [],
            "IpPermissions": [rule.permission() for rule in rules]}

    def shown(groups: list[dict[str, str]], tags: dict[str, str]) -> dict[str, Any]:
        return {"NetworkInterfaces": [{
            "NetworkInterfaceId": name, "VpcId": "vpc-1", "SubnetId": "subnet-1", "Groups": groups,
            "TagSet": [{"Key": key, "Value": text} for key, text in tags.items()]}]}

    mine, tags = [{"GroupId": ours, "GroupName": made["GroupName"]}], {
        "opsctl:instance": "i-0123456789abcdef0", "opsctl:isolated": cloud_rules.order_tag(HELD), "opsctl:group": ours,
        "opsctl:groups": group}
    by_instance = {"Filters": [{"Name": "attachment.instance-id", "Values": ["i-0123456789abcdef0"]}]}
    with no_cloud():
        ec2 = Ec2(REGION)
        driver = AwsSecurityGroup("web-1", instance="i-0123456789abcdef0", address="web-1.invalid", ec2=ec2)
        with Stubber(ec2.client) as stub:
            stub.add_response("describe_network_interfaces", shown([{"GroupId": group, "GroupName": "web"}], {}), by_instance)
            for tried, words in (
                ("create_tags", {"Resources": [name], "Tags": ANY}), ("delete_tags", {"Resources": [name], "Tags": ANY}),
                ("modify_network_interface_attribute", {"NetworkInterfaceId": name, "Groups": [group]}),
                ("create_security_group", {"GroupName": ANY, "Description": ANY, "VpcId": "vpc-1"}),
            ):
                stub.add_client_error(tried, "DryRunOperation", expected_params={"DryRun": True, **words})
            stub.add_response("describe_security_groups", {"SecurityGroups": [made]}, {"Filters": [
                {"Name": "vpc-id", "Values": ["vpc-1"]}, {"Name": "group-name", "Values": [made["GroupName"]]}]})
            stub.add_response("create_tags", {}, {"Resources": [name], "Tags": [{"Key": key, "Value": text} for key, text in tags.items()]})
            stub.add_response("describe_network_interfaces", {"NetworkInterfaces": [
                {"NetworkInterfaceId": name}, {"NetworkInterfaceId": "eni-other"}]}, {"Filters": [{"Name": "subnet-id", "Values": ["subnet-1"]}]})
            stub.add_response("modify_network_interface_attribute", {}, {"NetworkInterfaceId": name, "Groups": [ours]})
            stub.add_response("describe_network_interfaces", shown(mine, tags), by_instance)
            driver.load(HELD, Stand("open", facts=Facts()))
            stub.add_response("describe_network_interfaces", shown(mine, tags), by_instance)
            stub.add_response("describe_network_interfaces", shown(mine, tags), {"Filters": [
                {"Name": "tag:opsctl:instance", "Values": ["i-0123456789abcdef0"]}]})
            stub.add_response("describe_security_groups", {"SecurityGroups": [{"GroupId": group}]}, {"Filters": [
                {"Name": "group-id", "Values": [group]}]})
            stub.add_response("modify_network_interface_attribute", {}, {"NetworkInterfaceId": name, "Groups": [group]})
            stub.add_response("delete_tags", {}, {"Resources": [name], "Tags": [{"Key": key} for key in sorted(tags)]})
            stub.add_response("describe_network_interfaces", {"NetworkInterfaces": [{"NetworkInterfaceId": "eni-other"}]}, {"Filters": [
                {"Name": "group-id", "Values": [ours]}]})
            driver.release()
            stub.assert_no_pending_responses()
