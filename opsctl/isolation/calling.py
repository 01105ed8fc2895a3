"""Calls from this machine and from others, those of many hosts gathered into few rounds."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field, replace
from typing import Generic, TypeVar

from opsctl.errors import ProgramFailed, Unreachable
from opsctl.isolation import dial
from opsctl.isolation.probe_scripts import CALLS, trying
from opsctl.model.probes import Endpoint, Outcome, reachable
from opsctl.model.values import value
from opsctl.shells.interface import Answering, Shell
from opsctl.shells.local import last_words

WITHIN = 1.5
"""Seconds that a call may take. The kernel repeats a first packet that was lost after one second."""

_ROUNDS = 4  # at once; sshd allows ten commands on a connection
_WAVE = 250  # calls of bash at once
_FEWEST, _MOST = 32, 2000  # calls from here at once, of which each is an open file
_PATIENCE = 20.0  # seconds for what runs elsewhere, beside the calls themselves
_OUTCOMES: tuple[Outcome, ...] = ("open", "refused", "silent", "barred", "cannot")
_NOWHERE = {4: "198.51.100.1", 6: "2001:db8::1"}  # documentation's, so the way there is the way to all that nobody knows; nothing is sent

_Asked = TypeVar("_Asked")
_Told = TypeVar("_Told")


@value
class Way:
    """How an address is reached from a machine: its device, the next router (empty: none), the hardware address that answered for it
    (empty: not known). ``own``: it is one of the machine's. ``default``: as everything that the machine has no route of its own to.
    """

    device: str
    router: str = ""
    hardware: str = ""
    own: bool = False
    default: bool = False


@value
class Answer:
    """How one call ended; ``source`` and ``why`` as in a probe. ``direct``: no router stood between. ``way``: None where nobody knows."""

    outcome: Outcome
    source: str = ""
    why: str = ""
    direct: bool = False
    way: Way | None = None


class Desk(Generic[_Asked, _Told]):
    """Gathers what is asked for many hosts (calls, ways) into few rounds: 412 hosts ask at the same time.

    ``apart``: seconds between the beginnings of two rounds; the first does not wait.
    """

    def __init__(self, carry_out: Callable[[Sequence[_Asked]], Sequence[_Told]], *, apart: float = 0.0) -> None:
        self._carry_out = carry_out
        self._apart = apart
        self._next = 0.0
        self._asked: list[tuple[Sequence[_Asked], Future[Sequence[_Told]]]] = []
        self._guard = threading.Lock()
        self._rounds: ThreadPoolExecutor | None = None

    def ask(self, targets: Sequence[_Asked]) -> Future[Sequence[_Told]]:
        """The answers, in their order, as soon as the round that they are in is over."""
        answers: Future[Sequence[_Told]] = Future()
        with self._guard:
            self._asked.append((targets, answers))
            if self._rounds is None:
                self._rounds = ThreadPoolExecutor(_ROUNDS, "probes")
            self._rounds.submit(self._round)
        return answers

    def _round(self) -> None:
        if (early := self._next - time.monotonic()) > 0:
            time.sleep(early)
        with self._guard:
            asked, self._asked = self._asked, []
            if not asked:  # another round took them along
                return
            self._next = time.monotonic() + self._apart
        every = list(dict.fromkeys(one for targets, _ in asked for one in targets))
        try:
            known = dict(zip(every, self._carry_out(every), strict=True))
        except BaseException as error:
            for _, answers in asked:
                answers.set_exception(error)
            return
        for targets, answers in asked:
            answers.set_result([known[one] for one in targets])


def calls_from(address: str) -> str | None:
    """Our own address that a call to this one would come from; None where there is no way. Sends nothing."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect((address, 9))
        return str(one.getsockname()[0])
    return None


@value
class Ways:
    """What a machine's ``ip`` knows: its own addresses and their devices, device and next router (empty: none) to each address,
    who is not there, and the hardware addresses of its neighbours.
    """

    own: Mapping[str, str]
    next_hop: Mapping[str, tuple[str, str]]
    gone: Collection[str]
    hardware: Mapping[str, str] = field(default_factory=dict)

    def way(self, address: str) -> Way | None:
        """How it is reached; None where there is no way, or nobody said."""
        if address in self.own:
            return Way(self.own[address], own=True)
        if address not in self.next_hop:
            return None
        device, router = self.next_hop[address]
        default = bool(router) and (device, router) == self.next_hop.get(_NOWHERE[6 if ":" in address else 4])
        return Way(device, router, self.hardware.get(address, ""), default=default)

    def beside(self, known: Collection[str]) -> Sequence[str]:
        """Its further addresses on the devices of those that are known."""
        devices = {device for address, device in self.own.items() if address in known}
        return [address for address, device in self.own.items() if device in devices and address not in known]

    def applied(self, name: str, targets: Sequence[Endpoint], answers: Sequence[Answer]) -> Sequence[Answer]:
        """The answers with what they are worth: without a router nothing has left the caller."""
        return [self._applied(name, one.address, answer) for one, answer in zip(targets, answers, strict=True)]

    def _applied(self, name: str, address: str, answer: Answer) -> Answer:
        if address in self.own:
            return replace(answer, outcome="cannot", why=f"it is an address of {name}, too")
        way = self.way(address)
        if answer.outcome in ("silent", "barred") and way is not None and way.router in self.gone:
            return replace(answer, outcome="cannot", why="the router on the way does not answer")
        return replace(answer, direct=way is not None and not way.router, way=way)


def ways(text: str) -> Ways:
    """From what ``ip -o -batch`` prints for ``addr show``, ``route get …``, ``neigh show``."""
    own: dict[str, str] = {}
    next_hop: dict[str, tuple[str, str]] = {}
    gone, hardware = set(), {}
    for line in text.splitlines():
        words = line.split()
        if len(words) > 3 and words[2] in ("inet", "inet6") and words[0].endswith(":"):
            own.update(dict.fromkeys(reachable([words[3].partition("/")[0]]), words[1]))
        elif words and words[-1] in ("FAILED", "INCOMPLETE"):
            gone.add(words[0])
        elif "lladdr" in words[3:-1]:
            hardware[words[0]] = words[words.index("lladdr") + 1]
        elif "dev" in words[1:-1] and words[0] != "local":
            _, _, routers = line.partition(" via ")
            next_hop.setdefault(words[0], (words[words.index("dev") + 1], routers.removeprefix("inet6 ").split()[0] if routers else ""))
    return Ways(own, next_hop, gone, hardware)


def ways_from_here(shell: Shell, addresses: Sequence[str]) -> Sequence[Way | None]:
    """How each is reached from this machine, but for the hardware address that answers. Sends nothing."""
    known = _told(shell, addresses)
    return [known.way(address) for address in addresses]


def _told(shell: Shell, addresses: Sequence[str], *, neighbours: bool = False) -> Ways:
    asked = "addr show\n" + "".join(f"route get {address}\n" for address in dict.fromkeys([*addresses, *_NOWHERE.values()]))
    asked += "neigh show\n" if neighbours else ""
    with contextlib.suppress(ProgramFailed, Unreachable):
        return ways(shell.run(["ip", "-o", "-force", "-batch", "-"], stdin=asked.encode(), accept=None, timeout=_PATIENCE).text)
    return ways("")


def from_here(shell: Shell, targets: Sequence[Endpoint]) -> Sequence[Answer]:
    """Calls from this machine, whose ``shell`` tells its ways."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = dial.dial([(one.address, one.port) for one in targets], WITHIN, max(_FEWEST, min(soft // (2 * _ROUNDS), _MOST)))
    return _told(shell, [one.address for one in targets], neighbours=True).applied("this machine", targets, [_answer(*each) for each in found])


class Elsewhere:
    """Calls from another machine, with the first of ``tools`` that is there. ``neighbours``: it says as well who answered for each of its segment."""

    def __init__(
        self, name: str, asked: Answering, targets: Sequence[Endpoint], tools: Sequence[str] = ("python3", "bash"), neighbours: bool = False
    ) -> None:
        self.name = name
        self.asked = asked
        self.targets = targets
        self.tools = tools
        self.neighbours = neighbours

    @classmethod
    def through(cls, shell: Shell, targets: Sequence[Endpoint]) -> Elsewhere:
        """On a machine that nobody asks anything else, as the account itself."""
        plain = getattr(shell, "plain", None)
        return cls(shell.name, (plain() if plain else shell).answering(CALLS), targets, neighbours=True)

    def read(self) -> tuple[Sequence[Answer], Ways, str | None]:
        """The answers, what the machine knows of itself, and from where it sees us; ``asked`` is closed then.

        Raises what shells raise, and ProgramFailed where there is no tool or it did not come to its end: what was not
        said to be silent is not taken for it.
        """
        patience = _PATIENCE + 2 * WITHIN * (1 + len(self.targets) // _WAVE)
        with contextlib.closing(self.asked):
            for tool in self.tools:
                result = self.asked.ask(trying(tool, self.targets, WITHIN, self.neighbours), patience)
                if b"no tool" not in result.stdout.splitlines():
                    break
            else:
                raise ProgramFailed(f"{self.name} has no tool to try with: neither python3 nor bash", where=self.name)
        said, there, more = result.text.partition("from ")
        answers: dict[int, Answer] = {}
        for words in (line.split() for line in said.splitlines()):
            if len(words) == 4 and words[0].isdigit() and words[1] in _OUTCOMES:
                answers[int(words[0])] = _answer(*(word.strip("-") for word in words[1:]))
        first, _, rest = more.partition("\n")
        if not there or not rest.endswith("end\n") or sorted(answers) != list(range(len(self.targets))):
            raise ProgramFailed(f"what was to try from {self.name} broke off: {last_words(result.stderr, result.stdout)}",
                                where=self.name)
        known = ways(rest.removesuffix("end\n"))
        told = known.applied(self.name, self.targets, [answers[number] for number in range(len(self.targets))])
        return told, known, next(iter(reachable(first.split()[:1])), None)


_MEANT = {
    "ENETUNREACH": "there is no way to it", "EHOSTUNREACH": "there is no way to it", "EINVAL": "there is no way to it",
    "EADDRNOTAVAIL": "there is no address to call from", "EACCES": "it is prohibited",
    "EPERM": "a rule of the caller's own forbids it", "busy": "the machine was too busy to try",
}


def _answer(outcome: str, source: str, why: str) -> Answer:
    """What ``dial`` or the bash script said, in words for people. Another machine may say anything."""
    known: Outcome = next(one for one in _OUTCOMES if one == outcome)
    return Answer(known, next(iter(reachable([source])), ""), _MEANT.get(why, why[:20] if why.isalnum() else ""))
