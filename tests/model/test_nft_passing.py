"""The rule that let a call through, from what nft lists."""

from __future__ import annotations

import pytest

from opsctl.model.nft_passing import letting

RULES = """\
table inet opsctl_iso {
	chain iso_in {
		ct state established,related accept
		iif "lo" accept
		ip saddr { 10.0.0.7, 10.0.0.8 } tcp dport 22 accept comment "in:tcp:10.0.0.7:22"
		ip saddr 10.0.0.7 icmp type echo-request accept
		icmpv6 type packet-too-big accept
		ip6 hoplimit 255 icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
		ip6 hoplimit 1 icmpv6 type mld-listener-query accept
		udp sport 67 udp dport 68 accept
		ip saddr 10.1.0.0/24 accept comment "10.1.0.0/24"
		ip6 saddr fd00::/64 tcp dport { 80, 443, 8000-8100 } counter accept
		ip saddr 10.1.1.5-10.1.1.9 tcp dport != 23 accept
		counter packets 4 bytes 160 drop comment "full"
	}

	chain iso_out {
		oif "lo" accept
		ip daddr 10.0.0.7 tcp sport 22 tcp flags != syn / syn,ack accept
		ip daddr 10.2.0.9 tcp dport 443 accept
		counter drop
	}
}
"""


@pytest.mark.parametrize(("incoming", "other", "port", "rule"), [
    (True, "10.0.0.8", 22, "ip saddr { 10.0.0.7, 10.0.0.8 } tcp dport 22 accept"),
    (True, "10.0.0.9", 22, None),
    (True, "10.0.0.8", 23, None),
    (True, "10.1.0.77", 9, "ip saddr 10.1.0.0/24 accept"),
    (True, "fd00::9", 8050, "ip6 saddr fd00::/64 tcp dport { 80, 443, 8000-8100 } counter accept"),
    (True, "fd00::9", 22, None),
    (True, "fd01::9", 443, None),
    (True, "10.1.1.6", 22, "ip saddr 10.1.1.5-10.1.1.9 tcp dport != 23 accept"),
    (True, "10.1.1.6", 23, None),
    (True, "", 22, "ip saddr { 10.0.0.7, 10.0.0.8 } tcp dport 22 accept"),
    (False, "10.0.0.7", 22, None),
    (False, "10.2.0.9", 443, "ip daddr 10.2.0.9 tcp dport 443 accept"),
    (False, "10.2.0.9", 80, None),
])
def test_the_first_rule_that_accepts_a_new_connection(incoming: bool, other: str, port: int, rule: str | None) -> None:
    version = 6 if ":" in other else 4
    assert letting(RULES, incoming=incoming, version=version, other=other, port=port) == rule


@pytest.mark.parametrize("rule", ["accept", "ct state new,established accept", "meta mark 7 accept", "tcp dport @ports accept",
                                  "ip saddr @friends accept", "meta l4proto tcp accept", "counter packets 4 bytes 160 accept"])
def test_a_rule_that_may_let_it_through_is_named(rule: str) -> None:
    raw = RULES.replace('\t\tct state established,related accept', f"\t\t{rule}")
    assert letting(raw, incoming=True, version=4, other="10.9.9.9", port=22) == rule


def test_rules_of_another_make_say_nothing() -> None:
    assert letting("", incoming=True, version=4, other="10.0.0.8", port=22) is None
    assert letting('{"nftables": []}', incoming=True, version=4, other="10.0.0.8", port=22) is None
