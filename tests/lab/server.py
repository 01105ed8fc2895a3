"""What the lab's servers have in common: how they begin and end, and a certificate that vouches for itself."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from opsctl.errors import ProgramFailed


class Server(ABC):
    """One server: `with Kind(…) as server:`, or start() and stop()."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def start(self) -> Self:
        """Start it and wait until it answers; raises ProgramFailed with what it said, if not. Then nothing is left running."""

    @abstractmethod
    def stop(self) -> None:
        """End it at once."""


def certify(address: str, key: Path, certificate: Path) -> None:
    """Make a key and a certificate for an address, signed by itself, in PEM."""
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
         "-subj", f"/CN={address}", "-addext", f"subjectAltName=IP:{address}", "-keyout", str(key), "-out", str(certificate)],
        capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProgramFailed(f"openssl: {done.stderr.strip()}")
