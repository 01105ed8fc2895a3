"""A host that is named on the command line and stands in no configuration: ``user@address[:port]``."""

from __future__ import annotations

import ipaddress
import re

from opsctl.model.connections import bare
from opsctl.model.values import value

FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@value
class GivenHost:
    """Whom to log in as, and where. ``host_key`` is a fingerprint, ``key`` the file of a private key; an agent without one."""

    user: str
    address: str
    port: int = 22
    host_key: str = ""
    key: str = ""

    @property
    def name(self) -> str:
        """The one way to write it: ``root@10.0.0.5``, ``ops@[fd00::5]:2222``."""
        if self.port == 22:
            return f"{self.user}@{self.address}"
        return f"{self.user}@{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}"


def is_given(name: str) -> bool:
    """Whether a name is of this kind; configured ones hold no ``@``."""
    return "@" in name


def given_host(name: str, host_key: str = "", key: str = "") -> GivenHost:
    """``root@10.0.0.5``, ``ops@10.0.0.5:2222``, ``ops@[fd00::5]:2222``, ``ops@fd00::5``. ValueError says what is wrong.

    Only addresses: no name is looked up in an emergency.
    """
    user, _, place = name.rpartition("@")
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}", user) is None:
        raise ValueError(f"{name}: {user!r} is no name of an account")
    found = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::([0-9]+))?|([0-9.]+)(?::([0-9]+))?|([0-9A-Fa-f:]+)", place)
    if found is None:
        raise ValueError(f"{name}: not an address; as in root@10.0.0.5, root@10.0.0.5:2222, root@[fd00::5]:2222")
    try:
        address = bare(str(ipaddress.ip_address(found[1] or found[3] or found[5])))  # one way to write it, for one lock
    except ValueError:
        raise ValueError(f"{name}: not an address; as in root@10.0.0.5, root@[fd00::5]:2222") from None
    port = int(found[2] or found[4] or 22)
    if not 1 <= port <= 65535:
        raise ValueError(f"{name}: {port} is no port")
    if host_key and FINGERPRINT.fullmatch(host_key) is None:
        raise ValueError(f"--host-key {host_key}: no fingerprint; SHA256: and 43 characters, as `ssh-keygen -lf` prints it")
    return GivenHost(user, address, port, host_key, key)
