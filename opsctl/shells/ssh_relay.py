"""A command of a host as a command of this machine, for programs that can only start local ones.

``restic --stdin-from-command`` keeps nothing of a dump whose command failed, but the command has to be one that it
starts itself. This is that command: it runs the other one on its host, passes its output on as it comes, no faster than
it is taken, and ends as the other one ended. What it needs (the host, the environment of the command, secrets among it)
it finds in one environment variable, which it takes away at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from opsctl.errors import Interrupted, OpsError, ProgramFailed, Refused
from opsctl.shells import local
from opsctl.shells.interface import Word
from opsctl.shells.relay_codes import REFUSED, UNREACHABLE
from opsctl.shells.ssh import SshShell
from opsctl.shells.ssh_connection import Connection, Keyring, Limits, Login, Target

VARIABLE = "OPSCTL_RELAY"
_GATE = 3


def relayed(
    target: Target, argv: Sequence[Word], *, env: Mapping[str, str] | None = None, sudo: bool | None = None,
    gated: bool = False,
) -> tuple[list[str], dict[str, str]]:
    """``(argv, environment)`` of a local command that runs ``argv`` on the host. ``gated``: see ``Shell.streamed``."""
    said = {
        "target": {"name": target.name, "address": target.address, "port": target.port, "user": target.user,
                   "host_key": target.host_key, "sudo": target.sudo if sudo is None else sudo},
        "login": {"key": str(target.login.key) if target.login.key else None,
                  "agent": target.login.agent or os.environ.get("SSH_AUTH_SOCK")},
        "limits": [target.limits.connect, target.limits.handshake, target.limits.silence],
        "argv": [os.fsdecode(word) for word in argv], "env": dict(env or {}), "gated": gated,
    }
    # -P: the folder that it is started in brings no modules in.
    package = str(Path(__file__).parents[2])
    environment = {VARIABLE: json.dumps(said), "PYTHONPATH": package}
    return [sys.executable, "-P", "-m", "opsctl.shells.ssh_relay", target.name], environment


def main() -> int:
    """Run what the environment says; its exit code, 128 and the signal, or one of the relay's own."""
    said = json.loads(os.environ.pop(VARIABLE))
    login = Login(Path(said["login"]["key"]) if said["login"]["key"] else None, said["login"]["agent"])
    target = Target(**said["target"], login=login, limits=Limits(*said["limits"]))
    output = sys.stdout.buffer

    def pass_on(piece: bytes) -> None:
        output.write(piece)

    try:
        with Connection(target, Keyring()) as connection:
            if said["gated"]:
                connection.transport()
                os.write(_GATE, b"r")
                if os.read(0, 1) != b"1":
                    return 141
            result = SshShell(connection).run([os.fsencode(word) for word in said["argv"]], env=said["env"],
                                              accept=None, on_data=pass_on)
            output.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read it has ended: nothing more is to be flushed
        return 141
    except OpsError as error:
        sys.stderr.write(f"{error.message}{f'; {error.hint}' if error.hint else ''}\n")
        if isinstance(error, Interrupted):
            return error.exit_code
        return REFUSED if isinstance(error, Refused) else 127 if isinstance(error, ProgramFailed) else UNREACHABLE
    sys.stderr.buffer.write(result.stderr)
    return 128 - result.code if result.code < 0 else result.code


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGTERM, lambda number, frame: local.stop(number))
    signal.signal(signal.SIGINT, lambda number, frame: local.stop(number))
    sys.exit(main())
