"""How one wave stands at one host, or by the site's own command, and how it is opened, settled and taken back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

from opsctl.actions.interface import World
from opsctl.actions.isolating import HostParams, by_gateway, cut, driver, register
from opsctl.errors import ConfigError, SafetyRefusal
from opsctl.isolation.register import Entry
from opsctl.model.config_reopening import Wave, hosts_of
from opsctl.model.fields import meant
from opsctl.model.isolation import Order, Stand, opening
from opsctl.model.values import value

Stands = Literal["shut", "timed", "open", "closed itself"]


class WaveParams(HostParams):
    """``host``: a host that lets the wave in, or the wave's own name where a command does; ``allow``: who is let in."""

    wave: str
    allow: tuple[str, ...] = ()
    incident: str = ""


@value
class Seen:
    """How the wave stands; ``left``: seconds until it closes itself; ``noted``: whether what is written down here says so, too.

    ``earlier``: waves that come before it and are not open; ``incident``: the one that the host is cut off for.
    """

    stands: Stands
    left: float | None = None
    noted: bool = True
    earlier: tuple[str, ...] = ()
    incident: str | None = None
    place: str = ""


class Door(ABC):
    """Where one wave comes in."""

    closes_itself = True

    @abstractmethod
    def look(self) -> Seen:
        """Reads only."""

    @abstractmethod
    def open(self, seconds: float) -> None:
        """Let the wave in for so many seconds, where what was opened closes itself."""

    @abstractmethod
    def settle(self) -> None:
        """Let it in for good. NotConverged where it had closed itself meanwhile."""

    @abstractmethod
    def shut(self) -> None:
        """Take it back, and end its connections."""

    @abstractmethod
    def note(self) -> None:
        """Write down how it stands."""


def door(params: WaveParams, world: World) -> Door:
    """ConfigError where there is no such wave."""
    waves = world.config.reopening.waves
    if params.wave not in waves:
        raise ConfigError(f"there is no wave {params.wave!r} under reopening:{meant(params.wave, waves)}",
                          hint=f"there are: {', '.join(waves) or 'none'}")
    wave = waves[params.wave]
    earlier = tuple(name for name in _before(params.wave, waves) if not _stays_open(name, waves[name], world))
    return CommandDoor(params.wave, wave, world, earlier) if wave.open is not None else HostDoor(params, world, earlier)


def _before(name: str, waves: Collection[str]) -> Sequence[str]:
    listed = list(waves)
    return listed[:listed.index(name)]


def _stays_open(name: str, wave: Wave, world: World) -> bool:
    if wave.open is not None:
        return CommandDoor(name, wave, world, ()).look().stands == "open"
    entries = [world.isolated.get(host) for host in hosts_of(wave, world.config.hosts)]
    return all(entry is None or set(wave.allow) <= set(map(str, entry.order.allow)) for entry in entries)


class CommandDoor(Door):
    """The site's own three commands."""

    closes_itself = False

    def __init__(self, name: str, wave: Wave, world: World, earlier: tuple[str, ...]) -> None:
        self.name, self.wave, self.world, self.earlier = name, wave, world, earlier

    def look(self) -> Seen:
        code = self._run(self.wave.is_open or (), accept=(0, 1))
        return Seen("open" if code == 0 else "shut", earlier=self.earlier, place="by the site's own command")

    def open(self, seconds: float) -> None:
        self._run(self.wave.open or ())

    def settle(self) -> None:
        """It is open, and closes only when it is told to."""

    def shut(self) -> None:
        self._run(self.wave.close or ())

    def note(self) -> None:
        """Nothing is written down of it."""

    def _run(self, argv: Sequence[str], accept: Sequence[int] = (0,)) -> int:
        shell = self.world.shell_on(self.wave.on)
        words = list(argv) if shell.here else ["sh", "-c", 'exec "$@"', "sh", *argv]  # through the one shell that sudoers allows
        code: int = shell.run(words, timeout=self.wave.limit.total_seconds(), accept=accept).code
        return code


class HostDoor(Door):
    """A host that is cut off, and lets more in: first for a time that its kernel ends, then for good."""

    def __init__(self, params: WaveParams, world: World, earlier: tuple[str, ...]) -> None:
        self.params, self.world, self.earlier = params, world, earlier
        self.allow = tuple(map(opening, params.allow))

    def look(self) -> Seen:
        entry, stand = self._entry(), self._stand()
        wanted = {str(one) for one in self.allow}
        settled = stand.digest in (entry.order.digest, self._settled(entry).digest) and (
            stand.digest == self._settled(entry).digest or wanted <= set(map(str, entry.order.allow)))
        timed = stand.open_left is not None and wanted <= set(stand.opened)
        stands: Stands = "open" if settled else "shut" if not timed else "timed" if stand.open_left else "closed itself"
        noted = stands not in ("timed", "open") or stand.digest == entry.order.digest
        return Seen(stands, stand.open_left if stands == "timed" else None, noted, self.earlier,
                    entry.order.mark.incident, f"at {self.params.host}")

    def open(self, seconds: float) -> None:
        entry = self._entry()
        self._load(replace(_base(entry.order), opened=self.allow, open_for=seconds))

    def settle(self) -> None:
        entry, stand = self._entry(), self._stand()
        order = self._settled(entry)
        driver(self.params, self.world).settle(replace(order, seconds=None), stand)
        self._register(replace(entry, order=order, seal=None))
        self._persist(order)

    def shut(self) -> None:
        entry = self._entry()
        kept = {text for name, wave in self.world.config.reopening.waves.items() if name != self.params.wave
                and self.params.host in hosts_of(wave, self.world.config.hosts) for text in wave.allow}
        gone = {str(one) for one in self.allow} - kept
        order = _base(entry.order)
        order = replace(order, allow=tuple(one for one in order.allow if str(one) not in gone))
        self._load(order)
        cut(self.params, self.world, order)
        self._persist(order)

    def note(self) -> None:
        entry, stand = self._entry(), self._stand()
        settled = self._settled(entry)
        order = settled if stand.digest == settled.digest else replace(_base(entry.order), opened=self.allow, open_for=stand.open_left or 0.0)
        self._register(replace(entry, order=order, seal=None))

    def _load(self, order: Order) -> None:
        stand = self._stand()
        # Before: what is loaded and not written down would look like somebody else's doing.
        self._register(replace(self._entry(), order=order, seal=None))
        driver(self.params, self.world).load(replace(order, seconds=None), stand)  # it is off and we are in: a timer could only open it

    def _settled(self, entry: Entry) -> Order:
        base = _base(entry.order)
        return replace(base, allow=tuple(dict.fromkeys((*base.allow, *self.allow))))

    def _register(self, entry: Entry) -> None:
        register(self.params, self.world, entry)

    def _persist(self, order: Order) -> None:
        if order.persist:
            driver(self.params, self.world).persist(order)

    def _entry(self) -> Entry:
        host, entry = self.params.host, self.world.isolated.get(self.params.host)
        if entry is None or entry.stage != "confirmed":
            raise SafetyRefusal(f"{host} was not cut off from here, so it has nothing to open", where=host,
                                hint=f"opsctl isolate status {host}; only what is cut off is opened in waves")
        if by_gateway(self.params, self.world) or not driver(self.params, self.world).opens_for_a_time:
            raise SafetyRefusal(f"{host} is cut off by {entry.driver}, which opens nothing for a time", where=host,
                                hint="give the wave open:, is_open: and close: in place of hosts: and allow:")
        return entry

    def _stand(self) -> Stand:
        way = driver(self.params, self.world)
        stand: Stand = way.observe()
        if stand.standing != "isolated":
            raise SafetyRefusal(f"{self.params.host} is {stand.standing}, not isolated, so nothing of it is opened in waves", where=self.params.host,
                                hint=f"opsctl isolate apply {self.params.host} cuts it off again")
        return stand


def _base(order: Order) -> Order:
    return replace(order, opened=(), open_for=0.0)


