"""Where a secret is to be found; never the secret itself."""

from __future__ import annotations

from opsctl.model.values import value


@value
class SecretRef:
    """Exactly one of the three is set: a file, a command's standard output, an environment variable."""

    label: str
    file: str | None = None
    command: tuple[str, ...] | None = None
    env: str | None = None

    def __str__(self) -> str:
        if self.file:
            return f"{self.label} from file {self.file}"
        if self.command:
            return f"{self.label} from command {self.command[0]}"
        return f"{self.label} from environment variable {self.env}"


class SecretText:
    """A secret in memory; printing it shows asterisks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "SecretText('********')"

    __str__ = __repr__
    __format__ = lambda self, spec: repr(self)  # noqa: E731
