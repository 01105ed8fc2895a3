"""Tries from here, from a witness and from the host itself whether a host that is cut off still reaches or can be reached.

Only TCP, only to hosts and ports that are configured or that a host serves itself, each call with an end.
"""

from __future__ import annotations

import contextlib
import resource
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from opsctl.errors import Interrupted, OpsError, ProgramFailed, Unreachable
from opsctl.isolation import dial
from opsctl.isolation.probe_scripts import BASH, CHOOSE
from opsctl.model.isolation import Facts, Order, Stand
from opsctl.model.probes import Endpoint, Look, Matrix, Outcome, Place, Probe, judge, outer, ports, reachable
from opsctl.model.values import value
from opsctl.shells.interface import Session, Shell
from opsctl.shells.local import last_words

WITHIN = 1.5
"""Seconds that a call may take. The kernel repeats a first packet that was lost after one second."""

_ROUNDS = 4  # at once; sshd allows ten commands on a connection
_PATIENCE = 20.0  # seconds for what runs elsewhere, beside the calls themselves
_WAVE = 64  # calls of bash at once
_FEWEST, _MOST = 32, 2000  # calls from here at once, of which each is an open file
_REMEMBERED = 60.0  # seconds for which a witness that did not answer is not asked again
_OUTCOMES: tuple[Outcome, ...] = ("open", "refused", "silent", "barred", "cannot")


@value
class Answer:
    """How one call ended; ``source`` and ``why`` as in a probe. ``direct``: no router stood between."""

    outcome: Outcome
    source: str = ""
    why: str = ""
    direct: bool = False


class Desk:
    """Gathers the calls of many hosts into few rounds: 412 hosts ask at the same time."""

    def __init__(self, carry_out: Callable[[Sequence[Endpoint]], Sequence[Answer]]) -> None:
        self._carry_out = carry_out
        self._asked: list[tuple[Sequence[Endpoint], Future[Sequence[Answer]]]] = []
        self._guard = threading.Lock()
        self._rounds: ThreadPoolExecutor | None = None

    def ask(self, targets: Sequence[Endpoint]) -> Future[Sequence[Answer]]:
        """The answers, in their order, as soon as the round that they are in is over."""
        answers: Future[Sequence[Answer]] = Future()
        with self._guard:
            self._asked.append((targets, answers))
            if self._rounds is None:
                self._rounds = ThreadPoolExecutor(_ROUNDS, "probes")
            self._rounds.submit(self._round)
        return answers

    def _round(self) -> None:
        with self._guard:
            asked, self._asked = self._asked, []
        if not asked:  # another round took them along
            return
        every = list(dict.fromkeys(one for targets, _ in asked for one in targets))
        try:
            known = dict(zip(every, self._carry_out(every), strict=True))
        except BaseException as error:
            for _, answers in asked:
                answers.set_exception(error)
            return
        for targets, answers in asked:
            answers.set_result([known[one] for one in targets])


@value
class Ways:
    """What a machine's ``ip`` knows: its own addresses, the next router to each address (empty: none), and who is not there."""

    own: Sequence[str]
    next_hop: Mapping[str, str]
    gone: Collection[str]

    def applied(self, name: str, targets: Sequence[Endpoint], answers: Sequence[Answer]) -> Sequence[Answer]:
        """The answers with what they are worth: without a router nothing has left the caller."""
        return [self._applied(name, one.address, answer) for one, answer in zip(targets, answers, strict=True)]

    def _applied(self, name: str, address: str, answer: Answer) -> Answer:
        if address in self.own:
            return replace(answer, outcome="cannot", why=f"it is an address of {name}, too")
        if answer.outcome in ("silent", "barred") and self.next_hop.get(address) in self.gone:
            return replace(answer, outcome="cannot", why="the router on the way does not answer")
        return replace(answer, direct=self.next_hop.get(address) == "")


def ways(text: str) -> Ways:
    """From what ``ip -o -batch`` prints for ``addr show``, ``route get …``, ``neigh show``."""
    own, next_hop, gone = [], {}, set()
    for line in text.splitlines():
        words = line.split()
        if len(words) > 3 and words[2] in ("inet", "inet6"):
            own.append(words[3].partition("/")[0])
        elif words and words[-1] in ("FAILED", "INCOMPLETE"):
            gone.add(words[0])
        elif words and words[0] != "local":
            _, _, routers = line.partition(" via ")
            next_hop[words[0]] = routers.removeprefix("inet6 ").split()[0] if routers else ""
    return Ways(reachable(own), next_hop, gone)


def from_here(shell: Shell, targets: Sequence[Endpoint]) -> Sequence[Answer]:
    """Calls from this machine, whose ``shell`` tells its ways."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = dial.dial([(one.address, one.port) for one in targets], WITHIN, max(_FEWEST, min(soft // (2 * _ROUNDS), _MOST)))
    asked = ["addr show", *(f"route get {address}" for address in dict.fromkeys(one.address for one in targets)),
             "neigh show nud incomplete nud failed"]
    known = ""
    with contextlib.suppress(ProgramFailed, Unreachable):
        known = shell.run(["ip", "-o", "-force", "-batch", "-"], stdin="\n".join(asked).encode(), accept=None, timeout=_PATIENCE).text
    return ways(known).applied("this machine", targets, [_answer(*each) for each in found])


class Elsewhere:
    """Calls from another machine, with what is there: python3, bash, or nothing."""

    def __init__(self, shell: Shell, targets: Sequence[Endpoint]) -> None:
        self.targets = targets
        self.name = shell.name
        plain = getattr(shell, "plain", None)
        there: Shell = plain() if plain else shell
        self._session: Session = there.open(["sh", "-c", CHOOSE, "sh", Path(dial.__file__).read_text(), BASH, str(WITHIN)])
        with contextlib.suppress(OSError):  # whatever hindered it, `read` says
            self._session.stdin.write("".join(f"{one.address} {one.port}\n" for one in targets).encode())
            self._session.stdin.close()

    def read(self) -> tuple[Sequence[Answer], Sequence[str], str | None]:
        """The answers, the machine's own addresses, and from where it sees us.

        Raises what shells raise, and ProgramFailed where there is no tool or it did not come to its end: what was not
        said to be silent is not taken for it.
        """
        result = self._session.close(_PATIENCE + WITHIN * (1 + len(self.targets) // _WAVE))
        said, there, more = result.text.partition("from ")
        answers: dict[int, Answer] = {}
        for words in (line.split() for line in said.splitlines()):
            if words == ["no", "tool"]:
                raise ProgramFailed(f"{self.name} has no tool to try with: neither python3 nor bash", where=self.name)
            if len(words) == 4 and words[0].isdigit() and words[1] in _OUTCOMES:
                answers[int(words[0])] = _answer(*(word.strip("-") for word in words[1:]))
        first, _, rest = more.partition("\n")
        if not there or not rest.endswith("end\n") or sorted(answers) != list(range(len(self.targets))):
            raise ProgramFailed(f"what was to try from {self.name} broke off: {last_words(result.stderr, result.stdout)}",
                                where=self.name)
        known = ways(rest.removesuffix("end\n"))
        told = known.applied(self.name, self.targets, [answers[number] for number in range(len(self.targets))])
        return told, known.own, next(iter(first.split()), None)


class Witness:
    """A host that is not cut off, from which others are tried; ``outside``: what it should reach, as a check on itself."""

    def __init__(self, name: str, connect: Callable[[], Shell], port: int, outside: Sequence[Endpoint]) -> None:
        self.name = name
        self.port = port
        self.outside = tuple(outside)
        self.desk = Desk(self._round)
        self._connect = connect
        self._guard = threading.Lock()
        self._known: tuple[Sequence[str], Sequence[Endpoint]] | None = None
        self._failed: tuple[float, OpsError] | None = None

    def addresses(self) -> Sequence[str]:
        """Its own addresses that others can reach. Raises what shells raise, and at once where it just failed."""
        return self._look()[0]

    def _look(self) -> tuple[Sequence[str], Sequence[Endpoint]]:
        """Its addresses, and what it should reach."""
        with self._guard:
            if self._known is None:
                if self._failed and time.monotonic() < self._failed[0] + _REMEMBERED:
                    raise self._failed[1]
                try:
                    _, own, seen = Elsewhere(self._connect(), ()).read()
                except Interrupted:
                    raise
                except OpsError as error:
                    self._failed = time.monotonic(), error
                    raise
                self._known = own, (*self.outside, *([Endpoint(seen, 22)] if seen else []))
            return self._known

    def _round(self, targets: Sequence[Endpoint]) -> Sequence[Answer]:
        controls = self._look()[1]
        answers, _, _ = Elsewhere(self._connect(), [*targets, *controls]).read()
        # A witness that reaches nothing at all, because it is cut off as well, would find everything silent.
        deaf = {version for version in (4, 6)
                if (heard := [answer.outcome for one, answer in zip(controls, answers[len(targets):], strict=True)
                              if one.version == version]) and not {"open", "refused"} & set(heard)}
        return [replace(answer, outcome="cannot", why=f"{self.name} reaches nothing over IPv{one.version}, not even what it should")
                if answer.outcome == "silent" and one.version in deaf else answer
                for one, answer in zip(targets, answers, strict=False)]


class Prober:
    """The probes of one host. ``enter`` gives a shell on it, None where it is not entered; ``here`` and ``witness`` are shared.

    ``addresses`` are those that we know it by; ``ports`` and ``outside`` are those of the configuration. ``gateway`` is the host
    that cuts it off where it does not do so itself: what does not pass there proves nothing. ``knock``: enter only where it
    answers, since waiting for one that does not holds everything up.
    """

    def __init__(
        self, host: str, *, addresses: Sequence[str], enter: Callable[[], Shell | None], here: Desk, witness: Witness | None,
        ports: Sequence[int] = (), outside: Sequence[Endpoint] = (), gateway: str | None = None,
        knock: bool = False,
    ) -> None:
        self.host = host
        self.addresses = tuple(addresses)
        self.enter = enter
        self.here = here
        self.witness = witness
        self.ports = tuple(ports)
        self.outside = tuple(outside)
        self.gateway = gateway
        self.knock = knock

    def probe(
        self, order: Order, stand: Stand, *, before: int | None = None, after: int | None = None, earlier: Look | None = None
    ) -> Matrix:
        """Look, and judge by what was ordered and how the host stands; the rest as ``judge`` takes it.

        Raises nothing but Interrupted: what could not be tried is in the matrix. Takes about two seconds.
        """
        return judge(self.host, self.look(stand.facts, order.port), order, stand, before=before, after=after, earlier=earlier)

    def look(self, facts: Facts, port: int = 22) -> Look:
        """Everything that can be tried, at once. Before a host is cut off, it shows what silence afterwards is worth."""
        addresses = list(dict.fromkeys([*self.addresses, *outer(facts)]))
        tried, left_out = ports([port, *self.ports], facts.serves)
        targets = [Endpoint(address, one) for address in addresses for one in tried]
        trouble: dict[Place, str] = {}
        here = self.here.ask(targets)
        witness = self.witness.desk.ask(targets) if self.witness else None
        doors = zip(targets, here.result(), strict=True) if self.knock else ()
        if self.knock and not any(one.port == port and answer.outcome == "open" for one, answer in doors):
            trouble["out"] = f"nothing was tried from it: it does not let this machine in on port {port}"
        out = None if trouble else self._out(facts, addresses, trouble)
        probes = [*self._probes("here", targets, here.result())]
        sources: Sequence[str] = ()
        if self.witness and witness:
            try:
                probes += self._probes("witness", targets, witness.result())
                sources = self.witness.addresses()
            except Interrupted:
                raise
            except OpsError as error:
                trouble["witness"] = f"the witness {self.witness.name} could not look: {error.message}"
        if out is not None:
            try:
                probes += self._probes("out", out.targets, out.read()[0])
            except Interrupted:
                raise
            except OpsError as error:
                trouble["out"] = f"nothing was tried from it: {error.message}"
        return Look(tuple(probes), witness=self.witness.name if self.witness else None, trouble=trouble,
                    entered=out is not None and "out" not in trouble, sources=tuple(sources), left_out=left_out)

    def _out(self, facts: Facts, own: Sequence[str], trouble: dict[Place, str]) -> Elsewhere | None:
        """Calls from the host that have begun; None, and why, where there are none."""
        targets = [*self.outside, *([Endpoint(facts.manager, 22)] if facts.manager else [])]
        try:
            shell = self.enter()
            if shell is None:
                trouble["out"] = "nothing was tried from it, for it is not entered"
                return None
            with contextlib.suppress(OpsError):
                if self.witness:
                    targets += [Endpoint(address, self.witness.port) for address in self.witness.addresses()]
            targets = [one for one in dict.fromkeys(targets) if one.address not in own]
            if not targets:
                trouble["out"] = "nothing was tried from it: isolation: outside: names nothing"
                return None
            return Elsewhere(shell, targets)
        except Interrupted:
            raise
        except OpsError as error:
            trouble["out"] = f"nothing was tried from it: {error.message}"
            return None

    def _probes(self, place: Place, targets: Sequence[Endpoint], answers: Sequence[Answer]) -> Iterator[Probe]:
        for one, answer in zip(targets, answers, strict=True):
            if self.gateway and answer.direct:
                yield Probe(place, one, "cannot", answer.source, f"what is on its own segment does not pass {self.gateway}")
            else:
                yield Probe(place, one, answer.outcome, answer.source, answer.why)


def _answer(outcome: str, source: str, why: str) -> Answer:
    """What ``dial`` or the bash script said, in words for people."""
    known: Outcome = next(one for one in _OUTCOMES if one == outcome)
    meant = {"ENETUNREACH": "there is no way to it", "EADDRNOTAVAIL": "there is no address to call from",
             "EHOSTUNREACH": "there is no way to it", "EINVAL": "there is no way to it", "EACCES": "it is prohibited", "EPERM": "a rule of the caller's own forbids it",
             "busy": "the machine was too busy to try"}
    return Answer(known, source if source not in ("0.0.0.0", "::") else "", meant.get(why, why))
