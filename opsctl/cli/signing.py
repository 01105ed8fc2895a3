"""Signing on the command line in the name of one of ``people``, and the files in which what is to be signed is carried."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsctl.errors import DamagedData, Refused, SafetyRefusal, UsageError

if TYPE_CHECKING:
    from opsctl.cli.session import Session
    from opsctl.model.two_people import Signed
    from opsctl.wiring import Site

_LARGEST = 8 << 20  # bytes of a file that is carried: a plan for hundreds of hosts is one


def sign_as(site: Site, by: str, key: Path | None, content: bytes, namespace: str) -> tuple[str, str]:
    """The signature of one of the people of the configuration, and the fingerprint of their key.

    UsageError where there is nobody of that name, SafetyRefusal where they have no key there, Refused where another key signed.
    """
    from opsctl.model.unknown import unknown

    person = site.config.people.get(by)
    if person is None:
        called = [name for name, one in site.config.people.items() if one.name.casefold() == by.casefold()]
        raise unknown("person", by, site.config.people, hint=f"{by} is called {called[0]} here: --by {called[0]}" if called else "")
    if person.ssh_key is None:
        raise SafetyRefusal(f"{by} has no ssh_key in the configuration, so nothing they say can be checked",
                            hint=f"put their public key under people.{by}.ssh_key")
    return _theirs(site, by, key, site.fingerprint(person.ssh_key), content, namespace)


def sign(site: Site, key: Path | None, content: bytes, namespace: str) -> tuple[str, str]:
    """A signature and the fingerprint of the key that made it, by default the one in ``~/.ssh``."""
    from opsctl.shells.signing import Signer

    signature = Signer(key or Path.home() / ".ssh" / "id_ed25519", site.shell).sign(content, namespace)
    return signature, site.signatures.check(content, signature, namespace)


def _theirs(site: Site, by: str, key: Path | None, fingerprint: str, content: bytes, namespace: str) -> tuple[str, str]:
    signature, signer = sign(site, key, content, namespace)
    if signer != fingerprint:
        raise Refused(f"the key that signed is {signer}, not the one of {by}", hint="--key with the right key")
    return signature, signer


def sign_request(
    site: Site, asked: Mapping[str, Any], by: str, key: Path | None, keys: Mapping[str, str], namespace: str
) -> Signed:
    """One person's signature under a request that takes two. ``keys``: fingerprints of those who may."""
    from opsctl.model.two_people import Signed, signed_bytes

    if by not in keys:
        raise UsageError(f"there is nobody called {by!r} with an ssh_key under people", hint=f"there are: {', '.join(keys) or 'none'}")
    return Signed(by, *_theirs(site, by, key, keys[by], signed_bytes(asked, by), namespace))


def read_json(path: Path, what: str) -> Any:
    """A file that somebody may have brought from anywhere. DamagedData (22) where it cannot be read as ``what``."""
    try:
        with path.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError("it is too large")
        return json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedData(f"{path} cannot be read as {what}: {error}", where=str(path)) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Such a file, private, whole or not at all."""
    from opsctl.repositories.whole import write_whole

    write_whole(path.absolute(), json.dumps(content, indent=1).encode() + b"\n")


def write_request(path: Path, asked: Mapping[str, Any], signed: Sequence[Signed]) -> None:
    write_json(path, {"request": dict(asked), "signatures": [{"by": one.by, "signature": one.signature} for one in signed]})


def signed_nowhere(session: Session) -> Site:
    """What it takes to sign on a machine without a configuration, and nothing else."""
    from opsctl.cli.work import clock
    from opsctl.model.config import Config
    from opsctl.wiring import Site

    return Site(Config.model_validate({"state": os.path.abspath(os.devnull)}), clock=clock(session), environ=session.environ)
