"""A service as it is asked, stopped and started: through systemctl, or by the site's own commands."""

from __future__ import annotations

from collections.abc import Sequence

from opsctl.errors import ProgramFailed
from opsctl.model.config_services import Service
from opsctl.model.quantities import format_size
from opsctl.model.values import value
from opsctl.shells.interface import Result, Shell

_LOOK = 30.0
_STOPPED = ("inactive", "failed")


@value
class Running:
    """Whether it runs, and what of it would be lost by stopping it, in words."""

    runs: bool
    lost: str


class Runner:
    """``shell`` is that of the machine where it runs. A unit is asked as anybody, and stopped as root."""

    def __init__(self, name: str, spec: Service, shell: Shell) -> None:
        self.name = name
        self.spec = spec
        self.shell = shell

    def look(self) -> Running:
        """Raises ProgramFailed where nobody knows whether it runs, and what shells raise."""
        if self.spec.unit is not None:
            return self._unit()
        result = self._run(self.spec.running or (), _LOOK, accept=(0, 1, 3))
        what = "everything that the machine has in memory" if self.spec.machine else "its memory"
        return Running(result.code == 0, f"{what}, its connections, its temporary files")

    def stop(self) -> None:
        self._run(self.spec.stop or ("systemctl", "stop", str(self.spec.unit)), self.spec.limit.total_seconds())

    def start(self) -> None:
        self._run(self.spec.start or ("systemctl", "start", str(self.spec.unit)), self.spec.limit.total_seconds())

    def _unit(self) -> Running:
        properties = ("LoadState", "ActiveState", "MainPID", "MemoryCurrent", "PrivateTmp")
        said = self._run(["systemctl", "show", f"--property={','.join(properties)}", "--", str(self.spec.unit)], _LOOK).text
        found = dict(line.partition("=")[::2] for line in said.splitlines())
        if found.get("LoadState") != "loaded":
            raise ProgramFailed(f"there is no unit {self.spec.unit} on {self.shell.name}: systemd says {found.get('LoadState') or 'nothing'}",
                                where=self.name, hint=f"services: {self.name}: unit: names it")
        memory, pid = found.get("MemoryCurrent", ""), found.get("MainPID", "0")
        much = f"{format_size(int(memory))} of memory" if memory.isdigit() and len(memory) < 18 else "its memory"
        who = f" (process {pid})" if pid != "0" else ""
        own = "its private /tmp" if found.get("PrivateTmp") == "yes" else "its temporary files"
        return Running(found.get("ActiveState") not in _STOPPED, f"{much}{who}, its connections, {own}")

    def _run(self, argv: Sequence[str], seconds: float, accept: Sequence[int] = (0,)) -> Result:
        # Through the one shell that sudoers allows.
        words = list(argv) if self.shell.here else ["sh", "-c", 'exec "$@"', "sh", *argv]
        return self.shell.run(words, timeout=seconds, accept=accept)
