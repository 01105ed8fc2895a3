"""A host cut off by its own rules, over SSH or on this machine."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opsctl.errors import NotConverged, ProgramFailed
from opsctl.isolation.interface import Driver
from opsctl.isolation.nftables_scripts import CUT, LOOK, SNAPSHOT
from opsctl.model import nft_rules
from opsctl.model.isolation import Cut, Facts, Order, Stand, Standing
from opsctl.shells.interface import Result, Shell

_SECONDS = 20.0


class Nftables(Driver):
    """``connect`` makes a shell on a connection of its own each time; ``sudo``: root's programs are called through it."""

    name = "nftables"
    enforced = "host"

    def __init__(self, host: str, *, connect: Callable[[], Shell], sudo: bool = False) -> None:
        self.host = host
        self.connect = connect
        self.sudo = sudo
        self._shell: Shell | None = None
        self._loaded = False

    def observe(self) -> Stand:
        found = _sections(self._script(LOOK, _SECONDS).stdout)
        facts = _facts(found)
        tables = json.loads(found["tables"] or "{}").get("nftables", [])
        mine = {one["table"]["family"]: one["table"] for one in tables if one.get("table", {}).get("name") == nft_rules.TABLE}
        text = found["rules"]
        if not mine:
            return Stand("open", facts=facts, persisted=_persisted(found), raw=text)
        standing, left = _standing(found["sets"], set(mine))
        # From the text: nft leaves comments of tables out of its JSON (1.0.6).
        comments = re.findall(r'^\tcomment "(.*)"$', text, re.MULTILINE)
        said = next((known for one in comments if (known := nft_rules.read_comment(one))), None)
        return Stand(
            standing, left=left, partial=tuple(_partial(set(mine), found, facts)), digest=said[0] if said else None,
            mark=said[1] if said else None, seal=_seal(text), persisted=_persisted(found), facts=facts, raw=text,
            connections=_counted(found["connections"]),
        )

    def load(self, order: Order, stand: Stand) -> None:
        result = self._nft(nft_rules.load(order, stand.facts), accept=None)
        if result.code and stand.facts.devices:
            # Older kernels have no egress for devices: better half of it than nothing, and ``observe`` says so.
            first = result
            result = self._nft(nft_rules.load(order, stand.facts, ("inet",)), accept=None)
            if result.code:
                result = first
        if result.code:
            raise ProgramFailed(f"nft on {self.host} refuses the rules: {result.errors.strip()[:300]}", where=self.host,
                                hint="nothing was loaded there; is nft 0.9.7 or newer installed, and does it run as root?")
        self._loaded = True

    def confirm(self) -> None:
        self._arm(None)

    def extend(self, seconds: float) -> None:
        self._arm(seconds)

    def snapshot(self) -> bytes:
        return self._script(SNAPSHOT, 5.0, accept=None).stdout

    def cut(self, order: Order) -> Cut:
        found = _sections(self._script(CUT, _SECONDS).stdout)
        return Cut(_counted(found["before"]) or 0, _counted(found["after"]) or 0, tuple(found["notes"].splitlines()))

    def release(self) -> None:
        self._nft(nft_rules.release())

    def close(self) -> None:
        connection = getattr(self._shell, "connection", None)
        if connection is not None:
            connection.close()
        self._shell = None

    def _arm(self, seconds: float | None) -> None:
        if self._loaded:  # an old session proves nothing: whether a new one can be made is the question
            self.close()
            self._loaded = False
        families = self._families()
        result = self._nft(nft_rules.arm(seconds, families), accept=None) if families else None
        if result is None or result.code:
            raise NotConverged(f"the isolation of {self.host} had lifted itself before it was confirmed", where=self.host,
                               hint="it is open again; isolate it once more, with more time: --confirm-within 5m")

    def _families(self) -> Sequence[str]:
        tables = json.loads(self._run(["nft", "-j", "list", "tables"]).stdout or b"{}").get("nftables", [])
        return [one["table"]["family"] for one in tables if one.get("table", {}).get("name") == nft_rules.TABLE]

    @property
    def shell(self) -> Shell:
        if self._shell is None:
            self._shell = self.connect()
        return self._shell

    def _nft(self, text: str, accept: Any = (0,)) -> Result:
        return self._run(["nft", "-f", "-"], stdin=text.encode(), accept=accept)

    def _run(self, argv: Sequence[str], **more: Any) -> Result:
        return self.shell.run(argv, timeout=_SECONDS, **more)

    def _script(self, script: str, seconds: float, accept: Any = (0,)) -> Result:
        """A script as the account itself, which calls what needs root by ``$S``."""
        plain = getattr(self.shell, "plain", None)
        shell: Shell = plain() if plain else self.shell
        return shell.run(["sh", "-c", script, "sh"], env={"S": "sudo -n --" if self.sudo else ""}, timeout=seconds, accept=accept)


def _sections(output: bytes) -> Mapping[str, str]:
    """What the scripts print: ``== NAME`` and then its lines."""
    found: dict[str, str] = {}
    for part in re.split(r"^== ", output.decode("utf-8", "replace"), flags=re.MULTILINE)[1:]:
        name, _, text = part.partition("\n")
        found[name.strip()] = text
    return found


def _facts(found: Mapping[str, str]) -> Facts:
    serves = sorted({int(port) for port in re.findall(r":([0-9]+)$", found["serves"], re.MULTILINE)})
    return Facts(addresses=tuple(found["addresses"].split()), inner=tuple(found["inner"].split()),
                 devices=tuple(found["devices"].split()), serves=tuple(serves), manager=found["manager"].strip() or None,
                 namespaces=len(found["namespaces"].split()) or 1,
                 versions={"nft": found["nft"].strip(), "kernel": found["kernel"].strip()})


def _standing(text: str, families: set[str]) -> tuple[Standing, float | None]:
    """By the elements that are there: permanent, for a time, or gone, which lifts."""
    left: list[float | None] = []
    for document in text.splitlines():
        for one in json.loads(document).get("nftables", []):
            for element in one.get("set", {}).get("elem", []):
                timed = element.get("elem", {}) if isinstance(element, dict) else {}
                left.append(timed.get("expires") if "timeout" in timed else None)
    if not left or "inet" not in families:
        return "lifted", None
    seconds = [one for one in left if one is not None]
    return ("armed", min(seconds)) if seconds else ("isolated", None)


def _partial(families: set[str], found: Mapping[str, str], facts: Facts) -> list[str]:
    missing = [device for device in facts.devices if f'"{device}"' not in found["hooks"]]
    if "netdev" not in families:
        return ["no rules on the network ports themselves: raw frames, DHCP and children of a port (macvlan) pass"]
    return [f"no rules on {device}, which is new" for device in missing]


def _seal(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _counted(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _persisted(found: Mapping[str, str]) -> bool:
    return found["persisted"].strip() == "yes"
