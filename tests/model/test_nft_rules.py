"""The rules that cut a host off, and what is read back from nft's listing of them, by value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsctl.model.connections import bare, of_interfaces, others, space, words
from opsctl.model.given_host import given_host
from opsctl.model.isolation import Facts, Mark, Opening, Order, opening
from opsctl.model.nft_listing import seal, tables
from opsctl.model.nft_rules import comment, load, managers, read_comment

MARK = Mark(run="20261221-1000-main-7f3a", by="asha", at="2026-12-21T10:00:00+05:30", incident="inc-1")
LISTED = """\
table inet opsctl_iso {
	comment "['c3ae1ade2a12b21b','r','t','asha',null]"
	set armed {
		type nf_proto
		flags timeout
		elements = { ipv4 timeout 1m5s expires 1m4s996ms, ipv6 timeout 1m5s expires 1h2m3s }
	}

	chain pre {
		type filter hook prerouting priority raw - 10; policy accept;
		meta nfproto @armed jump iso_in
	}

	chain outp {
		type filter hook output priority raw - 10; policy accept;
		meta nfproto @armed jump iso_out
	}

	chain iso_in {
		iif "lo" accept
		ip saddr 10.0.0.2 tcp dport 22 accept comment "in:tcp:10.0.0.2:22"
		ip6 saddr fd00::/64 accept comment "fd00::/64"
		counter packets 7 bytes 420 drop comment "outbound-only"
	}

	chain iso_out {
		oif "lo" accept
		counter packets 9 bytes 20 drop comment "outbound-only"
	}
}
table inet others {
	chain pre {
		counter packets 7 bytes 420 drop
	}
}
table netdev opsctl_iso {
	comment "['c3ae1ade2a12b21b','r','t','asha',null]"
	set armed {
		type ether_type
		flags timeout
		elements = { ip, 8021q,
				ip6, 8021ad }
	}

	chain pre {
		type filter hook ingress devices = { eth1, eth0.7 } priority -500; policy accept;
		meta protocol @armed jump iso_in
	}

	chain outp {
		type filter hook egress devices = { eth0.7, eth1 } priority -500; policy accept;
		meta protocol @armed jump iso_out
	}

	chain iso_in {
		counter packets 1 bytes 2 drop comment "outbound-only"
	}

	chain iso_out {
		counter packets 1 bytes 2 drop comment "outbound-only"
	}
}
"""


@given(st.builds(Mark, run=st.text(max_size=80), by=st.text(max_size=80), at=st.text(max_size=80),
                 incident=st.none() | st.text(max_size=80)))
def test_what_stands_at_the_table_is_short_enough_and_ends_no_string(mark: Mark) -> None:
    order = Order(mark)
    said = comment(order)
    assert len(said.encode()) <= 127 and said.isascii() and not set('"\n\\') & set(said)
    known = read_comment(said)
    assert known is not None and known[0] == order.digest


def test_one_address_has_one_name_and_so_one_lock() -> None:
    assert {given_host(name).name for name in ("root@10.0.0.5", "root@[::ffff:10.0.0.5]", "root@[::ffff:a00:5]:22")} == {"root@10.0.0.5"}


def test_an_ordinary_mark_comes_back_whole() -> None:
    assert read_comment(comment(Order(MARK))) == (Order(MARK).digest, MARK)
    assert not any(read_comment(text) for text in ("", "of somebody else", "[1]", "[" * 100_000, "[1,2,3,4,5]", f"['d','r','t','{'x' * 200}',null]"))


@pytest.mark.parametrize("text", ["in:10.0.0.5; drop:22", "out:tcp:backup-1:8000", "in:10.0.0.5", "10.0.0.5:22", "out:10.0.0.5:0",
                                  "in:10.0.0.1/8:22"])
def test_what_is_no_address_is_never_put_into_rules(text: str) -> None:
    with pytest.raises(ValueError):
        opening(text)


@pytest.mark.parametrize("text", ["10.0.0.5/32", "fd00::/64", "in:tcp:10.0.0.5/32:443", "out:udp:[fd00::5/128]:53", "out:tcp:10.0.0.0/24:8000"])
def test_what_is_let_through_is_read_back_from_its_rule(text: str) -> None:
    one = opening(text)
    assert str(one) == text and opening(str(one)) == one
    rules = load(Order(MARK, allow=(one,)), Facts(devices=("eth0",), manager="10.0.0.2"))
    assert rules.count(f'accept comment "{text}"') == 4


def test_a_listing_says_what_holds_for_how_long_and_for_whom() -> None:
    found = tables(LISTED)
    inet, netdev = found["inet"], found["netdev"]
    assert set(found) == {"inet", "netdev"} and inet.whole and netdev.whole
    assert inet.elements == {"ipv4": pytest.approx(64.996), "ipv6": 3723.0} and not inet.missing
    assert dict.fromkeys(netdev.elements.values()) == {None: None} and not netdev.missing
    assert netdev.devices == {"eth1", "eth0.7"}
    assert inet.openings == (Opening("10.0.0.2/32", 22), Opening("fd00::/64")) and inet.profile == "outbound-only"
    assert inet.said is not None and inet.said[1].by == "asha"


def test_a_seal_moves_with_rules_and_with_nothing_that_moves_by_itself() -> None:
    later = LISTED.replace("packets 7 bytes 420", "packets 8 bytes 480").replace("1m4s996ms", "30s").replace(
        "ip, 8021q,\n\t\t\t\tip6, 8021ad", "8021ad, ip,\n\t\t\t\t8021q, ip6")
    assert later != LISTED and seal(tables(later)) == seal(tables(LISTED))
    for old, new in (("tcp dport 22", "tcp dport 23"), ("ipv4 timeout 1m5s expires 1m4s996ms, ", ""), ("priority raw - 10", "priority raw"),
                     ("devices = { eth1, eth0.7 }", "device eth1")):
        assert seal(tables(LISTED.replace(old, new))) != seal(tables(LISTED)), old


def test_who_is_connected_may_come_in_at_the_port_that_sshd_has_there() -> None:
    found = managers(Order(MARK, managers=("fd00::7",), port=2222), Facts(manager="10.0.0.2", port=22))
    assert [str(one) for one in found] == ["in:tcp:10.0.0.2:22", "in:tcp:10.0.0.2:2222", "in:tcp:[fd00::7]:22", "in:tcp:[fd00::7]:2222"]


@pytest.mark.parametrize(("said", "meant"), [
    ("fe80::1%eth0", "fe80::1"), ("[fe80::1%eth0]", "fe80::1"), ("[::ffff:10.0.0.1]", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"),
    ("0.0.0.0%eth0", "0.0.0.0"), ("*", "*"), ("FD00::0:5", "fd00::5"),
])
def test_addresses_are_known_again_however_they_are_written(said: str, meant: str) -> None:
    assert bare(said) == meant


def test_of_the_connections_those_with_others_that_are_not_let_through_are_to_be_ended() -> None:
    own = "2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0\\  valid_lft forever\n2: eth0    inet6 fd00::5/64 scope global\n"
    found = space(own, """\
tcp   LISTEN     0      128          0.0.0.0:22         0.0.0.0:*
tcp   LISTEN     0      128    127.0.0.1:5432         0.0.0.0:*
tcp   ESTAB      0      0           10.0.0.5:22        10.0.0.2:40000
tcp   ESTAB      0      0           10.0.0.5:22        10.0.0.9:40000
tcp   CLOSE-WAIT 0      0          [fd00::5]:50000    [fd00::9]:443
tcp   ESTAB      0      0      [::ffff:10.0.0.5]:50001 [::ffff:10.0.0.9]:443
tcp   ESTAB      0      0           10.0.0.5:50002     10.0.0.5:8000
tcp   TIME-WAIT  0      0           10.0.0.5:22        10.0.0.9:40001
""")
    assert list(of_interfaces(own)) == ["10.0.0.5", "fd00::5"] and found.serves == {22}
    manager = opening("in:10.0.0.2:22")
    assert [one.peer_port for one in others(found, [manager], "full")] == [40000, 443, 443]
    assert [one.peer for one in others(found, [manager, opening("10.0.0.9")], "full")] == ["fd00::9"]
    assert [one.peer for one in others(found, [manager], "outbound-only")] == ["10.0.0.9"]


def test_what_ss_is_told_to_spare() -> None:
    assert " ".join(words([opening("in:10.0.0.2:22"), opening("out:[fd00::/64]:443"), opening("10.0.0.0/8")])) == (
        "( sport = :22 and dst 10.0.0.2/32 ) or ( dport = :443 and dst [fd00::/64] ) or dst 10.0.0.0/8 or")
