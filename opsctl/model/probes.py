"""What probes of a host that is cut off have shown, and what that proves.

A host that is called by an address which it does not have itself (its own word, of which it is told by where its sshd sees the
connection come in) stands behind a forwarded port: only that port is judged. What answers on the others is a gap, since it may be the
forwarder, and no finding; their silence proves nothing either. Who owns a host can have its open ports counted so, by saying that
the address is none of its own: the proof is then partial, never whole, and names the port. ``addresses:`` of the configuration says
what is its own, and no word of the host goes against that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Literal

from opsctl.model.addresses import ip_address, ip_network
from opsctl.model.isolation import Facts, Opening, Order, Stand, families
from opsctl.model.nft_passing import letting
from opsctl.model.nft_rules import managers
from opsctl.model.quantities import counted
from opsctl.model.values import value

Place = Literal["here", "witness", "out"]
Outcome = Literal["open", "refused", "silent", "barred", "cannot"]
Verdict = Literal["proven", "partial", "open"]

PLACES: tuple[Place, ...] = ("here", "witness", "out")
_SHOWN = 5  # findings, or ports, in one sentence
MOST_PORTS = 64
MOST_ADDRESSES = 16
"""How much of a host is tried: what it says of itself may be an attacker's list."""


@value
class Endpoint:
    """An address and a TCP port."""

    address: str
    port: int

    @property
    def version(self) -> int:
        return 6 if ":" in self.address else 4

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if self.version == 6 else f"{self.address}:{self.port}"


@value
class Probe:
    """One call: from ``here`` (this machine) or the ``witness`` to the host, or from the host ``out``.

    ``refused`` is an answer, too: whoever sent it was reached. ``silent``: no answer. ``barred``: a word came that it is not
    let through. ``cannot``: not tried, for the reason in ``why``. ``source`` is the address that it was called from, empty
    where nobody could tell.
    """

    place: Place
    to: Endpoint
    outcome: Outcome
    source: str = ""
    why: str = ""

    @property
    def answered(self) -> bool:
        return self.outcome in ("open", "refused")


@value
class Finding:
    """Something that got through. ``rule``: the one that let it, where the host's own rules can say so; ``foreign``: by what the
    host says the address is none of its own, so that it may be a machine before it that answers."""

    probe: Probe
    rule: str | None = None
    foreign: bool = False

    def __str__(self) -> str:
        to, how = self.probe.to, "is open" if self.probe.outcome == "open" else "answers (refused)"
        where = {"here": f"port {to.port} of {to.address} {how} from this machine",
                 "witness": f"port {to.port} of {to.address} {how} from the witness",
                 "out": f"{to} {how} from the host"}[self.probe.place]
        why = f"let through by `{self.rule}`" if self.rule else "no rule of ours lets it through"
        return f"{where}, over IPv{to.version}: {why}" + (f", and {to.address} is none of its own addresses: a machine before it may answer" if self.foreign else "")


def few(findings: Sequence[Finding | str], rest: str) -> str:
    """Findings as one sentence; of many the first, and ``rest`` shows the others."""
    said = "; ".join(map(str, findings[:_SHOWN]))
    return said if len(findings) <= _SHOWN else f"{said}; and {len(findings) - _SHOWN} more: {rest}"


@value
class Look:
    """All probes of one time, before they are judged.

    ``witness`` is its name; ``trouble`` says by place why nobody could look from there. ``entered``: a command ran on the
    host itself, so it lives. ``sources``: the witness's own addresses. ``left_out``: how many ports were too many. ``listed``:
    addresses and prefixes that the configuration says are its own. Of those that only the host names, ``uncalled`` were not called, and
    at ``doubted`` (from where, which) something answered of which nothing shows that it is this host.
    """

    probes: tuple[Probe, ...] = ()
    witness: str | None = None
    trouble: Mapping[Place, str] = field(default_factory=dict)
    entered: bool = False
    sources: tuple[str, ...] = ()
    left_out: int = 0
    listed: tuple[str, ...] = ()
    uncalled: tuple[str, ...] = ()
    doubted: tuple[tuple[Place, str], ...] = ()

    def brief(self) -> list[list[str]]:
        """For a file: what ``read_brief`` takes."""
        return [[probe.place, str(probe.to), probe.outcome] for probe in self.probes]


@value
class Matrix:
    """What is proven of one host.

    ``proven``: everything that was to be tried was tried, on each IP version that the host has, and nothing got through.
    ``partial``: nothing that was tried got through, and ``gaps`` says what was not tried, or is not cut off. ``open``:
    something got through, ``wrong`` says what. ``notes`` limit none of this. ``paused``: it is not confirmed yet, and only
    then are old connections ended. ``earlier``: what was seen before it was cut off.
    """

    host: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    gaps: tuple[str, ...]
    notes: tuple[str, ...]
    look: Look
    versions: tuple[int, ...]
    before: int | None
    after: int | None
    paused: bool = False
    earlier: Look | None = None

    @property
    def wrong(self) -> tuple[str, ...]:
        """Everything that makes it open, a sentence each."""
        left = (f"still there: {counted(self.after, 'old connection')}",) if self.after and not self.paused else ()
        return (*map(str, self.findings), *left)

    def says(self) -> str:
        """One line for people: the verdict and what it rests on."""
        if self.verdict == "open":
            return f"{self.host}: open: {'; '.join(self.wrong)}"
        tried = [f"{count} {words}" for place, words in (("here", "from here"), ("witness", f"from {self.look.witness}"),
                                                        ("out", "from it"))
                 if (count := sum(probe.place == place and probe.outcome != "cannot" for probe in self.look.probes))]
        head = f"partial ({'; '.join(self.gaps)})" if self.gaps else "proven"
        rest = [f"probes: {', '.join(tried) or 'none'}", *self.notes]
        return f"{self.host}: {head}: {'; '.join(rest)}"

    def cell(self, place: Place, version: int) -> str:
        """What a table shows: ``-`` where the host has no such address, ``not probed``, ``silent``, or what answers."""
        if version not in self.versions:
            return "-"
        found = sorted({(one.probe.outcome, one.probe.to.port) for one in self.findings
                        if one.probe.place == place and one.probe.to.version == version})
        if found:
            return ", ".join(f"{'OPEN' if outcome == 'open' else 'answers'} {port}" for outcome, port in found)
        mine = (probe for probe in self.look.probes if probe.place == place and probe.to.version == version)
        return "silent" if any(probe.outcome in ("silent", "barred") for probe in mine) else "not probed"

    def as_json(self) -> dict[str, Any]:
        before = {(probe.place, probe.to): probe.outcome for probe in self.earlier.probes} if self.earlier else {}
        return {
            "host": self.host, "verdict": self.verdict, "findings": list(self.wrong), "gaps": list(self.gaps),
            "notes": list(self.notes), "witness": self.look.witness,
            "connections": {"before": self.before, "after": self.after}, "not_called": list(self.look.uncalled),
            "probes": [{"place": probe.place, "address": probe.to.address, "port": probe.to.port, "outcome": probe.outcome,
                        "before": before.get((probe.place, probe.to)), "source": probe.source or None, "why": probe.why or None}
                       for probe in self.look.probes],
        }


def endpoint(text: str) -> Endpoint:
    """``10.0.0.5:443`` or ``[fd00::5]:443``, as the configuration allows it."""
    place, _, port = text.rpartition(":")
    return Endpoint(place.strip("[]"), int(port))


def read_brief(rows: Sequence[Sequence[Any]]) -> Look:
    """A look as ``brief`` wrote it down: who answered, from where. ValueError, TypeError for anything else."""
    return Look(tuple(Probe(place, endpoint(to), outcome) for place, to, outcome in rows))


def reachable(addresses: Iterable[str]) -> Sequence[str]:
    """The addresses that others can reach, each once: no loopback, no link-local, and nothing that is no address."""
    found = []
    for one in addresses:
        with contextlib.suppress(ValueError):
            if families([one]):
                found.append(str(ip_address(one)))
    return list(dict.fromkeys(found))


def outer(facts: Facts) -> Sequence[str]:
    """Those of a host's addresses that others can reach, and no more than are sensible."""
    return reachable(one for one in facts.addresses if one not in facts.inner)[:MOST_ADDRESSES]


def ports(configured: Sequence[int], served: Sequence[int]) -> tuple[Sequence[int], int]:
    """What is tried, those that are configured first, and how many are left out."""
    every = list(dict.fromkeys([*configured, *served]))
    return every[:MOST_PORTS], max(0, len(every) - MOST_PORTS)


def judge(
    host: str, look: Look, order: Order, stand: Stand, *, before: int | None = None, after: int | None = None,
    earlier: Look | None = None,
) -> Matrix:
    """What a look proves of a host that stands as ``stand`` says and was to be cut down to ``order``.

    ``before`` and ``after``: old connections. ``earlier``: a look at the same host before it was cut off.
    """
    look = replace(look, probes=tuple(_settled(look, earlier)))
    versions = tuple(families([*outer(stand.facts), *(probe.to.address for probe in look.probes if probe.place != "out")]))
    findings = tuple(Finding(probe, _rule(probe, stand), _foreign(probe, look, stand)) for probe in look.probes
                     if probe.answered and not _let_through(probe, look, order, stand) and not _anothers(probe, look, order, stand))
    matrix = Matrix(
        host, "partial", findings, tuple(_gaps(look, order, stand, versions, after, earlier)),
        tuple(_notes(look, order, stand, versions, earlier)), look, versions, before, after,
        stand.standing == "armed", earlier)
    verdict: Verdict = "open" if matrix.wrong else "partial" if matrix.gaps else "proven"
    return replace(matrix, verdict=verdict)


def _rule(probe: Probe, stand: Stand) -> str | None:
    incoming = probe.place != "out"
    return letting(stand.raw, incoming=incoming, version=probe.to.version, port=probe.to.port,
                   other=probe.source if incoming else probe.to.address)


def _foreign(probe: Probe, look: Look, stand: Stand) -> bool:
    """Whether the host was called by an address that it does not have, as behind a forwarded port; only what is logged into tells its own."""
    address = probe.to.address
    return (probe.place != "out" and stand.facts.port is not None and address not in stand.facts.addresses
            and not any(ip_address(address) in ip_network(one, strict=False) for one in look.listed))


def _anothers(probe: Probe, look: Look, order: Order, stand: Stand) -> bool:
    """Whether it may be another machine that was called, so that neither an answer nor silence shows anything of the host."""
    return (probe.place, probe.to.address) in look.doubted or (probe.to.port != order.port and _foreign(probe, look, stand))


def _settled(look: Look, earlier: Look | None) -> Iterator[Probe]:
    """A router without a way says the same as a firewall: it counts only where the way is known to be good."""
    known = {(probe.place, probe.to.version) for probe in (*look.probes, *(earlier.probes if earlier else ())) if probe.answered}
    doubtful = {(probe.place, probe.to.version) for probe in look.probes if probe.outcome == "barred"} - known
    for probe in look.probes:
        if probe.outcome in ("silent", "barred") and (probe.place, probe.to.version) in doubtful:
            yield replace(probe, outcome="cannot", why="a firewall or a broken way said that there is none")
        else:
            yield probe


def _gaps(
    look: Look, order: Order, stand: Stand, versions: Sequence[int], after: int | None, earlier: Look | None
) -> Iterator[str]:
    yield from stand.partial
    outward = order.profile != "outbound-only"  # where it may call out there is nothing to be proven
    proving = [probe for probe in look.probes if probe.outcome != "cannot" and not _let_through(probe, look, order, stand)
               and not _anothers(probe, look, order, stand)]
    for version in versions:
        mine = [probe for probe in proving if probe.to.version == version]
        if not any(probe.place != "out" for probe in mine):
            yield f"IPv{version} was not probed{_because(look, version=version) or _unproven(look, version)}"
        elif outward and "out" not in look.trouble and not any(probe.place == "out" for probe in mine):
            yield f"nothing was tried from it over IPv{version}"
    if not stand.facts.addresses and len(versions) == 1:  # whoever cuts it off was told no more than we
        yield f"nobody knows whether it has IPv{10 - versions[0]} addresses"
    for port in dict.fromkeys(probe.to.port for probe in look.probes if probe.place != "out" and probe.answered
                              and _let_through(probe, look, order, stand) and not _let_through(probe, look, order, _unasked(probe, stand))
                              and not _anothers(probe, look, order, stand)):
        yield f"port {port} answers, and that this is its sshd is only its own word"
    yield from _of_others(look, order, stand)
    for place in ("witness", "out") if outward else ("witness",):
        if place in look.trouble:
            yield look.trouble[place]
        elif place == "witness" and look.witness and not any(probe.place == "witness" for probe in proving):
            yield f"the witness {look.witness} could not try{_because(look, 'witness')}"
    if after is None and stand.standing != "armed":
        yield "nobody could count its old connections"
    if not _lives(look) and not (earlier and _lives(earlier)):
        yield "it gave no sign of life, and a machine that is off looks the same"


def _of_others(look: Look, order: Order, stand: Stand) -> Iterator[str]:
    forwarded = dict.fromkeys(probe.to.address for probe in look.probes if _foreign(probe, look, stand))
    for address in forwarded:
        yield (f"only port {order.port} of {address} was judged: by its own word that address is none of its own, so that a machine before it has "
               f"the other ports{_answering(look, address, order.port)}; if it is its own, list it under addresses:")
    for address in dict.fromkeys(one for _, one in look.doubted if one not in forwarded):
        yield (f"{address} is its own only by its own word, and nothing shows that it is this host that answers there"
               f"{_answering(look, address)}; if it is, list it under addresses:")


def _answering(look: Look, address: str, but: int | None = None) -> str:
    found = sorted({probe.to.port for probe in look.probes if probe.place != "out" and probe.answered and probe.to.address == address} - {but})
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f" (answering: {', '.join(map(str, found[:_SHOWN]))}{more})" if found else ""


def _unproven(look: Look, version: int) -> str:
    if any(ip_address(one).version == version for one in look.uncalled):
        return f": the IPv{version} address that it says it has is reached from here by another way than its known one; list it under addresses:"
    return ""


def _because(look: Look, *places: Place, version: int | None = None) -> str:
    whys = dict.fromkeys(probe.why for probe in look.probes
                         if probe.place in (places or ("here", "witness")) and version in (None, probe.to.version)
                         and probe.outcome == "cannot" and probe.why)
    return f": {', '.join(whys)}" if whys else ""


def _lives(look: Look) -> bool:
    return look.entered or any(probe.answered for probe in look.probes if probe.place != "out" and (probe.place, probe.to.address) not in look.doubted)


def _notes(look: Look, order: Order, stand: Stand, versions: Sequence[int], earlier: Look | None) -> Iterator[str]:
    if look.witness is None:
        yield "no witness"
    if stand.standing == "armed" and stand.connections:
        yield "its old connections are paused and not ended, for it is not confirmed"
    if look.uncalled:
        yield f"not called: {counted(len(look.uncalled), 'address', 'addresses')} that it says it has and that may be another's from here"
    if look.left_out:
        yield f"{look.left_out} of its ports were not tried"
    for version in versions:
        if earlier is not None and not any(probe.answered for probe in earlier.probes if probe.to.version == version):
            yield f"nothing answered over IPv{version} before either"


def _let_through(probe: Probe, look: Look, order: Order, stand: Stand) -> bool:
    """Whether the order itself lets this call through."""
    if probe.place == "out":
        return order.profile == "outbound-only" or any(_names(one, probe.to.address, probe.to.port, "out") for one in order.allow)
    sources = [probe.source] if probe.source else list(look.sources) if probe.place == "witness" else []
    if probe.place == "here" and stand.facts.manager:
        sources.append(stand.facts.manager)  # what the host sees of us, where addresses are translated on the way
    openings = (*managers(order, stand.facts), *order.allow)
    return any(_names(one, source, probe.to.port, "in") for one in openings for source in sources)


def _unasked(probe: Probe, stand: Stand) -> Stand:
    """Without what only the host says of who is connected to it: whoever owns it says what hides an open port."""
    return replace(stand, facts=replace(stand.facts, port=None, manager=stand.facts.manager if probe.place == "here" else None))


def _names(one: Opening, address: str, port: int, direction: str) -> bool:
    try:
        if ip_address(address) not in ip_network(one.network):
            return False
    except ValueError:  # a machine may tell of itself what it likes
        return False
    return one.port is None or (one.direction == direction and one.protocol == "tcp" and one.port == port)
