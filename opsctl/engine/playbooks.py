"""Where playbooks are found: the packaged ones, and the site's own beside the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from opsctl.engine.configuration import read_documents
from opsctl.engine.load import validate
from opsctl.errors import ConfigError
from opsctl.model.playbook import Playbook
from opsctl.model.unknown import unknown


def packaged() -> Path:
    """The folder of the packaged playbooks: inside the package where it was installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    inside = package / "playbooks_data"
    return inside if inside.is_dir() else package.parent / "playbooks"


def paths(config: Any) -> dict[str, Path]:
    """Every playbook by name. A site's own (``playbooks/`` beside the configuration) stands before a packaged one."""
    found = {path.stem: path for path in sorted(packaged().glob("*.yaml"))}
    if config is not None and config.directory is not None:
        own = config.directory / "playbooks"
        found.update({path.stem: path for path in sorted(own.glob("*.yaml"))})
    return found


def find(name: str, config: Any) -> Playbook:
    """A playbook by its name, or by the path of its file. ConfigError with every mistake in it; UsageError where there is none."""
    return read(path_of(name, config))


def path_of(name: str, config: Any) -> Path:
    """The file of a playbook by its name, or by that file's path. UsageError where there is none."""
    return _path(name, paths(config))


def _path(name: str, known: Mapping[str, Path]) -> Path:
    if name in known:
        return known[name]
    if "/" in name or name.endswith(".yaml"):
        return Path(name)
    raise unknown("playbook", name, known, hint="opsctl playbooks list")


def read(path: Path) -> Playbook:
    """Read one file strictly. ConfigError with every mistake; as root also where others may write to it.

    A packaged one belongs to the program: it is trusted as the program's code is.
    """
    code = Path(__file__) if path.parent == packaged() else None
    return validate(Playbook, read_documents([path], os.geteuid(), code=code), what=f"playbook {path.name}")


def check(config: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[str, Path, ConfigError | None]]:
    """Read playbooks and look up every word in them: name, path, and what is wrong or None."""
    from opsctl.actions.registry import action

    known = paths(config)
    for name in names or tuple(known):
        path = _path(name, known)
        yield name, path, _mistakes(path, action)


def _mistakes(path: Path, action: Callable[[str], Any]) -> ConfigError | None:
    try:
        playbook = read(path)
    except ConfigError as error:
        return error
    problems = []
    for step in playbook.steps:
        try:
            action(step.uses)
        except ConfigError as error:
            problems.append(f"{path}: step {step.id}: {error.message}")
    if playbook.name != path.stem:
        problems.append(f"{path}: name: the file is called {path.stem}, the playbook {playbook.name}")
    return ConfigError(f"{path} has mistakes", problems=problems) if problems else None
