"""A machine that cuts others off: the one that forwards for them, or the one of the backup store.

All hosts behind it share one object, from as many threads as there are hosts: what they ask within a moment is one command
there, and one transaction.
"""

from __future__ import annotations

import functools
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from opsctl.errors import NotConverged, OpsError, ProgramFailed, SafetyRefusal
from opsctl.isolation.gateway_scripts import END, FIND, FLOWS, LOAD, LOOK, TABLE
from opsctl.isolation.together import Together
from opsctl.model import nft_gateway
from opsctl.model.flows import Among, Flow, flows, others
from opsctl.model.isolation import Cut, Facts
from opsctl.model.nft_gate import Gate, read
from opsctl.model.nft_gateway import Member, Wish, member
from opsctl.model.values import value
from opsctl.shells.interface import Result, Shell

_SECONDS = 20.0
_SNAPSHOT_SECONDS = 5.0
_SOCKETS = 30  # at once in one filter of ss
Own = tuple[Member, ...]


@value
class Look:
    """What was seen there about one host. ``members``: all that it is known by, the configured ones first.

    ``shared``: others have its hardware address, so that its further addresses are not known. ``flows`` are its
    connections, ``old`` those of them that nothing lets through; None where there is no way to tell.
    """

    gate: Gate
    facts: Facts
    members: Own
    shared: bool
    forwards6: bool
    flowtables: tuple[str, ...]
    addresses: tuple[str, ...]
    flows: tuple[Flow, ...]
    old: tuple[Flow, ...] | None


class Forwarder:
    """``connect`` makes a shell on a connection of its own each time, which runs as root; ``table`` is what we call ours there."""

    def __init__(self, name: str, *, connect: Callable[[], Shell], table: str = nft_gateway.GATE) -> None:
        self.name = name
        self.connect = connect
        self.table = table
        self._shell: Shell | None = None
        self._loaded = False
        self._searched: set[str] = set()
        turn = threading.Lock()
        self.look: Together[Own, Look] = Together(self._look, turn)
        self.snapshot: Together[Own, Look] = Together(functools.partial(self._look, seconds=_SNAPSHOT_SECONDS), turn)
        self.load: Together[tuple[str, Wish, Look], None] = Together(self._load, turn, halves=True)
        self.arm: Together[tuple[str, Own, float | None], None] = Together(self._arm, turn, halves=True)
        self.cut: Together[Own, Cut] = Together(self._cut, turn)
        self.release: Together[Own, None] = Together(self._release, turn, halves=True)

    def _look(self, owns: Sequence[Own], seconds: float = _SECONDS) -> list[Look]:
        found = sections(self._script(LOOK, seconds, self.table).stdout)
        gate = read(found["table"], bool(found["dormant"].strip()))
        manager = found["manager"].strip() or None
        hardware = self._hardware(owns, found["neighbours"], seconds)
        versions = {"nft": found["nft"].strip(), "kernel": found["kernel"].strip()}
        every = [members_of(own, hardware) for own in owns]
        tracker, lines = self._flows([each for known, _ in every for each in known], seconds)
        by_host = _by_host(lines)
        looks = []
        for known, shared in every:
            addresses = tuple(str(each) for each in known if each.kind in ("4", "6"))
            mine = tuple(flows(_lines_of(known, by_host, lines), known))
            looks.append(Look(
                gate, Facts(addresses=addresses, manager=manager, versions=versions), known, shared,
                found["forwards6"].strip() == "1", tuple(found["flowtables"].split()), tuple(found["addresses"].split()), mine,
                tuple(others(mine, gate)) if tracker or mine or self.table == nft_gateway.DOOR else None))  # what comes to it is its own
        return looks

    def _hardware(self, owns: Sequence[Own], neighbours: str, seconds: float) -> Mapping[str, str]:
        """The hardware address of each neighbour; hosts that were not asked for lately are found first, once each."""
        known = dict(line.split() for line in neighbours.splitlines())
        lost = {each.text for own in owns for each in own if each.kind in ("4", "6") and each.text not in known} - self._searched
        if lost:
            self._searched |= lost
            said = self._script(FIND, seconds, stdin="".join(f"{each}\n" for each in sorted(lost)).encode()).stdout
            known = dict(line.split() for line in sections(said)["neighbours"].splitlines())
        return known

    def _load(self, asked: Sequence[tuple[str, Wish, Look]]) -> list[OpsError | None]:
        answers: list[OpsError | None] = [_refusal(self.name, host, wish, look) for host, wish, look in asked]
        wishes = [wish for (_, wish, _), refused in zip(asked, answers, strict=True) if refused is None]
        if wishes:
            result = self._nft(nft_gateway.load(self._gate(), wishes, self.table), accept=None)
            if result.code and "File exists" in result.errors:  # somebody else has made the table meanwhile
                result = self._nft(nft_gateway.load(self._gate(), wishes, self.table), accept=None)
            if result.code:
                raise ProgramFailed(f"nft on {self.name} refuses the rules: {result.errors.strip()[:300]}", where=self.name,
                                    hint="nothing was loaded there; is nft 1.0 or newer installed, and does it run as root?")
            self._loaded = True
        return answers

    def _arm(self, asked: Sequence[tuple[str, Own, float | None]]) -> list[OpsError | None]:
        if self._loaded:  # an old session proves nothing: whether a new one can be made is the question
            self._close()
            self._loaded = False
        gate = self._gate()
        answers: list[OpsError | None] = []
        wishes = []
        for host, own, seconds in asked:
            members = gate.of(own)
            if members and all(each in gate.held for each in members):
                answers.append(None)
                wishes.append((own, seconds))
            else:
                answers.append(_lifted(host, self.name))
        if wishes:
            result = self._nft(nft_gateway.arm(gate, wishes, self.table), accept=None)
            if result.code and len(asked) == 1:
                return [_lifted(asked[0][0], self.name)]
            if result.code:
                raise ProgramFailed(f"nft on {self.name}: {result.errors.strip()[:300]}", where=self.name)
        return answers

    def _cut(self, owns: Sequence[Own]) -> list[Cut]:
        before = self._look(owns)
        lines = [line for each in before for line in _ends(each)]
        if lines:
            self._script(END, _SECONDS + len(lines) * 0.1, stdin="".join(f"{line}\n" for line in lines).encode())
        after = self._look(owns) if lines else before
        return [_cut(was, now, self.name) for was, now in zip(before, after, strict=True)]

    def _release(self, owns: Sequence[Own]) -> list[None]:
        text = nft_gateway.release(self._gate(), owns, self.table)
        if text:
            self._nft(text)
        return [None] * len(owns)

    def close(self) -> None:
        """Let go of the connection; the next call makes a new one. Never while somebody else uses it."""
        with self.look.turn:
            self._close()

    def _close(self) -> None:
        connection = getattr(self._shell, "connection", None)
        if connection is not None:
            connection.close()
        self._shell = None

    def gate(self) -> Gate:
        """All that stands there, of whomever."""
        with self.look.turn:
            return self._gate()

    def _gate(self) -> Gate:
        found = sections(self._script(TABLE, _SECONDS, self.table).stdout)
        return read(found["table"], bool(found["dormant"].strip()))

    def _flows(self, members: Sequence[Member], seconds: float) -> tuple[bool, list[str]]:
        """Whether connections are tracked there, and the lines of those that these are part of."""
        wanted = ["*"] if any(each.kind.startswith("net") for each in members) else [str(each) for each in members]
        found = sections(self._script(FLOWS, seconds, stdin="".join(f"{each}\n" for each in wanted).encode()).stdout)
        return bool(found["tracker"].strip()), found["flows"].splitlines()

    @property
    def shell(self) -> Shell:
        if self._shell is None:
            self._shell = self.connect()
        return self._shell

    def _nft(self, text: str, accept: Collection[int] | None = (0,)) -> Result:
        return self._script(LOAD, _SECONDS, stdin=text.encode(), accept=accept)

    def _script(self, script: str, seconds: float, *words: str, stdin: bytes | None = None,
                accept: Collection[int] | None = (0,)) -> Result:
        return self.shell.run(["sh", "-c", script, "sh", *words], timeout=seconds, stdin=stdin, accept=accept)


def sections(output: bytes) -> Mapping[str, str]:
    """What the scripts print: ``== NAME`` and then its lines."""
    found: dict[str, str] = {}
    for part in re.split(r"^== ", output.decode("utf-8", "replace"), flags=re.MULTILINE)[1:]:
        name, _, text = part.partition("\n")
        found[name.strip()] = text
    return found


def members_of(own: Own, hardware: Mapping[str, str]) -> tuple[Own, bool]:
    """All that a host is known by, and whether others share its hardware address, so that nothing follows from it.

    A hardware address with a second IPv4 address is that of several hosts, or of a router before them.
    """
    macs = {hardware[each.text] for each in own if each.text in hardware}
    more: list[Member] = []
    for mac in sorted(macs):
        found = [member(address) for address, its in hardware.items() if its == mac and not address.startswith("fe80")]
        if sum(each.kind == "4" for each in {*found, *own}) > max(1, sum(each.kind == "4" for each in own)):
            return own, True
        more += [*sorted((each for each in found if each not in own), key=str), Member("mac", mac)]
    return (*own, *more), False


def _refusal(gateway: str, host: str, wish: Wish, look: Look) -> SafetyRefusal | None:
    """What must not be cut off: the machine itself that does it, and where we are connected from."""
    ours = {**dict.fromkeys(look.addresses, f"an address of {gateway} itself"),
            **({look.facts.manager: "where opsctl is connected from"} if look.facts.manager else {})}
    for each in wish.members:
        inside = Among([each])
        for text, what in ours.items():
            if text in inside:
                return SafetyRefusal(f"{host} is not cut off at {gateway}: {each} is {what}", where=host,
                                     hint=f"is the address of {host} right in the configuration?")
    return None


def _lifted(host: str, gateway: str) -> NotConverged:
    return NotConverged(f"the isolation of {host} at {gateway} had lifted itself before it was confirmed", where=host,
                        hint="it is open again; isolate it once more, with more time: --confirm-within 5m")


def _by_host(lines: Sequence[str]) -> Mapping[str, list[str]]:
    """The lines of each address that is named in them, so that four hundred hosts are not four hundred passes."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        named = re.findall(r"src=(\S+)", line) if not line.startswith("socket ") else [_bare(line.split()[2])]
        for address in dict.fromkeys(named):
            found[address].append(line)
    return found


def _bare(place: str) -> str:
    return place.rpartition(":")[0].strip("[]").partition("%")[0].removeprefix("::ffff:")


def _lines_of(members: Own, by_host: Mapping[str, list[str]], every: Sequence[str]) -> Sequence[str]:
    if any(each.kind.startswith("net") for each in members):
        return every
    return list(dict.fromkeys(line for each in members for line in by_host.get(each.text, ())))


def _ends(look: Look) -> list[str]:
    """The commands that end the old connections of a host, one line each."""
    old = look.old or ()
    lines = []
    tracked = [flow for flow in old if not flow.local]
    if tracked and len(tracked) == sum(not flow.local for flow in look.flows):  # nothing is to stay: all at once
        for each in look.members:
            if each.kind != "mac":
                lines += [f"tracked -s {each}", f"tracked -d {each}"]
        tracked = [flow for flow in tracked if flow.turned]
    lines += [f"tracked {' '.join(flow.end)}" for flow in tracked]
    local = [f"( {' and '.join(flow.end)} )" for flow in old if flow.local]
    lines += [f"socket {' or '.join(local[at:at + _SOCKETS])}" for at in range(0, len(local), _SOCKETS)]
    return lines


def _cut(was: Look, now: Look, gateway: str) -> Cut:
    notes = () if was.old is not None else (f"{gateway} does not track connections (is conntrack installed there?), so nobody counts them, "
                                            "and idle ones may outlast the release",)
    return Cut(None if was.old is None else len(was.old), None if now.old is None else len(now.old), notes)
