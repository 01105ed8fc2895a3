"""What isolating and releasing a host have in common: which host it is, and what a run keeps of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from opsctl.actions.interface import Params, World
from opsctl.errors import ConfigError, OpsError, Partial
from opsctl.model.given_host import given_host, is_given
from opsctl.repositories.history import write_whole


class HostParams(Params):
    """``host``: a configured host, or ``user@address[:port]``; of these ``logins`` says how to log in.

    Each of them is ``user@address[:port] SHA256:…``, and the path of a private key where no agent holds it.
    """

    host: str
    logins: tuple[str, ...] = ()

    @property
    def login(self) -> tuple[str, str]:
        """Fingerprint and key file of the host; empty where nothing is said of it."""
        for line in self.logins:
            name, host_key, key = (*line.split(" ", 2), "")[:3]
            if name == self.host:
                return host_key, key
        return "", ""


def driver(params: HostParams, world: World) -> Any:
    """The way in which the host is cut off, one a run. Partial (3) where a person has to do it."""
    spec = world.config.hosts.get(params.host)
    if spec is not None and spec.isolation is None:
        raise Partial(f"no software can cut {params.host} off: {spec.by_hand or 'it has no isolation: and no by_hand:'}", where=params.host,
                      hint="a person has to do it, now" if spec.by_hand else "pull its cable or its switch port, and write by_hand: for the next time")
    return world.isolation(params.host, *params.login)


def place(host: str, config: Any) -> tuple[str, int]:
    """Address and port of a host. ConfigError where there is no such host."""
    if is_given(host):
        spec = given_host(host)
        return spec.address, spec.port
    if host not in config.hosts:
        raise ConfigError(f"there is no host {host!r} in the configuration")
    return config.hosts[host].address, config.hosts[host].port


def lock_of(params: HostParams, world: World) -> tuple[str, ...]:
    """One run at a time for an address and port, however the host is called."""
    address, port = place(params.host, world.config)
    return (f"host {address} port {port}",)


def kept(params: HostParams, world: World) -> Mapping[str, Any]:
    """What this run wrote down about the host, for people; nothing is decided by it."""
    try:
        return json.loads((world.keep("isolation") / f"{params.host}.json").read_text())
    except (OSError, ValueError, OpsError):
        return {}


def keep(params: HostParams, world: World, **facts: Any) -> None:
    """Write down more about the host. A disk that is full holds nothing up."""
    with contextlib.suppress(OSError, OpsError):
        content = json.dumps({**kept(params, world), **facts}).encode()
        write_whole(world.keep("isolation") / f"{params.host}.json", content)
