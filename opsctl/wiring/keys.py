"""The controller's own keys: signing with them, and those that it logs in with."""

from __future__ import annotations

from pathlib import Path

from opsctl.shells.interface import Shell


def login_keys_in(directory: Path, shell: Shell) -> list[Path]:
    """Make this machine's login keys in a folder, as far as they are missing there; the private ones that were made."""
    from opsctl.shells.ssh_keys import make_login_keys

    return make_login_keys(directory, shell)


class Keys:
    """Signing with the controller's key; checking anybody's signature."""

    def __init__(self, key: Path, shell: Shell) -> None:
        self.key = key
        self.shell = shell

    def sign(self, data: bytes, namespace: str) -> str:
        from opsctl.shells.signing import Signer

        return Signer(self.key, self.shell).sign(data, namespace)

    def check(self, data: bytes, signature: str, namespace: str) -> str:
        from opsctl.shells.signing import check

        return check(data, signature, namespace, self.shell)
