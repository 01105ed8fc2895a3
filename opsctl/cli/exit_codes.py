"""The exit codes, and what each of them says."""

from __future__ import annotations

EXIT_CODES: tuple[tuple[str, str], ...] = (
    ("0", "as wanted"),
    ("1", "a bug in opsctl; one line, trace in the journal"),
    ("2", "wrong usage"),
    ("3", "finished, but some part failed or is missing"),
    ("4", "waiting for a person"),
    ("5", "overdue"),
    ("10", "a configuration or playbook file is wrong; nothing was touched"),
    ("11", "someone else is at work: who, since when"),
    ("12", "refused: password, key or host key"),
    ("13", "a host or store did not answer"),
    ("20", "a program ran and said no"),
    ("21", "it ran, and the world is not as asked"),
    ("22", "data did not verify"),
    ("23", "a safety rule said no"),
    ("130, 143", "interrupted; `opsctl resume` goes on"),
)

SEVERAL = (
    "One failure of one thing gives its own code. Where several things were asked and some succeeded it is 3,"
    " except that 22, 23 and 21, in this order, always win."
)
