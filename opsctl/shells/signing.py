"""Signatures by OpenSSH (``ssh-keygen -Y``): made with a key file or an agent, checked as to who made them.

A signature is the armored SSHSIG text. It holds for one namespace: its purpose, as in ``manifest@opsctl``.
Who is believed is for the caller to decide, by the fingerprint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from opsctl.errors import DamagedData, ProgramFailed, Refused
from opsctl.model.values import value
from opsctl.shells.interface import Result, Shell
from opsctl.shells.local import last_words

_SECONDS = 20.0
_PERSON_SECONDS = 120.0     # an agent may ask for a touch of a hardware key
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_NAMESPACE = re.compile(r"[a-z][a-z0-9._-]*@[a-z0-9._-]+")
_KEY_TYPE = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+")
_GOOD = re.compile(r'Good "([^"]*)" signature with \S+ key (SHA256:[A-Za-z0-9+/]{43})')
_MAGIC = b"SSHSIG"


@value
class Signer:
    """Signs with one key: a private key's file, or the ``.pub`` of a key that an agent holds.

    ``agent`` is the agent's socket, by default ``SSH_AUTH_SOCK``. It is asked where the private key is not
    here or is protected by a passphrase; no person is ever asked for one.
    """

    key: Path | None
    shell: Shell
    agent: str | None = None

    def sign(self, data: bytes, namespace: str) -> str:
        """Raises Refused (no key, unreadable, a passphrase without agent), ProgramFailed, Unreachable."""
        _check_namespace(namespace)
        if self.key is None:
            raise Refused("there is no key to sign with",
                          hint="`opsctl init` makes this machine's; --key FILE names another")
        agent = self.agent or os.environ.get("SSH_AUTH_SOCK")
        if self._is_public():
            if not agent:
                raise Refused(f"{self.key} is a public key and no agent is running", where=str(self.key),
                              hint="name the private key, or start ssh-agent and add it")
            return self._signed(self._run(data, namespace, agent, ["-U"]))
        done = self._run(data, namespace, None, [])
        if done.code and agent and "incorrect passphrase" in done.errors:
            done = self._run(data, namespace, agent, [])
        return self._signed(done)

    def _is_public(self) -> bool:
        assert self.key is not None
        try:
            with self.key.open("rb") as file:
                start = file.read(64).decode("ascii", "replace")
        except OSError as error:
            raise Refused(f"the signing key {self.key} cannot be read: {error.strerror}", where=str(self.key),
                          hint="--key FILE names the private key of who signs") from error
        return bool(_KEY_TYPE.match(start))

    def _run(self, data: bytes, namespace: str, agent: str | None, more: Sequence[str]) -> Result:
        # An empty passphrase on the command line is no secret, and keeps ssh-keygen from asking for one.
        argv = ["ssh-keygen", "-Y", "sign", "-q", "-P", "", *more, "-f", str(self.key), "-n", namespace]
        env = {"SSH_ASKPASS_REQUIRE": "never", **({"SSH_AUTH_SOCK": agent} if agent else {})}
        timeout = _PERSON_SECONDS if agent else _SECONDS
        return self.shell.run(argv, stdin=data, env=env, timeout=timeout, accept=None)

    def _signed(self, done: Result) -> str:
        signature = done.text
        if done.code == 0 and _unpack(signature):
            return signature
        where = str(self.key)
        if "incorrect passphrase" in done.errors:
            raise Refused(f"the signing key {self.key} is protected by a passphrase", where=where,
                          hint=f"`ssh-add {self.key}`, then the same again")
        if "are too open" in done.errors:
            raise Refused(f"others can read the signing key {self.key}", where=where,
                          hint=f"chmod 600 {self.key}; if others may have copied it, make a new one")
        raise Refused(f"ssh-keygen could not sign with {self.key}: {last_words(done.stderr)}", where=where,
                      hint="is it an SSH private key, and whole?")


def fingerprint(text: str) -> str:
    """``SHA256:…`` of a public key (a line of a ``.pub`` file) or of the key that a signature names.

    That a signature names a key says nothing yet: ``check`` does. DamagedData where the text is neither.
    """
    if text.lstrip().startswith(_BEGIN):
        found = _unpack(text)
        if found is None:
            raise DamagedData("this is no SSH signature")
        return _digest(found[0])
    words = text.split()
    for kind, encoded in pairwise(words):
        if _KEY_TYPE.fullmatch(kind):
            blob = _decoded(encoded)
            if blob is not None and blob.startswith(struct.pack(">I", len(kind)) + kind.encode()):
                return _digest(blob)
    raise DamagedData("this is no SSH public key")


def check(data: bytes, signature: str, namespace: str, shell: Shell) -> str:
    """The fingerprint (``SHA256:…``) of the key that signed ``data`` for ``namespace``, whoever has that key.

    Raises DamagedData (the signature does not hold), ProgramFailed (ssh-keygen cannot be asked), Unreachable.
    """
    _check_namespace(namespace)
    named = _unpack(signature)
    if named is None:
        raise DamagedData("the signature is none: it is not in OpenSSH's format")
    blob, purpose = named
    if purpose != namespace:
        raise DamagedData(f"the signature was made for another purpose, {purpose!r}, not for {namespace!r}")
    # In memory: checking must work, and leave nothing behind, on a machine whose disks are full.
    descriptor = os.memfd_create("signature")
    try:
        os.write(descriptor, signature.encode())
        argv = ["ssh-keygen", "-Y", "check-novalidate", "-n", namespace,
                "-s", f"/proc/{os.getpid()}/fd/{descriptor}"]
        done = shell.run(argv, stdin=data, timeout=_SECONDS, accept=None)
    finally:
        os.close(descriptor)
    if done.code < 0 or "Couldn't read signature file" in done.errors:
        raise ProgramFailed(f"ssh-keygen could not check a signature: {last_words(done.stderr)}",
                            details={"exit_code": done.code})
    if done.code:
        raise DamagedData(f"the signature does not hold: {last_words(done.stdout, done.stderr)}")
    found = _GOOD.fullmatch(done.text.strip())
    if found is None or found[1] != namespace or found[2] != _digest(blob):
        raise DamagedData(f"the signature cannot be believed: ssh-keygen says {last_words(done.stdout)}")
    return found[2]


def _check_namespace(namespace: str) -> None:
    if not _NAMESPACE.fullmatch(namespace):
        raise ValueError(f"{namespace!r} is no namespace for signatures: purpose@opsctl")


def _digest(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _unpack(signature: str) -> tuple[bytes, str] | None:
    """The public key and the namespace that a signature names (PROTOCOL.sshsig); None where it is none."""
    lines = signature.strip().splitlines()
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        return None
    raw = _decoded("".join(lines[1:-1]))
    if raw is None or raw[:len(_MAGIC)] != _MAGIC:
        return None
    try:
        version, size = struct.unpack_from(">II", raw, 6)
        key = raw[14:14 + size]
        (length,) = struct.unpack_from(">I", raw, 14 + size)
        purpose = raw[18 + size:18 + size + length].decode("ascii")
    except (struct.error, UnicodeDecodeError):
        return None
    if version != 1 or len(key) != size or len(purpose) != length:
        return None
    return key, purpose
