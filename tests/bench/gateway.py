"""Hosts cut off at a gateway, beside a bare ``nft -f`` of as many elements; and the rules of one host, loaded by nft."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

from opsctl.isolation.forwarder import Forwarder
from opsctl.model import nft_gateway, nft_rules
from opsctl.model.isolation import Facts, Mark, Order
from opsctl.model.nft_gate import Gate
from opsctl.model.nft_gateway import GATE, Wish, member
from tests.bench.bench import Bench
from tests.bench.measure import Cost, Failed, turns, wall
from tests.bench.table import Row, compare, seconds
from tests.isolation.forwarding import Forwarding

_ORDER = Order(Mark("20261212-0230-isolate-7f3a", "asha", "2026-12-12T02:30:00+05:30", "inc-2026-1"), seconds=600)
_FACTS = Facts(manager="10.60.0.9", devices=("eth0",), serves=(22, 443))


def rows(bench: Bench) -> list[Row]:
    if os.geteuid():
        raise Failed("network namespaces need root")
    many = bench.size(10_000, 100)
    addresses = [f"10.{100 + number // 65536}.{number // 256 % 256}.{number % 256}" for number in range(many)]
    wishes = [Wish(_ORDER, _FACTS, (member(address),)) for address in addresses]
    text = nft_gateway.load(Gate(), wishes, GATE)
    bare = (f"table inet {GATE} {{\n set held {{ type ipv4_addr; flags timeout; }}\n}}\n"
            f"add element inet {GATE} held {{ {', '.join(f'{address} timeout 600s' for address in addresses)} }}\n")
    with Forwarding(1) as lab:
        at, _ = lab.forwarder()
        took = turns(bench.rounds(5), text=lambda: _loaded(lab, text), ours=lambda: _by_driver(lab, at, wishes),
                     look=lambda: _looked(at, addresses), confirm=lambda: _confirmed(at, addresses),
                     release=lambda: _released(lab, at, addresses), bare=lambda: _loaded(lab, bare),
                     host=lambda: _loaded(lab, nft_rules.load(_ORDER, _FACTS), "a1"), least=lambda: _loaded(lab, "table inet x {\n}\n", "a1"))
    name = f"{many:,} hosts cut off at a gateway in one transaction"
    return [
        compare(f"{name}: nft, with who ordered each", wall(took["text"]), wall(took["bare"]), beside="bare nft -f"),
        compare(f"{name}: looked, decided, loaded", wall(took["ours"]), wall(took["bare"]), beside="bare nft -f"),
        Row("  seen how each of them stands", seconds(wall(took["look"]))),
        Row("  confirmed over a new connection", seconds(wall(took["confirm"]))),
        Row("  released, each with its guard", seconds(wall(took["release"]))),
        compare("the rules of one host, loaded by nft", wall(took["host"]), wall(took["least"]), beside="nft -f of an empty table"),
    ]


def _loaded(lab: Forwarding, text: str, name: str = "gw") -> Cost:
    """One transaction by nft itself, on a machine without our table, and with none of it afterwards."""
    begun = time.perf_counter()
    subprocess.run(lab.inside(name, ["nft", "-f", "-"]), input=text, text=True, check=True, capture_output=True)
    took = time.perf_counter() - begun
    lab.run(name, "nft", "flush", "ruleset")
    return Cost(took, 0.0)


def _by_driver(lab: Forwarding, at: Forwarder, wishes: list[Wish]) -> Cost:
    look = at.look.work([(wishes[0].own,)])[0]
    assert not isinstance(look, Exception)
    return _timed(lambda: at.load.work([(str(wish.own), wish, look) for wish in wishes]))


def _looked(at: Forwarder, addresses: list[str]) -> Cost:
    return _timed(lambda: at.look.work([(member(address),) for address in addresses]))


def _confirmed(at: Forwarder, addresses: list[str]) -> Cost:
    return _timed(lambda: at.arm.work([(address, (member(address),), None) for address in addresses]))


def _released(lab: Forwarding, at: Forwarder, addresses: list[str]) -> Cost:
    took = _timed(lambda: at.release.work([(member(address),) for address in addresses]))
    lab.run("gw", "nft", "flush", "ruleset")
    return took


def _timed(work: Callable[[], object]) -> Cost:
    begun = time.perf_counter()
    work()
    return Cost(time.perf_counter() - begun, 0.0)
