"""A host cut off by its own rules, over SSH or on this machine."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress

from opsctl.errors import NotConverged, OpsError, ProgramFailed, Refused, Unreachable
from opsctl.isolation.interface import Driver
from opsctl.isolation.nftables_scripts import SCRIPT, UNIT_TEXT
from opsctl.isolation.probe_scripts import CALLS
from opsctl.model import connections, nft_listing, nft_rules
from opsctl.model.isolation import Cut, Facts, Opening, Order, Stand, Standing
from opsctl.shells.interface import Answering, Result, Shell
from opsctl.shells.turns import Turn

_Sections = Sequence[tuple[str, str]]
_SECONDS = 30.0
_SNAPSHOT = 5.0
_DONE = b"== done\n"
_NOTING = f"""code=$?; [ $code = 0 ] || exit $code; echo "{_DONE.decode().strip()}"; snapshot; exit 0"""
_OLD = ("no rules on the network ports themselves, for its nft or kernel (5.16) is too old: raw frames, DHCP and children of a "
        "port (macvlan) pass")
_CALLER = re.compile(r"(\S+) [0-9]+ \S+ ([0-9]{1,5})")
_LEASE = re.compile(r"^\d+: +\S+ +inet .* dynamic .*\bvalid_lft (\d+)sec", re.MULTILINE)
_NO_PORT = "it has no network port that rules could stand on: raw frames, DHCP and children of a port (macvlan) pass"


class Nftables(Driver):
    """``connect`` makes a shell on a connection of its own each time, which runs commands as root.

    ``sudo``: a shell of this machine has to be told so. ``environ`` is what it is given there. ``turn`` is entered for each
    thing that the host is asked.
    """

    name = "nftables"
    enforced = "host"
    opens_for_a_time = True

    def __init__(self, host: str, *, connect: Callable[[], Shell], sudo: bool = False,
                 environ: Mapping[str, str] | None = None, turn: Turn = nullcontext) -> None:
        self.host = host
        self.connect = connect
        self.sudo = sudo
        self.environ = dict(environ or {})
        self.turn = turn
        self._shell: Shell | None = None
        self._answering: Answering | None = None
        self._loaded = False
        self._noting = True
        self._families: Sequence[str] | None = None
        self._alone = False
        self._looked: _Sections | None = None
        self._noted: bytes | None = None

    def observe(self) -> Stand:
        brief = self.brief and self.last is None
        found = self._looked or _sections(self._script("look", "brief" if brief else "full", *self._known).stdout)
        self._looked = None
        with _reading(self.host):
            facts = _facts(found)
            tables = nft_listing.tables(dict(found).get("rules", ""))
            self._families = [family for family in nft_rules.FAMILIES if family in tables]
            self._alone = _alone(found, len(tables), self._alone)
            self.last = self._stand(found, facts, tables)
        return self.last

    def _stand(self, found: _Sections, facts: Facts, tables: Mapping[str, nft_listing.Table]) -> Stand:
        raw = "".join(f"== {name}\n{text}" for name, text in found if name not in ("unit", "file"))
        persisted = _persisted(found, tables)
        if not tables:
            return Stand("open", facts=facts, persisted=persisted, raw=raw)
        standing, left = _standing(tables)
        said = next((table.said for table in tables.values() if table.said), (None, None))
        any_of = next(iter(tables.values()))
        return Stand(
            standing, left=left, partial=tuple(_partial(tables, facts)), digest=said[0], mark=said[1],
            seal=nft_listing.seal(tables), persisted=persisted, facts=facts, raw=raw,
            connections=_others(found, any_of.openings, any_of.profile),
            opened=tuple(map(str, any_of.for_a_time)), open_left=min((one for table in tables.values() if (one := table.open_left) is not None), default=None),
        )

    @property
    def _known(self) -> Sequence[str]:
        """The families in which a table of ours was, or was loaded; all of them, or none is worth asking for."""
        if self._alone:
            return ("ruleset",)
        return self._families if self._families is not None and len(self._families) == len(nft_rules.FAMILIES) else ()

    def load(self, order: Order, stand: Stand) -> None:
        self._load(order, stand)

    def settle(self, order: Order, stand: Stand) -> None:
        self._load(order, stand, still_open=self._families or ())

    def _load(self, order: Order, stand: Stand, still_open: Sequence[str] = ()) -> None:
        if stand.facts.manager is None and not self._here:
            raise Refused(f"{self.host} does not say from where it is logged into, so its rules would shut opsctl out", where=self.host,
                          hint="`opsctl hosts prepare` prints the sudoers lines: SSH_CONNECTION must be among env_keep")
        there = nft_listing.tables(stand.raw)
        rules = nft_rules.load(order, stand.facts, gone=[family for family in there if family == "netdev"], still_open=still_open)
        result = self._nft(rules)
        if result.code and still_open and "No such file or directory" in result.errors:
            raise NotConverged(f"what was opened at {self.host} for a time had closed itself", where=self.host, details={"kind": "closed"},
                               hint="nobody is let in any more; open the wave once more")
        self._families = ["inet", "netdev"] if stand.facts.devices else ["inet"]
        if result.code and stand.facts.devices:
            # Kernels before 5.16 have no egress for devices: better half of it than nothing, and ``observe`` says so.
            first = result
            result = self._nft(nft_rules.load(order, stand.facts, ("inet",), gone=[*there], still_open=still_open))
            self._families = ["inet"]
            if result.code:
                result = first
        if result.code:
            raise self._failed(self._at_its_line(rules, result), "refuses the rules", "nothing was loaded there; is nft 0.9.7 or newer installed?")
        self._loaded = True

    def confirm(self) -> None:
        self._noted = None
        self._arm(None, noting=self._noting)

    def extend(self, seconds: float) -> None:
        self._arm(seconds)

    def snapshot(self) -> bytes:
        noted, self._noted = self._noted, None  # where it was confirmed just now, that came with the answer
        if noted is not None:
            return noted
        found = bytearray()
        try:
            self._run("snapshot", seconds=_SNAPSHOT, partial=found)
        except (ProgramFailed, Unreachable, Refused) as error:
            found += self._broken_off(error)
        return bytes(found)

    def _broken_off(self, error: OpsError) -> bytes:
        self.close()  # what hangs there would hold a session that sshd may not have twice
        return f"== broken off: {error.message}\n".encode()

    def cut(self, order: Order) -> Cut:
        allowed = (*nft_rules.managers(order, Facts()), *order.allow, *order.opened)
        # What is left is counted by a whole look, which serves whoever looks next: a host asked for both at once has half the work.
        result = self._script("cut_off", order.profile, *connections.words(allowed), then=shlex.join(["look", "full", *self._known]))
        found = _sections(result.stdout)
        notes = tuple(dict.fromkeys(line for line in result.errors.splitlines() if not line.startswith("sudo:")))[:5]
        with _reading(self.host):
            allowed += nft_rules.managers(order, _facts(found))
            left = _others(found, allowed, order.profile)
            if left is None:
                return Cut(None, None, notes)
            killed = [text for name, text in found if name == "killed"]
            survived = sum(len(connections.survivors("\n".join(killed), one)) for one in _spaces(found))
        self._looked = found
        return Cut(sum(len(said.splitlines()) for said in killed) + left, left + survived, notes)

    def release(self) -> None:
        self._script("release")

    def persist(self, order: Order) -> None:
        self._script(*(("persist", UNIT_TEXT) if order.persist else ("forget",)))

    def close(self) -> None:
        if self._answering is not None:
            self._answering.close()
        connection = getattr(self._shell, "connection", None)
        if connection is not None:
            connection.close()
        self._shell = self._answering = None

    def _arm(self, seconds: float | None, *, noting: bool = False) -> None:
        if self._loaded and not self._here:  # an old session proves nothing: whether a new one can be made is the question
            self.close()
        ask = self._noting_behind if noting else self._nft
        result = ask(nft_rules.arm(seconds, self._families or nft_rules.FAMILIES))
        if result.code and self._families is None:
            result = ask(nft_rules.arm(seconds, ("inet",)))
        self._loaded = False
        if result.code and "No such file or directory" in result.errors:
            raise NotConverged(f"the isolation of {self.host} had lifted itself before it was confirmed", where=self.host,
                               details={"kind": "lifted"},
                               hint="it is open again; isolate it once more, with more time: --confirm-within 5m")
        if result.code:
            raise self._failed(result, "does not confirm the rules", "unless it is confirmed it lifts itself")

    @property
    def _here(self) -> bool:
        return self.shell.here

    @property
    def shell(self) -> Shell:
        if self._shell is None:
            self._shell = self.connect()
        return self._shell

    def _nft(self, text: str) -> Result:
        return self._run("load", text)

    def _at_its_line(self, text: str, refused: Result) -> Result:
        """The same refusal with the line that is refused: of what stands in its arguments nft shows the first one only."""
        with suppress(OpsError):
            again = self._run("check", text)
            return again if again.code else refused
        return refused

    def _noting_behind(self, text: str) -> Result:
        """Load, and where that is done note what there is: a host that is asked both at once answers sooner."""
        found, self._noting = bytearray(), False
        try:
            result = self._run("load", text, then=_NOTING, partial=found, noting=(_DONE, _SNAPSHOT))
        except (ProgramFailed, Unreachable, Refused) as error:
            if not found.startswith(_DONE):
                raise
            result = Result(("nft",), 0, b"", b"", 0.0)
            found += self._broken_off(error)
        self._noting = True
        self._noted = bytes(found).removeprefix(_DONE) if not result.code else None
        return result

    def _script(self, function: str, *words: str, then: str = "") -> Result:
        result = self._run(function, *words, then=then)
        if result.code:
            raise self._failed(result, "fails", None)
        return result

    def _run(self, function: str, *words: str, seconds: float = _SECONDS, partial: bytearray | None = None, then: str = "",
             noting: tuple[bytes, float] | None = None) -> Result:
        """A function of the script as root, with any exit code; ``then`` is a command behind it, whose code is the one, and ``noting`` its own end."""
        self._looked = self._noted = None
        asked = self.asked
        self.shell.reach()
        with self.turn():
            return asked.ask("; ".join(filter(None, (shlex.join([function, *words]), then))), seconds, partial, noting)

    @property
    def asked(self) -> Answering:
        """Root on the host, with our functions, to be asked things."""
        if self._answering is None:
            raised = self._here and self.sudo
            self._answering = self.shell.answering(
                SCRIPT + CALLS, prefix=("sudo", "-n", "--") if raised else (),
                env=self.environ if self._here else None)
        return self._answering

    def _failed(self, result: Result, what: str, hint: str | None) -> OpsError:
        said = " ".join(result.errors.split())[:300] or f"exit code {result.code}"
        if "nft: not found" in said or "nft: command not found" in said:
            hint = "install nftables there"
        elif "not permitted" in said:
            hint = "it takes root: log in as root, or set become: sudo"
        return ProgramFailed(f"nft on {self.host} {what}: {said}", where=self.host, hint=hint,
                             details={"exit_code": result.code})


@contextmanager
def _reading(host: str) -> Iterator[None]:
    """ProgramFailed for an answer that is none: who owns a host can let it say anything, and others are not held up by that."""
    try:
        yield
    except (ValueError, LookupError, OverflowError, RecursionError) as error:
        raise ProgramFailed(f"{host} answers what nobody can read, so how it stands is not known: {str(error)[:120]}", where=host,
                            hint="its programs may not be its own any more: cut it off by its gateway, its switch or its cable") from error


def _sections(output: bytes) -> _Sections:
    """What the scripts print: ``== NAME`` and then its lines; a name may come more than once."""
    found = []
    for part in re.split(r"^== ", output.decode("utf-8", "replace"), flags=re.MULTILINE)[1:]:
        name, _, text = part.partition("\n")
        found.append((name.strip(), text))
    return found


def _facts(found: _Sections) -> Facts:
    text = dict(reversed(found))  # of what comes once for each namespace, our own is the first
    caller = _CALLER.fullmatch(text.get("manager", "").strip())
    own = next(iter(_spaces(found)))
    placed = [(name, connections.bare(address)) for name, address in
              re.findall(r"^\d+: +(\S+) +inet6? ([^ /]+)", text.get("space", ""), re.MULTILINE)]
    ports = [line.split() for line in text.get("ports", "").splitlines()]
    outer = {name for name, address in placed if not address.startswith("fe80:")}
    inner = {name for name, why in ports if why == "inner"}
    return Facts(
        addresses=tuple(dict.fromkeys(address for _, address in placed)),
        inner=tuple(dict.fromkeys(address for name, address in placed if name in inner)),
        devices=tuple(sorted(name for name, why in ports if why == "device" or (why == "other-end" and name in outer))),
        serves=tuple(sorted(own.serves)), namespaces=sum(name == "space" for name, _ in found),
        manager=str(ipaddress.ip_address(connections.bare(caller[1]))) if caller else None, port=int(caller[2]) if caller else None,
        leased=min((float(left) for left in _LEASE.findall(text.get("space", ""))), default=None),
        versions={"kernel": text.get("kernel", "").strip()},
    )


def _alone(found: _Sections, ours: int, before: bool) -> bool:
    """Whether the host has no tables but ours, so that one call lists them. Where all were not listed it is as it was ``before``."""
    text = dict(found)
    every = text.get("tables") or (text.get("rules", "") if before else "")
    return len(re.findall(r"^table ", every, re.MULTILINE)) == ours if every else before


def _spaces(found: _Sections) -> list[connections.Space]:
    addresses = [text for name, text in found if name == "space"]
    sockets = [text for name, text in found if name == "sockets"]
    return [connections.space(*pair) for pair in zip(addresses, sockets, strict=False)] or [connections.space("", "")]


def _others(found: _Sections, allowed: Sequence[Opening], profile: str) -> int | None:
    """How many connections are to be ended; None where not all could be looked at."""
    if any(name == "uncounted" for name, _ in found):
        return None
    return sum(len(connections.others(one, allowed, profile)) for one in _spaces(found))


def _standing(tables: Mapping[str, nft_listing.Table]) -> tuple[Standing, float | None]:
    """By the elements that are there: permanent, for a time, or gone, which lifts."""
    inet = tables.get("inet")
    if inet is None or inet.missing or not inet.whole:
        return "lifted", None
    left = nft_listing.shortest(list(tables.values()))
    return ("armed", left) if left is not None else ("isolated", None)


def _partial(tables: Mapping[str, nft_listing.Table], facts: Facts) -> list[str]:
    netdev = tables.get("netdev")
    if netdev is None:
        return [_OLD if facts.devices else _NO_PORT]
    if netdev.missing or not netdev.whole:
        return ["its rules on the network ports were changed: raw frames, DHCP and children of a port (macvlan) may pass"]
    return [f"no rules on {device}, which is new" for device in facts.devices if device not in netdev.devices]


def _persisted(found: _Sections, tables: Mapping[str, nft_listing.Table]) -> bool:
    """Whether after a reboot it is as it is now; of a host that is open, whether anything would come back."""
    text = dict(found)
    enabled, file = text.get("persisted", "").strip() == "enabled", nft_listing.tables(text.get("file", ""))
    if not tables:
        return enabled and bool(file)
    return enabled and text.get("unit", "") == UNIT_TEXT and file == dict(tables)
