"""What a host has to allow, as the lines to put there: account, keys, sudoers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opsctl.model.hosts import Host

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
