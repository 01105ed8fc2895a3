"""kit_check: whether an emergency kit is whole, ours, up to date, and can be installed from."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from opsctl import kit_folder
from opsctl.actions.interface import CheckAction, Params, World
from opsctl.actions.restoring import plain
from opsctl.errors import DamagedData, NotConverged, OpsError, ProgramFailed, Refused, SafetyRefusal
from opsctl.kit import debian
from opsctl.model.fields import Duration
from opsctl.model.kit import NAMESPACE, open_index, stale
from opsctl.model.part import AfterValidator
from opsctl.model.quantities import counted
from opsctl.model.records import canonical
from opsctl.plain_file import read_plain

_SECONDS = 900.0


class KitCheckParams(Params):
    """``kit`` is where it lies, read-only or not; ``age`` the most that it may be old; ``install``: try it."""

    kit: Annotated[str, AfterValidator(plain)]
    age: Duration = timedelta(days=90)
    install: bool = True


@dataclass(frozen=True)
class Seen:
    """What was found, each already an error of its own; ``said`` what the installed opsctl answered."""

    kit: str
    record: Mapping[str, Any]
    signer: str
    wrong: tuple[OpsError, ...]
    said: Mapping[str, Any]


class KitCheck(CheckAction[KitCheckParams, Seen]):
    """A drill with an emergency kit. It may lie on a read-only medium.

    with:
      kit      where it is
      age      the most that it may be old (90d)
      install  true: install from it into a throw-away folder, where root may without any network, and ask that opsctl its version
               and what `doctor --offline` sees; and let apt try whether a bare machine could install its packages

    Found are files that are missing, changed or in no index (22), a signature of somebody else (12), and what is no longer so:
    its age, the lock file, the configuration, the people, the repositories (21).
    """

    word = "kit_check"
    Params = KitCheckParams

    def observe(self, params: KitCheckParams, world: World) -> Seen:
        kit = Path(params.kit)
        try:
            record, signature = open_index(read_plain(kit / kit_folder.INDEX))
        except FileNotFoundError as error:
            raise SafetyRefusal(f"there is no kit in {kit}", hint="is it mounted? `opsctl kit build DIR` makes one") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise DamagedData(f"{kit / kit_folder.INDEX} cannot be used: {why}", hint="use another copy of the kit") from error
        signer = world.signatures.check(canonical(record), signature, NAMESPACE)
        wrong: list[OpsError] = []
        if signer not in world.trusted:
            wrong.append(Refused(f"the kit is signed by {signer}, whom nobody here vouches for", where=params.kit,
                                 hint="if this is the fingerprint that you kept: --trust; otherwise somebody else made it"))
        wrong += _damage(kit, record["files"])
        wrong += [NotConverged(text, where=params.kit, hint="opsctl kit build makes a new one")
                  for text in stale(record, world.kit.present(), world.now, params.age)]
        said: dict[str, Any] = {}
        if params.install and signer in world.trusted and not any(isinstance(one, DamagedData) for one in wrong):
            try:
                said = _try(kit, record, world)
            except OpsError as error:
                wrong.append(error)
        return Seen(params.kit, record, signer, tuple(wrong), said)

    def findings(self, params: KitCheckParams, seen: Seen) -> Sequence[OpsError]:
        return seen.wrong

    def result(self, params: KitCheckParams, seen: Seen) -> Mapping[str, Any]:
        return {"kit": params.kit, "time": seen.record["time"], "signed_by": seen.signer, "files": len(seen.record["files"]),
                "for": seen.record.get("for", {}), "people": seen.record.get("people_fingerprint"), **seen.said}


def _damage(kit: Path, files: Mapping[str, Any]) -> list[OpsError]:
    found = [f"{name} {what}" for name, what in kit_folder.differences(kit, files)]
    there = {str(path.relative_to(kit)) for path in kit.rglob("*") if path.is_symlink() or not path.is_dir()}
    strange = [name for name in there - set(files) - {kit_folder.INDEX}
               if "__pycache__" not in name and not name.startswith("lost+found")]
    found += [f"{name} is in no index" for name in sorted(strange)]
    if not found:
        return []
    more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    return [DamagedData(f"the kit is not what was signed: {'; '.join(found[:5])}{more}", where=str(kit),
                        hint="use another copy, and build a new one", details={"files": found[:200]})]


def _try(kit: Path, record: Mapping[str, Any], world: World) -> dict[str, Any]:
    """Install from it into a throw-away folder, and ask what was installed."""
    packages = kit_folder.packages_of(kit)
    if packages is not None:
        names = debian.wanted({source.kind for source in world.config.sources.values()})
        if wrong := debian.complete(packages, names, world.shell):
            raise ProgramFailed(f"a bare machine could not install the packages of the kit: {wrong}", where=str(kit),
                                hint="build a new one")
    wanted = record["for"]["python"]
    python = sys.executable if f"{sys.version_info[0]}.{sys.version_info[1]}" == wanted else shutil.which(f"python{wanted}")
    if python is None:
        raise ProgramFailed(f"the kit is for Python {wanted}, which is not here, so it was not tried", where=str(kit),
                            hint="try it where that Python is, or with --no-install")
    base = getattr(sys, "_base_executable", None) if python == sys.executable else python
    with tempfile.TemporaryDirectory(prefix="opsctl-kit-") as root:
        alone = ["unshare", "--net", "--"] if os.geteuid() == 0 else []
        env = {"PIP_CONFIG_FILE": "/dev/null", "PYTHONDONTWRITEBYTECODE": "1"}
        world.shell.run([*alone, str(base or python), str(kit / kit_folder.CODE / "opsctl" / "bootstrap.py"), "install",
                         "--root", root, "--offline", str(kit)], timeout=_SECONDS, env=env)
        program = str(Path(root) / "usr" / "local" / "bin" / "opsctl")
        version = json.loads(world.shell.run([*alone, program, "--version", "--json"], timeout=60, env=env).text)
        doctor = world.shell.run([*alone, program, "--config", str(kit / kit_folder.CONFIGURATION), "--json", "doctor", "--offline"],
                                 timeout=300, env=env, accept=None)
        try:
            checks = json.loads(doctor.text)["result"]["checks"]
        except (ValueError, KeyError, TypeError) as error:
            raise ProgramFailed(f"opsctl as the kit installs it could not look at this machine: {doctor.errors.strip()[-300:]}",
                                where=str(kit)) from error
    return {"installed": version["result"]["version"], "doctor": {one["name"]: one["state"] for one in checks},
            "tried": f"{counted(len(checks), 'check')} of doctor --offline"}
