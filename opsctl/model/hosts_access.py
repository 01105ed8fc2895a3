"""What a host has to allow, as the lines to put there: account, keys, sudoers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from opsctl.model.hosts import Host
from opsctl.model.values import value

if TYPE_CHECKING:
    from opsctl.model.config import Config

#: Names of environment variables that sudo has to let through: secrets, which never stand in an argument list, and from where
#: we are logged in, whom no rule may shut out.
KEPT = ("RESTIC_REPOSITORY", "RESTIC_PASSWORD", "RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD", "RESTIC_CACERT",
        "RESTIC_CACHE_DIR", "RESTIC_KEY_HINT", "RESTIC_PROGRESS_FPS", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION", "SSH_CONNECTION")

_PKILL = (("pkill", "-TERM", "-s", "[0-9]*"), ("pkill", "-KILL", "-s", "[0-9]*"))
_BACKUP = (("restic",), *_PKILL)
# One shell, not nft, ss, nsenter and conntrack each: whoever may call these as root is root, in more commands.
_ISOLATION = (("sh",), *_PKILL)
# sudo compares whole paths. restic is often newer than the system's own, and then in the other folder.
_FOLDERS = {"sh": ("/bin",), "restic": ("/usr/bin", "/usr/local/bin")}


@value
class Entered:
    """What a host is logged into for with the key for isolation. ``nft``: rules of ours stand there; ``tracks``: it cuts others off
    or has the backup store, which takes connection tracking; ``programs``: tools of the site that run there.
    """

    nft: bool
    tracks: bool
    programs: tuple[str, ...]


def entered(config: Config, name: str) -> Entered | None:
    """For what the key for isolation has to be let in by a host; None where it has not."""
    host, common = config.hosts[name], config.isolation
    tracks = name == common.store or any(other.gateway == name for other in config.hosts.values())
    tools = [tool for tool in common.tools.values() if tool.host == name]
    nft = host.isolation == "nftables" or tracks
    if host.os != "linux" or not (nft or tools or name == common.witness or host.root_shell):
        return None
    programs = dict.fromkeys(words[0] for tool in tools for words in (tool.observe, tool.load, tool.release))
    return Entered(nft, tracks, tuple(programs))


def without_root(name: str, host: Host) -> str | None:
    """What a host that is cut off by its own rules, or cuts others off, lacks for that; None where it is logged into as root somehow."""
    if host.os != "linux" or not (host.isolation == "nftables" or host.root_shell) or host.become != "none" or host.user == "root":
        return None
    return f"rules on {name} take root, and {host.user} is not: write become: sudo (or user: root) beside it, then `opsctl hosts prepare {name}`"


def commands(host: Host) -> tuple[tuple[str, ...], ...]:
    """What runs as root on a host with ``become: sudo``: a program, and its words where only these are allowed."""
    wanted = _BACKUP + tuple((program,) for program in host.as_root) + (
        _ISOLATION if host.isolation == "nftables" or host.root_shell else ())
    return tuple(dict.fromkeys(wanted))


def sudoers(host: Host) -> list[str]:
    """The lines of ``/etc/sudoers.d/opsctl``."""
    allowed = [" ".join((f"{folder}/{words[0]}", *words[1:]))
               for words in commands(host) for folder in _FOLDERS.get(words[0], ("/usr/bin",))]
    # sudo reads , : = \ in arguments as its own; none of ours has one.
    return [
        f'Defaults:{host.user} !requiretty, !use_pty, env_keep += "{" ".join(KEPT)}"',
        f"{host.user} ALL=(root) NOPASSWD: {', '.join(allowed)}",
    ]


def authorized_keys(keys: Mapping[str, str], sources: Sequence[str]) -> list[str]:
    """A line for each login key: nothing but commands (no forwarding, no terminal), and only from these addresses."""
    who = f',from="{",".join(sources)}"' if sources else ""
    return [f"restrict{who} {key}" for key in keys.values()]


def account(host: Host) -> list[str]:
    """The commands that make the account. Its password is one that nobody has; `usermod -L` would lock keys out too."""
    if host.user == "root":
        return []
    return [f"useradd --create-home --shell /bin/sh --password '*' {host.user}",
            f"install -d -m 0700 -o {host.user} -g {host.user} ~{host.user}/.ssh"]
