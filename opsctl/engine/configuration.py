"""The configuration directory: where it is, whether it may be trusted, and what its files say together."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from opsctl.engine.load import LARGEST, Document, Problem, load_document, merge, validate
from opsctl.errors import ConfigError
from opsctl.model.config import Config, Origin
from opsctl.model.config_sense import doubts

SYSTEM = Path("/etc/opsctl")
OWN = "configs"
_HINT = ("`opsctl init` writes a first one; --config DIR or $OPSCTL_CONFIG says where another one is; "
         "with nothing but a repository, restore, verify and backup list take --repository URL --password-file FILE")


def find_config_dir(
    explicit: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
    euid: int,
    *,
    system: Path = SYSTEM,
    here: Path | None = None,
) -> Path:
    """The configuration directory, absolute: ``explicit``, ``$OPSCTL_CONFIG``, ``system``, ``here/configs``.

    The last one only for ordinary users, and only where it is their own: it could name commands to run.
    Raises ConfigError where there is none.
    """
    told = os.fspath(explicit) if explicit is not None else environ.get("OPSCTL_CONFIG")
    if told:
        directory = Path(os.path.abspath(told))
        if not directory.is_dir():
            what = "is a file; give the directory that it is in" if directory.exists() else "does not exist"
            raise ConfigError(f"configuration directory {directory} {what}", hint=_HINT, where=str(directory))
        return directory
    own = (here or Path.cwd()) / OWN
    looked = [str(system)]
    if _holds_files(system):
        return system
    if euid != 0:
        looked.append(str(own))
        if _holds_files(own):
            owner = own.stat().st_uid
            if owner not in (0, euid):
                raise ConfigError(
                    f"{own} belongs to somebody else (uid {owner}) and could run commands as you",
                    hint=f"if you trust it, say so: --config {shlex.quote(str(own))}",
                    where=str(own),
                )
            return own
    if system.is_dir() and not os.access(system, os.R_OK | os.X_OK):
        raise ConfigError(f"you may not read {system}", hint=_HINT, where=str(system))
    raise ConfigError(f"there is no configuration in {' or '.join(looked)}", hint=_HINT)


def config_files(directory: Path) -> list[Path]:
    """The files that are read: ``*.yaml``, without ``*.example.yaml`` and hidden ones. Raises OSError."""
    names = sorted(os.listdir(directory))
    return [directory / name for name in names if name.endswith(".yaml") and _counts(name)]


def load_config(directory: str | os.PathLike[str], *, euid: int | None = None) -> Config:
    """All files of the directory as one Config.

    Relative paths in it start at the directory. Raises ConfigError: no file in it, somebody else may write to
    one (as root), or mistakes, all of them. ``euid`` is the user it is read for, by default ours.
    """
    place = Path(os.path.abspath(directory))
    user = os.geteuid() if euid is None else euid
    try:
        files = config_files(place)
        unsafe = writable_by_others(place, os.stat(place), user)
    except OSError as error:
        raise ConfigError(
            f"configuration directory {place} cannot be read: {error.strerror}", hint=_HINT, where=str(place)
        ) from error
    if unsafe:
        raise _unsafe([unsafe])
    documents = read_documents(files, user)
    if all(document.complete and document.data in (None, {}) for document in documents):
        found = "has no file with a key in it" if files else "has no *.yaml file"
        raise ConfigError(f"configuration directory {place} {found}", hint=_HINT, where=str(place))
    config = validate(Config, documents, context={"directory": str(place)})
    content = json.dumps(merge(documents).data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    origin = Origin(
        directory=place,
        files=tuple(str(file) for file in files),
        digest=hashlib.sha256(content.encode()).hexdigest(),
        warnings=(*_not_read(place), *doubts(config)),
    )
    object.__setattr__(config, "_origin", origin)
    return config


def read_documents(files: Sequence[Path], euid: int, *, code: Path | None = None) -> list[Document]:
    """Read files that decide what is run (configuration, playbooks).

    Raises ConfigError where euid is root and others may write to one. A file that cannot be read becomes a
    document with that problem. ``code``: the program's own code, where the files came with it. Whoever can write that
    can do what they like already, so the same people may write to the files; never everybody.
    """
    documents: list[Document] = []
    unsafe: list[str] = []
    for file in files:
        content, refused, trouble = _content(file, euid, code)
        if refused:
            unsafe.append(refused)
        elif trouble:
            problem = Problem(str(file), 1, (), trouble)
            documents.append(Document(str(file), problems=(problem,), complete=False))
        else:
            documents.append(load_document(content, str(file)))
    if unsafe:
        raise _unsafe(unsafe)
    return documents


def writable_by_others(path: Path, status: os.stat_result, euid: int) -> str | None:
    """Why root must not obey ``path``, with the command that mends it; None where there is nothing to say."""
    if euid != 0:
        return None
    quoted = shlex.quote(str(path))
    if status.st_uid != 0:
        return f"{path}: belongs to uid {status.st_uid}, who can write to it: chown root {quoted}"
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o022:
        return f"{path}: others can write to it (mode {mode:04o}): chmod go-w {quoted}"
    return None


def _as_the_code(status: os.stat_result, code: Path) -> bool:
    """Whether nobody can write to a file but those who can write to the program's code."""
    own = os.stat(code)
    by_group = not status.st_mode & 0o020 or (own.st_mode & 0o020 and status.st_gid == own.st_gid)
    return status.st_uid in (0, own.st_uid) and bool(by_group) and not status.st_mode & 0o002


def _content(file: Path, euid: int, code: Path | None) -> tuple[bytes, str | None, str | None]:
    """(content, why it is refused, why it cannot be read). What is checked is what was opened."""
    try:
        # Without O_NONBLOCK a pipe of that name would hold us up for ever.
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return b"", None, f"cannot be read: {error.strerror}"
    try:
        status = os.fstat(handle)
        refused = writable_by_others(file, status, euid)
        if refused and not (code is not None and _as_the_code(status, code)):
            return b"", refused, None
        if not stat.S_ISREG(status.st_mode):
            return b"", None, "is not a file"
        with open(handle, "rb", closefd=False) as stream:
            return stream.read(LARGEST + 1), None, None
    except OSError as error:
        return b"", None, f"cannot be read: {error.strerror}"
    finally:
        os.close(handle)


def _unsafe(problems: Sequence[str]) -> ConfigError:
    return ConfigError(
        "as root, a configuration that others can write to is refused", problems=problems, hint=problems[0]
    )


def _counts(name: str) -> bool:
    return not name.startswith(".") and not name.endswith(".example.yaml")


def _holds_files(directory: Path) -> bool:
    try:
        return bool(config_files(directory))
    except OSError:
        return False


def _not_read(directory: Path) -> list[str]:
    return [
        f"{directory / name} is not read: its name has to end in .yaml"
        for name in sorted(os.listdir(directory))
        if name.endswith(".yml") and _counts(name)
    ]
