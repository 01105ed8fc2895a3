"""Whether the host of a clean room is cut off: by its rules, by what probes show, and by calls that are made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsctl.isolation.register import Entry
    from opsctl.model.isolation import Stand
    from opsctl.model.probes import Matrix
    from opsctl.wiring.site import Site


def look(site: Site, host: str) -> Any:
    """Everything that is open (``sources.host_room.Shown``). Takes some seconds. Raises what drivers raise."""
    from opsctl.sources.host_room import Shown

    way, entry = site.isolations.driver(host), site.isolations.register.get(host)
    try:
        stand = way.observe()
        if wrong := _wrong(host, stand, entry):
            return Shown(wrong, "")
        matrix = site.isolations.prober(host, way).probe(entry.order, stand, after=stand.connections)
    finally:
        if way.enforced == "host":
            way.close()
    return Shown(tuple(dict.fromkeys((*matrix.wrong, *_untried(host, matrix)))), matrix.says())


def still(site: Site, host: str) -> str:
    """Why it is not what it was when it was probed; empty where it is."""
    way, entry = site.isolations.driver(host), site.isolations.register.get(host)
    try:
        return "; ".join(_wrong(host, way.observe(), entry))
    finally:
        if way.enforced == "host":
            way.close()


def _wrong(host: str, stand: Stand, entry: Entry | None) -> tuple[str, ...]:
    """What its rules alone tell: they have to be those that were ordered here, let nobody through, and be confirmed."""
    if stand.standing != "isolated":
        return (f"it is {stand.standing}, not isolated",)
    if entry is None or entry.stage != "confirmed":
        return ("it was not cut off from here, so what it lets through is not known",)
    if stand.digest is not None and stand.digest != entry.order.digest:
        return ("its rules are not those that were ordered",)
    if stand.seal is not None and entry.seal not in (None, stand.seal):
        return ("its rules were changed since they were confirmed",)
    let = [f"it lets through {one}" for one in (*entry.order.allow, *entry.order.opened, *stand.opened)]
    if entry.order.profile != "full":
        let.append(f"it is cut off with the profile {entry.order.profile} alone")
    if stand.connections:
        let.append(f"{stand.connections} old connections are still there")
    return tuple(dict.fromkeys(let))


def _untried(host: str, matrix: Matrix) -> list[str]:
    """What has to be tried before anything hostile runs there: calls from it, over each IP version that it has."""
    if not matrix.look.entered:
        return [matrix.look.trouble.get("out") or "no call from it was tried"]
    tried = {probe.to.version for probe in matrix.look.probes if probe.place == "out" and probe.outcome != "cannot"}
    return [f"no call from it was tried over IPv{version}" for version in matrix.versions if version not in tried]
