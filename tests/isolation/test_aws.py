"""Instances at EC2 cut off by their groups: against moto, and against botocore's Stubber where moto does as AWS does not.

No test reaches AWS: the credentials are none, and no name of AWS is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from opsctl.errors import NotConverged, ProgramFailed, Refused, SafetyRefusal, Unreachable
from opsctl.isolation.aws_calls import Ec2
from opsctl.isolation.aws_security_group import AwsSecurityGroup
from opsctl.model import cloud_rules
from opsctl.model.isolation import Mark, Order, Stand, opening
from opsctl.shells import local
from tests.isolation.clouds import REGION, Cloud, region
from tests.machine import Machine

MARK = Mark(run="20261129-1733-portal-7f3a", by="asha", at="2026-11-29T17:33:00Z", incident="inc-1")
HELD = Order(MARK, managers=("10.9.0.2", "fd09::2"), seconds=None)
SAVED = "opsctl:groups"


@pytest.fixture(scope="module")
def ec2() -> Iterator[Ec2]:
    with region() as made:
        yield made


@pytest.fixture
def aws(ec2: Ec2) -> Iterator[Cloud]:
    made = Cloud(ec2)
    yield made
    made.close()


def cut_off(aws: Cloud, instance: str, order: Order = HELD) -> AwsSecurityGroup:
    driver = aws.driver(instance)
    driver.load(order, driver.observe())
    return driver


def test_every_interface_is_cut_off_and_gets_back_exactly_what_it_had(aws: Cloud) -> None:
    instance = aws.instance()
    aws.plug(instance)
    before, lists, names = aws.interfaces(instance), aws.lists(), aws.names()
    driver = aws.driver(instance)
    assert driver.observe().standing == "open"
    driver.load(HELD, driver.observe())
    driver.confirm()
    stand = driver.observe()
    assert (stand.standing, stand.digest, stand.mark, stand.left) == ("isolated", HELD.digest, MARK, None)
    during = aws.interfaces(instance)
    (group,) = {each for one in during.values() for each in one["groups"]}
    assert all(one["groups"] == [group] for one in during.values())
    assert {ident: sorted(one["tags"][SAVED].split()) for ident, one in during.items()} == {
        ident: one["groups"] for ident, one in before.items()}
    made = aws.client.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
    manager = stand.facts.manager
    assert made["IpPermissionsEgress"] == [] and cloud_rules.of_group(made) == cloud_rules.rules(HELD, manager)
    assert {rule.network for rule in cloud_rules.of_group(made) if rule.protocol == "tcp"} == {
        "10.9.0.2/32", "fd09::2/128", *([f"{manager}/32"] if manager else [])}
    driver.release()
    assert aws.interfaces(instance) == before and aws.lists() == lists and aws.names() == names
    assert driver.observe().standing == "open"
    calls = len(aws.calls)
    driver.release()
    assert all(call.startswith("Describe") for call in aws.calls[calls:])


def test_what_stays_open_stands_in_the_group_and_in_the_list(aws: Cloud) -> None:
    instance = aws.instance()
    order = replace(HELD, allow=(opening("out:tcp:[fd00::5]:8000"), opening("in:10.0.0.0/8:443"), opening("10.1.1.1")))
    driver = cut_off(aws, instance, order)
    (one,) = aws.interfaces(instance).values()
    made = aws.client.describe_security_groups(GroupIds=one["groups"])["SecurityGroups"][0]
    found = cloud_rules.of_group(made)
    for rule in (cloud_rules.Rule("out", "tcp", 8000, 8000, "fd00::5/128"), cloud_rules.Rule("in", "tcp", 443, 443, "10.0.0.0/8"),
                 cloud_rules.Rule("in", "-1", None, None, "10.1.1.1/32"), cloud_rules.Rule("out", "-1", None, None, "10.1.1.1/32")):
        assert rule in found
    acl = aws.client.describe_network_acls(NetworkAclIds=[aws.lists()[one["subnet"]]])["NetworkAcls"][0]
    assert cloud_rules.of_acl(acl) == cloud_rules.with_replies(found)
    assert cloud_rules.Rule("out", "tcp", 1024, 65535, "10.0.0.0/8") in cloud_rules.of_acl(acl)
    assert driver.observe().standing == "isolated"


class TestConnectionsThatWereOpen:
    def test_alone_in_its_subnet_they_are_cut_by_an_access_list(self, aws: Cloud) -> None:
        instance = aws.instance()
        lists = aws.lists()
        driver = cut_off(aws, instance)
        assert aws.lists()[aws.subnets[0]] != lists[aws.subnets[0]] and aws.lists()[aws.subnets[1]] == lists[aws.subnets[1]]
        assert driver.cut(HELD).notes == () and not [why for why in driver.observe().partial if "run on" in why]
        driver.release()
        assert aws.lists() == lists

    def test_with_others_in_it_they_run_on_and_it_is_said(self, aws: Cloud) -> None:
        instance, _ = aws.instance(), aws.instance()
        lists = aws.lists()
        driver = cut_off(aws, instance)
        assert aws.lists() == lists
        (name,) = aws.interfaces(instance)
        assert any(name in why and "may run on until they are idle" in why for why in driver.observe().partial)
        assert "1 other network interfaces are in it" in driver.cut(HELD).notes[0]

    def test_a_list_that_may_not_be_changed_holds_nothing_up(self, aws: Cloud) -> None:
        aws.denied = {"ReplaceNetworkAclAssociation"}
        instance = aws.instance()
        driver = cut_off(aws, instance)
        assert driver.observe().standing == "isolated" and "ec2:ReplaceNetworkAclAssociation" in driver.cut(HELD).notes[0]
        assert "CreateNetworkAcl" not in aws.calls

    def test_a_list_that_others_opened_is_not_believed(self, aws: Cloud) -> None:
        instance = aws.instance()
        driver = cut_off(aws, instance)
        assert not any("run on" in why for why in driver.observe().partial)
        aws.client.create_network_acl_entry(
            NetworkAclId=aws.lists()[aws.subnets[0]], RuleNumber=1, Protocol="-1", RuleAction="allow", Egress=True, CidrBlock="0.0.0.0/0")
        assert any("run on" in why for why in driver.observe().partial)
        driver.load(HELD, driver.observe())
        assert not any("run on" in why for why in driver.observe().partial)

    def test_a_list_that_others_took_away_is_not_believed(self, aws: Cloud) -> None:
        instance = aws.instance()
        before = aws.lists()
        driver = cut_off(aws, instance)
        acl = aws.client.describe_network_acls(NetworkAclIds=[aws.lists()[aws.subnets[0]]])["NetworkAcls"][0]
        aws.client.replace_network_acl_association(AssociationId=acl["Associations"][0]["NetworkAclAssociationId"],
                                                   NetworkAclId=before[aws.subnets[0]])
        assert any("run on" in why for why in driver.observe().partial)
        driver.release()
        assert aws.lists() == before

    def test_another_order_and_another_interface_leave_no_list_behind(self, aws: Cloud) -> None:
        instance = aws.instance()
        lists, driver = aws.lists(), cut_off(aws, instance)
        wider = replace(HELD, allow=(opening("in:10.0.0.5:443"),))
        fresh = aws.plug(instance, subnet=0)
        driver.load(wider, driver.observe())
        assert aws.interfaces(instance)[fresh]["tags"]["opsctl:acl"] == lists[aws.subnets[0]]
        assert not [why for why in driver.observe().partial if "run on" in why]
        driver.release()
        assert aws.lists() == lists
        found = aws.client.describe_network_acls(Filters=[{"Name": "vpc-id", "Values": [aws.vpc]}])["NetworkAcls"]
        assert [acl["IsDefault"] for acl in found] == [True]

    def test_a_list_that_is_gone_becomes_the_default_one(self, aws: Cloud) -> None:
        own = aws.client.create_network_acl(VpcId=aws.vpc)["NetworkAcl"]["NetworkAclId"]
        first = aws.client.describe_network_acls(Filters=[{"Name": "association.subnet-id", "Values": [aws.subnets[0]]}])["NetworkAcls"][0]
        place = next(one["NetworkAclAssociationId"] for one in first["Associations"] if one["SubnetId"] == aws.subnets[0])
        aws.client.replace_network_acl_association(AssociationId=place, NetworkAclId=own)
        instance = aws.instance()
        driver = cut_off(aws, instance)
        aws.client.delete_network_acl(NetworkAclId=own)
        with pytest.raises(NotConverged, match=f"{own} of {aws.subnets[0]} was deleted meanwhile"):
            driver.release()
        assert aws.lists()[aws.subnets[0]] == first["NetworkAclId"] and driver.observe().standing == "open"


class TestWhileItIsCutOff:
    def test_an_interface_that_is_new_is_open_and_is_taken_in(self, aws: Cloud) -> None:
        instance = aws.instance()
        driver = cut_off(aws, instance)
        fresh = aws.plug(instance)
        stand = driver.observe()
        assert stand.standing == "lifted" and f"{fresh} is open: it has {aws.groups[2]}" in stand.partial
        with pytest.raises(NotConverged, match=f"{fresh} is open"):
            driver.confirm()
        driver.load(HELD, stand)
        assert driver.observe().standing == "isolated"
        driver.release()
        assert aws.interfaces(instance)[fresh]["groups"] == [aws.groups[2]]

    def test_an_interface_that_was_unplugged_is_released_too(self, aws: Cloud) -> None:
        instance = aws.instance()
        other = aws.plug(instance)
        driver = cut_off(aws, instance)
        place = aws.client.describe_network_interfaces(NetworkInterfaceIds=[other])["NetworkInterfaces"][0]["Attachment"]["AttachmentId"]
        aws.client.detach_network_interface(AttachmentId=place)
        driver.release()
        found = aws.client.describe_network_interfaces(NetworkInterfaceIds=[other])["NetworkInterfaces"][0]
        assert [one["GroupId"] for one in found["Groups"]] == [aws.groups[2]] and found["TagSet"] == []

    def test_groups_that_were_changed_show_and_are_put_right(self, aws: Cloud) -> None:
        instance = aws.instance()
        driver = cut_off(aws, instance)
        seal, (name, one) = driver.observe().seal, *aws.interfaces(instance).items()
        aws.client.authorize_security_group_ingress(GroupId=one["groups"][0], IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}])
        stand = driver.observe()
        assert stand.standing == "lifted" and "the rules of its security group" in stand.partial[0] and stand.seal != seal
        driver.load(HELD, stand)
        assert driver.observe().standing == "isolated" and driver.observe().seal == seal
        aws.client.modify_network_interface_attribute(NetworkInterfaceId=name, Groups=[aws.groups[0]])
        assert driver.observe().standing == "lifted"
        driver.load(HELD, driver.observe())
        driver.release()
        assert aws.interfaces(instance)[name]["groups"] == sorted(aws.groups[:2])  # as before the first time

    def test_what_somebody_else_gave_it_stays_at_a_release(self, aws: Cloud) -> None:
        instance = aws.instance()
        driver = cut_off(aws, instance)
        (name,) = aws.interfaces(instance)
        aws.client.modify_network_interface_attribute(NetworkInterfaceId=name, Groups=[aws.groups[2]])
        driver.release()
        assert aws.interfaces(instance)[name]["groups"] == [aws.groups[2]] and driver.observe().standing == "open"

    def test_groups_that_were_deleted_are_named(self, aws: Cloud) -> None:
        gone = aws.group("gone")
        instance = aws.instance(aws.groups[0], gone)
        driver = cut_off(aws, instance)
        aws.client.delete_security_group(GroupId=gone)
        with pytest.raises(NotConverged, match=f"is open again without {gone}, deleted meanwhile"):
            driver.release()
        (one,) = aws.interfaces(instance).values()
        assert one == {"groups": [aws.groups[0]], "tags": {}, "subnet": aws.subnets[0]} and driver.observe().standing == "open"

    def test_where_all_are_gone_it_stays_cut_off_until_it_has_others(self, aws: Cloud) -> None:
        gone = aws.group("gone")
        instance = aws.instance(gone)
        driver = cut_off(aws, instance)
        aws.client.delete_security_group(GroupId=gone)
        with pytest.raises(NotConverged, match=f"{gone}, all that .* had, were deleted meanwhile, so it stays cut off") as caught:
            driver.release()
        assert driver.observe().standing == "isolated" and "AWS's console" in (caught.value.hint or "")
        (name,) = aws.interfaces(instance)
        aws.client.modify_network_interface_attribute(NetworkInterfaceId=name, Groups=[aws.groups[0]])
        driver.release()
        assert aws.interfaces(instance)[name]["tags"] == {} and "opsctl" not in "".join(aws.names())

    def test_the_shared_group_stays_as_long_as_another_needs_it(self, aws: Cloud) -> None:
        first, second = aws.instance(), aws.instance()
        drivers = [cut_off(aws, first), cut_off(aws, second)]
        assert len({each for one in (first, second) for found in aws.interfaces(one).values() for each in found["groups"]}) == 1
        drivers[0].release()
        assert [name for name in aws.names() if name.startswith("opsctl-isolation-")] and drivers[1].observe().standing == "isolated"
        drivers[1].release()
        assert not [name for name in aws.names() if name.startswith("opsctl")]

    def test_another_order_replaces_the_group_and_leaves_none_behind(self, aws: Cloud) -> None:
        instance = aws.instance()
        before = aws.interfaces(instance)
        driver = cut_off(aws, instance)
        wider = replace(HELD, allow=(opening("in:10.0.0.5:443"),))
        driver.load(wider, driver.observe())
        assert driver.observe().digest == wider.digest and sum(name.startswith("opsctl") for name in aws.names()) == 1
        driver.release()
        assert aws.interfaces(instance) == before


class TestPermissions:
    @pytest.mark.parametrize("denied", ["ModifyNetworkInterfaceAttribute", "CreateTags", "DeleteTags", "CreateSecurityGroup",
                                        "AuthorizeSecurityGroupIngress", "RevokeSecurityGroupEgress", "DescribeNetworkInterfaces"])
    def test_one_that_is_missing_is_named_and_nothing_was_changed(self, aws: Cloud, denied: str) -> None:
        instance = aws.instance()
        before, driver = aws.interfaces(instance), aws.driver(instance)
        stand = driver.observe()
        aws.denied = {denied}
        with pytest.raises(Refused, match=f"ec2:{denied} ") as caught:
            driver.load(HELD, stand)
        assert caught.value.code == 12 and caught.value.details["permission"] == f"ec2:{denied}" and caught.value.where == "web-1"
        assert "Encoded" not in str(caught.value)
        aws.denied = set()
        assert aws.interfaces(instance) == before
        assert not {"ModifyNetworkInterfaceAttribute", "CreateTags"} & set(aws.calls)

    def test_they_are_tried_before_anything_is_made(self, aws: Cloud) -> None:
        instance, begun = aws.instance(), len(aws.calls)
        cut_off(aws, instance)
        real = [call for call in aws.calls[begun:] if not call.startswith("Describe")]
        tried = [call.removesuffix(" (dry)") for call in real[:4]]
        assert tried == ["CreateTags", "DeleteTags", "ModifyNetworkInterfaceAttribute", "CreateSecurityGroup"]
        assert all(call.endswith("(dry)") for call in real[:4])


class TestFailures:
    def test_the_second_interface_fails_and_the_first_is_put_back(self, aws: Cloud) -> None:
        instance = aws.instance()
        aws.plug(instance)
        before, lists, driver = aws.interfaces(instance), aws.lists(), aws.driver(instance)
        aws.failing = {"ModifyNetworkInterfaceAttribute": ["", "OperationNotPermitted"]}
        with pytest.raises(ProgramFailed, match="modify_network_interface_attribute ended with OperationNotPermitted"):
            driver.load(HELD, driver.observe())
        assert aws.interfaces(instance) == before and aws.lists() == lists and driver.observe().standing == "open"

    def test_what_cannot_be_put_back_is_said(self, aws: Cloud) -> None:
        instance = aws.instance()
        aws.plug(instance)
        aws.failing = {"ModifyNetworkInterfaceAttribute": ["", *["OperationNotPermitted"] * 3]}
        driver = aws.driver(instance)
        with pytest.raises(ProgramFailed) as caught:
            driver.load(HELD, driver.observe())
        assert "could not be undone: opsctl isolate status web-1" in (caught.value.hint or "")
        assert driver.observe().standing == "lifted"

    def test_too_many_calls_are_tried_again(self, aws: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
        instance = aws.instance()
        aws.failing = {action: ["RequestLimitExceeded"] * 3 for action in ("DescribeNetworkInterfaces", "ModifyNetworkInterfaceAttribute")}
        assert cut_off(aws, instance).observe().standing == "isolated"
        aws.failing = {"DescribeNetworkInterfaces": ["RequestLimitExceeded"] * 20}
        with pytest.raises(Unreachable, match="RequestLimitExceeded, after 8 tries"):
            aws.driver(instance).observe()

    @pytest.mark.parametrize(("instance", "told"), [("i-0123456789abcdef0", "there is no such instance in ap-south-1")])
    def test_an_instance_that_is_not_there(self, aws: Cloud, instance: str, told: str) -> None:
        with pytest.raises(ProgramFailed, match=told) as caught:
            aws.driver(instance).observe()
        assert "region: right" in (caught.value.hint or "") and caught.value.where == "web-1"

    def test_one_that_was_terminated_is_not_called_open(self, aws: Cloud) -> None:
        instance = aws.instance()
        aws.terminate(instance)
        with pytest.raises(ProgramFailed, match="is terminated and has no network interface"):
            aws.driver(instance).observe()

    @pytest.mark.parametrize("code", ["AuthFailure", "ExpiredToken", "OptInRequired"])
    def test_credentials_that_are_not_taken(self, aws: Cloud, code: str) -> None:
        aws.failing = {"DescribeNetworkInterfaces": [code]}
        with pytest.raises(Refused, match=rf"does not accept these credentials in ap-south-1 \({code}\)"):
            aws.driver("i-0123456789abcdef0").observe()


def test_an_order_that_would_have_to_lift_itself_is_refused(aws: Cloud) -> None:
    driver = aws.driver(aws.instance())
    calls = len(aws.calls)
    for act in (lambda: driver.load(Order(MARK, seconds=60), Stand("open")), lambda: driver.extend(60)):
        with pytest.raises(SafetyRefusal):
            act()
    assert len(aws.calls) == calls and not driver.lifts_itself


# values


@pytest.mark.parametrize("count", [1, 5, 12, 13, 16, 150])
def test_groups_are_kept_in_as_many_tags_as_they_need(count: int) -> None:
    groups = tuple(f"sg-{number:017x}" for number in range(count, 0, -1))
    tags = cloud_rules.saved(groups)
    assert len(tags) == (count + 11) // 12 and all(len(text) <= 256 for text in tags.values())
    assert cloud_rules.saved_groups({**tags, "Name": "x"}) == groups
    assert cloud_rules.ours({**tags, "Name": "x", "opsctl:other": "y"}) == sorted(tags)


def test_an_order_fits_into_a_tag() -> None:
    order = Order(Mark(run="r" * 60, by='Asha "Verma" <x>', at="2026-11-29T17:33:00+05:30", incident=None), seconds=None)
    text = cloud_rules.order_tag(order)
    assert re.fullmatch(r"[A-Za-z0-9 +=._:/@-]{1,256}", text)
    said = cloud_rules.read_order_tag(text)
    assert said is not None and said[0] == order.digest and (said[1].run, said[1].incident) == (order.mark.run, None)
    assert cloud_rules.read_order_tag("somebody else's") is None


def test_the_command_line_cuts_an_instance_off_and_opens_it(aws: Cloud, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m")
    instance = aws.instance()
    before = aws.interfaces(instance)
    machine.configure(f"state: {machine.state}\nisolation: {{managers: [10.9.0.2], ports: []}}\nhosts:\n"
                      f"  web-1: {{address: 127.5.1.4, isolation: aws_security_group, instance: {instance}, region: {REGION}}}\n")
    try:
        assert re.search(r"web-1 +aws_security_group +partial", machine("isolate", "plan", "web-1").out)
        assert "--hold" in machine.json("isolate", "apply", "web-1", expect=23).errors[0]["hint"]
        assert aws.interfaces(instance) == before
        said = machine("isolate", "apply", "web-1", "--hold", expect=0)
        assert "web-1: isolated and confirmed" in said.err and "? → ?" in said.out and "AWS's own resolver" in said.out
        assert machine.json("isolate", "apply", "web-1", "--hold", expect=0).result["hosts"]["web-1"]["outcome"] == "ok"
        shown = machine.json("isolate", "status", expect=0).result["hosts"]["web-1"]
        assert shown["stand"]["standing"] == "isolated"
        aws.plug(instance)
        machine("isolate", "status", expect=21)
        machine("isolate", "release", "web-1", expect=0)
        assert aws.interfaces(instance).items() >= before.items()
    finally:
        local.reset()


def test_doctor_tries_what_is_needed_before_anybody_needs_it(aws: Cloud, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "m")
    instance, second = aws.instance(), aws.instance()
    machine.configure(f"state: {machine.state}\nhosts:\n" + "".join(
        f"  {name}: {{address: 127.5.1.4, os: windows, isolation: aws_security_group, instance: {ident}, region: {REGION}}}\n"
        for name, ident in (("web-1", instance), ("web-2", second))))

    def row() -> dict[str, str]:
        return next(each for each in machine.json("doctor").result["checks"] if each["name"] == f"aws {REGION}")

    try:
        begun = len(aws.calls)
        assert (row()["state"], row()["detail"]) == ("ok", "2 instances there, and all that is needed is allowed")
        assert {"DescribeNetworkInterfaces", "CreateTags (dry)"} <= set(aws.calls[begun:])
        assert all(call.startswith("Describe") or call.endswith("(dry)") for call in aws.calls[begun:])
        aws.denied = {"ReplaceNetworkAclAssociation"}
        assert row()["state"] == "wrong" and "ec2:ReplaceNetworkAclAssociation" in row()["detail"] and "policy" in row()["hint"]
        aws.denied = set()
        aws.terminate(second)
        assert row()["state"] == "wrong" and row()["detail"].startswith("web-2: instance")
    finally:
        local.reset()
