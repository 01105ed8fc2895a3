"""Could restored data be searched today: the rules that opsctl brings, and the site's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opsctl.cli.doctor import OK, WRONG, Check
from opsctl.errors import ConfigError
from opsctl.model.quantities import counted

if TYPE_CHECKING:
    from opsctl.wiring import Site

NAME = "yara rules"


def rules(site: Site) -> Sequence[Check]:
    """Whether all of them compile; a row for each mistake, by file and line."""
    own = site.config.scan.rules
    try:
        files = site.scanner().check()
    except ConfigError as error:
        return [Check(NAME, WRONG, text, error.hint or "") for text in (error.problems or (error.message,))]
    return [Check(NAME, OK, f"{counted(files, 'file')} of them {'compiles' if files == 1 else 'compile'}"
                            f"{f', those in {own} too' if own else ''}")]
