"""Tries from here, from a witness and from the host itself whether a host that is cut off still reaches or can be reached.

Only TCP, only to hosts and ports that are configured or that a host serves itself, each call with an end. Which of the addresses
that a host names are called as its own, and what an answer there is worth, is in ``whose``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace

from opsctl.errors import Interrupted, OpsError
from opsctl.isolation import whose
from opsctl.isolation.calling import Answer, Desk, Elsewhere, Way, calls_from
from opsctl.model.isolation import Facts, Order, Stand
from opsctl.model.probes import Endpoint, Look, Matrix, Place, Probe, judge, outer, ports, reachable
from opsctl.shells.interface import Answering, Shell

_Asked = tuple[Sequence[Endpoint], Future[Sequence[Answer]]]
_Met = dict[Place, dict[str, Way]]
_REMEMBERED = 60.0  # seconds for which a witness that did not answer is not asked again


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
                    _, known, seen = Elsewhere.through(self._connect(), ()).read()
                except Interrupted:
                    raise
                except OpsError as error:
                    self._failed = time.monotonic(), error
                    raise
                self._known = tuple(known.own), (*self.outside, *([Endpoint(seen, 22)] if seen else []))
            return self._known

    def _round(self, targets: Sequence[Endpoint]) -> Sequence[Answer]:
        controls = self._look()[1]
        answers, _, _ = Elsewhere.through(self._connect(), [*targets, *controls]).read()
        # A witness that reaches nothing at all, because it is cut off as well, would find everything silent.
        deaf = {version for version in (4, 6)
                if (heard := [answer.outcome for one, answer in zip(controls, answers[len(targets):], strict=True)
                              if one.version == version]) and not {"open", "refused"} & set(heard)}
        return [replace(answer, outcome="cannot", why=f"{self.name} reaches nothing over IPv{one.version}, not even what it should")
                if answer.outcome == "silent" and one.version in deaf else answer
                for one, answer in zip(targets, answers, strict=False)]


class Prober:
    """The probes of one host. ``enter`` gives a shell on it to ask, None where it is not entered; ``here`` and ``witness`` are shared.

    ``addresses`` are those that we know it by, the first the one that is called to log in; ``listed`` are addresses and prefixes that
    the configuration says are its own, ``others`` those of other hosts; ``ports`` and ``outside`` are those of the configuration.
    ``ways`` tells this machine's, ``shows_its_key`` whether it is the host's sshd that answers somewhere. ``gateway`` is the host
    that cuts it off where it does not do so itself: what does not pass there proves nothing. ``knock``: enter only where it
    answers, since waiting for one that does not holds everything up. ``way_in``: where the shell that ``enter`` gives is logged in;
    that its answer comes shows that it is open, without one more call, which costs a host half a login.
    """

    def __init__(
        self, host: str, *, addresses: Sequence[str], enter: Callable[[], Answering | None], here: Desk[Endpoint, Answer],
        ways: Desk[str, Way | None], witness: Witness | None, ports: Sequence[int] = (), outside: Sequence[Endpoint] = (),
        gateway: str | None = None, knock: bool = False, way_in: Endpoint | None = None, listed: Sequence[str] = (),
        others: Collection[str] = (), shows_its_key: Callable[[Endpoint], bool] = lambda place: False,
    ) -> None:
        self.host = host
        self.addresses = tuple(addresses)
        self.enter = enter
        self.here = here
        self.ways = ways
        self.witness = witness
        self.ports = tuple(ports)
        self.outside = tuple(outside)
        self.gateway = gateway
        self.knock = knock
        self.way_in = way_in
        self.listed = tuple(listed)
        self.others = others
        self.shows_its_key = shows_its_key

    def probe(
        self, order: Order, stand: Stand, *, before: int | None = None, after: int | None = None, earlier: Look | None = None
    ) -> Matrix:
        """Look, and judge by what was ordered and how the host stands; the rest as ``judge`` takes it.

        Raises nothing but Interrupted: what could not be tried is in the matrix. Takes about two seconds.
        """
        return judge(self.host, self.look(stand.facts, order.port), order, stand, before=before, after=after, earlier=earlier)

    def look(self, facts: Facts, port: int = 22) -> Look:
        """Everything that can be tried, at once. Before a host is cut off, it shows what silence afterwards is worth."""
        named = [one for one in outer(facts) if one not in self.addresses]
        met: _Met = {"here": {}, "witness": {}}
        more = self._called(named, met)
        addresses = [*self.addresses, *more]
        tried, left_out = ports([port, *self.ports], facts.serves)
        targets = self._targets(addresses, tried)
        trouble: dict[Place, str] = {}
        shown = [one for one in targets if one == self.way_in]
        asked = self._ask(targets, shown)
        here, answers = asked[0]
        if self.knock and not any(one.port == port and answer.outcome == "open" for one, answer in zip(here, answers.result(), strict=True)):
            trouble["out"] = f"nothing was tried from it: it does not let this machine in on port {port}"
        out = None if trouble else self._out(facts, addresses, trouble)
        probes: list[Probe] = []
        found = named[:0] if self.knock else more  # where it is not the host that says so, those who cut it off know it by them
        if out is not None:  # while it is tried from elsewhere
            try:
                told, ways, _ = out.read()
                probes += [*self._probes("out", out.targets, told), *(Probe("here", one, "open") for one in shown)]
                shown = []
            except Interrupted:
                raise
            except OpsError as error:
                trouble["out"] = f"nothing was tried from it: {error.message}"
            else:
                if self.knock:  # nobody else has looked at its addresses from within
                    beside = [one for one in ways.beside(addresses) if one not in named]
                    named = [*named, *beside]
                    found = self._called(beside, met)
                    probes += self._answered(self._ask(self._targets(found, tried)), trouble, met)
        probes += self._answered(asked, trouble, met)
        if shown:
            probes += self._probes("here", shown, self.here.ask(shown).result(), met)
        found = [one for one in found if not whose.within(one, self.listed)]

        def shows(address: str) -> bool:
            return any(self.shows_its_key(one.to) for one in probes if one.place == "here" and one.outcome == "open"
                       and one.to.address == address and one.to.port in (port, facts.port))

        called = {one.to.address for one in probes}
        return Look(tuple(probes), witness=self.witness.name if self.witness else None, trouble=trouble,
                    entered=out is not None and "out" not in trouble, sources=tuple(self._witness_addresses()), left_out=left_out,
                    doubted=tuple(whose.doubts(probes, found, self.addresses, met, shows)), listed=self.listed,
                    uncalled=tuple(one for one in named if one not in called))

    def _called(self, named: Sequence[str], met: _Met) -> Sequence[str]:
        """Those of the addresses that the host names that are called."""
        if not named:
            return ()
        every = [*self.addresses, *named]
        ways = dict(zip(every, self.ways.ask(every).result(), strict=True))
        met["here"] |= {address: way for address, way in ways.items() if way is not None}
        return whose.called(named, self.addresses, self.listed, self.others, ways)

    def _targets(self, addresses: Sequence[str], tried: Sequence[int]) -> Sequence[Endpoint]:
        return [Endpoint(address, one) for address in addresses
                for one in (tried if address in self.addresses else tried[:whose.MOST_NAMED_PORTS])]

    def _ask(self, targets: Sequence[Endpoint], shown: Sequence[Endpoint] = ()) -> tuple[_Asked, _Asked | None]:
        """``shown``: what need not be tried from here."""
        here = [one for one in targets if one not in shown]
        return (here, self.here.ask(here)), (targets, self.witness.desk.ask(targets)) if self.witness else None

    def _answered(self, asked: tuple[_Asked, _Asked | None], trouble: dict[Place, str], met: _Met) -> Iterator[Probe]:
        (targets, here), witness = asked
        yield from self._probes("here", targets, here.result(), met)
        if self.witness and witness:
            try:
                yield from self._probes("witness", witness[0], witness[1].result(), met)
            except Interrupted:
                raise
            except OpsError as error:
                trouble["witness"] = f"the witness {self.witness.name} could not look: {error.message}"

    def _out(self, facts: Facts, own: Sequence[str], trouble: dict[Place, str]) -> Elsewhere | None:
        """What is to be tried from the host; None, and why, where that is nothing."""
        ours = [*reachable([facts.manager] if facts.manager else []), *map(calls_from, own)]
        here = {Endpoint(address, 22).version: Endpoint(address, 22) for address in reversed(ours) if address}
        targets = [*self.outside, *here.values()]
        try:
            asked = self.enter()
            if asked is None:
                trouble["out"] = "nothing was tried from it, for it is not entered"
                return None
            targets += [Endpoint(address, self.witness.port) for address in self._witness_addresses() if self.witness]
            targets = [one for one in dict.fromkeys(targets) if one.address not in own]
            if not targets:
                trouble["out"] = "nothing was tried from it: isolation: outside: names nothing"
                return None
            # Each of hundreds of hosts makes a few calls: bash starts in a tenth of the time.
            return Elsewhere(self.host, asked, targets, ("bash", "python3"))
        except Interrupted:
            raise
        except OpsError as error:
            trouble["out"] = f"nothing was tried from it: {error.message}"
            return None

    def _witness_addresses(self) -> Sequence[str]:
        try:
            return self.witness.addresses() if self.witness else ()
        except Interrupted:
            raise
        except OpsError:  # which is told where it was to look itself
            return ()

    def _probes(self, place: Place, targets: Sequence[Endpoint], answers: Sequence[Answer], met: _Met | None = None) -> Iterator[Probe]:
        for one, answer in zip(targets, answers, strict=True):
            if met is not None and answer.way is not None:
                met[place][one.address] = answer.way
            if self.gateway and answer.direct:
                yield Probe(place, one, "cannot", answer.source, f"what is on its own segment does not pass {self.gateway}")
            else:
                yield Probe(place, one, answer.outcome, answer.source, answer.why)
