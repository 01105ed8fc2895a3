"""Whether the site's own rules for a scan may be believed."""

from __future__ import annotations

import os
from pathlib import Path

from opsctl.engine.configuration import writable_by_others
from opsctl.errors import ConfigError


def refuse_others(folder: Path) -> None:
    """ConfigError where we are root and others could take rules away: in the folder, or in a file of it."""
    from opsctl.scanning.yara import rule_files

    try:
        places = [folder, *rule_files(folder)]
        found = [why for place in places if (why := writable_by_others(place, os.stat(place), os.geteuid()))]
    except OSError as error:
        raise ConfigError(f"the folder of YARA rules cannot be read: {error.strerror}", where=str(folder),
                          hint="scan: {rules: …} names it") from error
    if found:
        raise ConfigError("as root, YARA rules that others can write to are refused", problems=found, hint=found[0], where=str(folder))
