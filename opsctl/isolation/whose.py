"""Which addresses of a host are called beside those that are configured for it, and when it is the host that answers there.

A host names its addresses itself: an attacker's may be anybody's, and an honest one's private network may be somebody else's
where we stand. One that the configuration does not have is called only where it has it for no other host, and this machine reaches
it as it reaches a configured one: over the same device, on the same segment or by the same router. Where that router is merely
the way to everything unknown, it has to be of the network of a configured one (/24, /64), or of the version that none of them has.
Never more than ``MOST_NAMED`` of a version, on ``MOST_NAMED_PORTS``.

That somebody answers there is a finding only where it is shown to be this host: with the hardware address that answers for a
configured one on the caller's segment, or with the pinned SSH key. Otherwise it is a doubt, which makes the proof partial.

Who owns a host can still let three addresses of the same segment, router or IPv6 default way be called on a few ports, name
none of those that it has, and let its SSH not answer where it does: what it leaves out or hides that way is seen only where the
configuration has the address, which no word of the host takes away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from opsctl.isolation.calling import Way
from opsctl.model.addresses import ip_address, ip_network
from opsctl.model.isolation import families
from opsctl.model.probes import Place, Probe

MOST_NAMED = 3
MOST_NAMED_PORTS = 16
_NEAR = {4: 24, 6: 64}


def called(
    named: Sequence[str], known: Sequence[str], networks: Sequence[str], others: Collection[str], ways: Mapping[str, Way | None]
) -> Sequence[str]:
    """Of the addresses that a host names, those that are called. ``known`` and ``networks`` are the configuration's for it, ``others``
    its addresses for other hosts, ``ways`` this machine's to all of them."""
    found: list[str] = []
    for address in named:
        version = ip_address(address).version
        if (address not in others and sum(ip_address(one).version == version for one in found) < MOST_NAMED
                and (within(address, networks) or _plausible(address, known, ways))):
            found.append(address)
    return found


def _plausible(address: str, known: Sequence[str], ways: Mapping[str, Way | None]) -> bool:
    way, reached = ways.get(address), {one: found for one in known if (found := ways.get(one)) is not None}
    if way is None:
        return bool(reached)  # there is no way, so that nothing is sent; the call says so
    if way.own:  # this machine itself is cut off, by whatever name
        return all(found.own for found in reached.values())
    if not _alike(address, way, reached):
        return False
    near = [f"{one}/{_NEAR[version]}" for one in known for version in families([one])]
    return not way.default or within(address, near) or ip_address(address).version not in families(known)


def _alike(address: str, way: Way, reached: Mapping[str, Way]) -> bool:
    """Whether the way is one to a known address. Of another version a router has another address."""
    version = ip_address(address).version
    same = [found for one, found in reached.items() if ip_address(one).version == version and not found.own]
    return any((found.device, found.router) == (way.device, way.router) for found in same) if same else any(
        (found.device, bool(found.router)) == (way.device, bool(way.router)) for found in reached.values() if not found.own)


def within(address: str, networks: Sequence[str]) -> bool:
    """Whether an address is one of these, or in one of these prefixes."""
    return any(ip_address(address) in ip_network(one, strict=False) for one in networks)


def doubts(
    probes: Sequence[Probe], named: Collection[str], known: Sequence[str], met: Mapping[Place, Mapping[str, Way]],
    shows_its_key: Callable[[str], bool],
) -> Iterator[tuple[Place, str]]:
    """From where something answered at which of the ``named`` addresses without being shown to be the host.

    ``met``: the callers' ways, as they were when they called. ``shows_its_key`` is asked only where something is open from here.
    """
    answered = dict.fromkeys((one.place, one.to.address) for one in probes if one.place != "out" and one.answered and one.to.address in named)
    shown = {(place, address) for place, address in answered if _by_hardware(address, known, met.get(place, {}))}
    shown |= {("here", address) for place, address in answered if place == "here" and ("here", address) not in shown and shows_its_key(address)}
    for place, address in answered:
        if (place, address) in shown:
            continue
        ways = met.get(place, {})
        way = ways.get(address)
        # Shown from here, it is another's elsewhere only where the way there is another one; who has no `ip` tells none.
        if ("here", address) not in shown or (ways and not (way and _alike(address, way, {one: ways[one] for one in known if one in ways}))):
            yield place, address


def _by_hardware(address: str, known: Sequence[str], ways: Mapping[str, Way]) -> bool:
    if address not in ways:
        return False
    way = ways[address]
    return way.own or bool(way.hardware and not way.router and any(
        (ways[one].device, ways[one].hardware, ways[one].router) == (way.device, way.hardware, "") for one in known if one in ways))
