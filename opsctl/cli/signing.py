"""Signing on the command line in the name of one of ``people``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.errors import Refused, SafetyRefusal

if TYPE_CHECKING:
    from opsctl.wiring import Site


def sign_as(site: Site, by: str, key: Path | None, content: bytes, namespace: str) -> tuple[str, str]:
    """The signature of one of the people of the configuration, and the fingerprint of their key.

    UsageError where there is nobody of that name, SafetyRefusal where they have no key there, Refused where another key signed.
    """
    from opsctl.model.unknown import unknown

    person = site.config.people.get(by)
    if person is None:
        raise unknown("person", by, site.config.people)
    if person.ssh_key is None:
        raise SafetyRefusal(f"{by} has no ssh_key in the configuration, so nothing they say can be checked",
                            hint=f"put their public key under people.{by}.ssh_key")
    signature, signer = sign(site, key, content, namespace)
    if signer != site.fingerprint(person.ssh_key):
        raise Refused(f"the key that signed is {signer}, not the one of {by}", hint="--key with the right key")
    return signature, signer


def sign(site: Site, key: Path | None, content: bytes, namespace: str) -> tuple[str, str]:
    """A signature and the fingerprint of the key that made it, by default the one in ``~/.ssh``."""
    from opsctl.shells.signing import Signer

    signature = Signer(key or Path.home() / ".ssh" / "id_ed25519", site.shell).sign(content, namespace)
    return signature, site.signatures.check(content, signature, namespace)
