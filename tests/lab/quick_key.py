"""A repository's key made cheap, so that tests of everything else do not wait for it.

restic derives the key that opens a repository with half a second of scrypt, by design, for every call. The numbers
stand in the key object; a key with small ones is as good to restic, and unlocks the same repository with the same
password. Nothing else changes: this is for tests, where passwords protect nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

_QUICK = {"N": 2, "r": 8, "p": 1}


def make_quick(repository: Path, password: str, ledger: Path | None = None) -> str:
    """Replace the only key of a repository in a directory, and its name in our ledger; returns the new name."""
    (path,) = (repository / "keys").iterdir()
    key = json.loads(path.read_bytes())
    master = _open(base64.b64decode(key["data"]), _derive(password, key))
    key.update(_QUICK)
    key["data"] = base64.b64encode(_seal(master, _derive(password, key))).decode()
    content = json.dumps(key).encode()
    name = hashlib.sha256(content).hexdigest()
    path.unlink()
    (repository / "keys" / name).write_bytes(content)
    (repository / "keys" / name).chmod(0o400)
    if ledger is not None:
        known = json.loads(ledger.read_text())
        ledger.write_text(json.dumps({**known, "key": name}))
    return name


def _derive(password: str, key: Mapping[str, Any]) -> bytes:
    """32 bytes for AES, then K and R of Poly1305-AES, 16 each."""
    return hashlib.scrypt(password.encode(), salt=base64.b64decode(key["salt"]), n=key["N"], r=key["r"], p=key["p"],
                          dklen=64, maxmem=2**28)


def _open(sealed: bytes, key: bytes) -> bytes:
    nonce, text, tag = sealed[:16], sealed[16:-16], sealed[-16:]
    assert _tag(nonce, text, key) == tag, "the password does not open this key"
    return _crypt(nonce, text, key)


def _seal(plain: bytes, key: bytes) -> bytes:
    nonce = os.urandom(16)
    text = _crypt(nonce, plain, key)
    return nonce + text + _tag(nonce, text, key)


def _crypt(nonce: bytes, data: bytes, key: bytes) -> bytes:
    return Cipher(algorithms.AES(key[:32]), modes.CTR(nonce)).encryptor().update(data)


def _tag(nonce: bytes, text: bytes, key: bytes) -> bytes:
    pad = Cipher(algorithms.AES(key[32:48]), modes.ECB()).encryptor().update(nonce)
    return Poly1305.generate_tag(key[48:64] + pad, text)
