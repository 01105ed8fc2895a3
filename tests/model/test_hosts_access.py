"""What a host lets through to restic as root is all that restic is told."""

from __future__ import annotations

from pathlib import Path

from opsctl.model.hosts_access import KEPT
from opsctl.model.secrets import SecretRef
from opsctl.repositories.restic import Restic
from opsctl.shells.local import LocalShell


def test_sudo_keeps_everything_that_restic_is_told_by_its_environment(tmp_path: Path) -> None:
    for name in ("password", "id", "secret"):
        (tmp_path / name).write_text(f"{name}\n")
        (tmp_path / name).chmod(0o600)
    password, ident, secret = (SecretRef(name, file=str(tmp_path / name)) for name in ("password", "id", "secret"))
    far = {"password": password, "cacert": "/x", "shell": LocalShell(), "cache_dir": tmp_path, "version": (0, 18)}
    rest = Restic("a", "rest:https://b/a", rest_user="u", rest_secret=secret, **far)  # type: ignore[arg-type]
    s3 = Restic("b", "s3:https://b/bucket/b", s3_keys=(ident, secret), s3_region="ap-south-1", **far)  # type: ignore[arg-type]
    for one in (rest, s3):
        told = {name for name, value in one.program.environment().items() if value}  # what is empty only hides others
        assert told <= set(KEPT)
