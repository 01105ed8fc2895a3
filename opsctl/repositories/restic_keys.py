"""The keys of a repository: which there are, and a further one for the safe."""

from __future__ import annotations

import os

from opsctl.errors import ProgramFailed, Refused
from opsctl.model.secrets import SecretText
from opsctl.repositories import restic_output
from opsctl.repositories.interface import Key
from opsctl.repositories.restic_failures import Caller


def listed(caller: Caller) -> list[Key]:
    """As ``Repository.keys`` promises."""
    result = caller.call("list the keys", ["key", "list", "--json", "--no-lock"])
    return [Key(str(one.get("id", "")), str(one.get("userName", "")), str(one.get("hostName", "")), str(one.get("created", "")),
                bool(one.get("current"))) for one in restic_output.array(result.stdout)]


def add(caller: Caller, password: SecretText, user: str, host: str) -> None:
    """As ``Repository.add_key`` promises. The password lies in memory only; restic reads it as a file."""
    descriptor = os.memfd_create("key")
    try:
        os.write(descriptor, password.reveal().encode())
        caller.call("add a key", ["key", "add", "--new-password-file", f"/proc/{os.getpid()}/fd/{descriptor}", "--user", user,
                                  "--host", host])
    finally:
        os.close(descriptor)


def opens(caller: Caller, password: SecretText) -> bool:
    """As ``Repository.opens_with`` promises."""
    # An empty hint: ours names the everyday key, which another password does not open.
    env = {"RESTIC_PASSWORD": password.reveal(), "RESTIC_KEY_HINT": ""}
    try:
        caller.call("open it with another password", ["cat", "config", "--no-lock"], sure=False, env=env)
    except Refused:
        return False
    except ProgramFailed as error:
        if "password" in error.message:
            return False
        raise
    return True
