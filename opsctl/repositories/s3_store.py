"""The objects of a repository in a bucket of an S3 store, laid out as restic lays them out there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from opsctl.errors import OpsError
from opsctl.repositories.refusal import Attempt
from opsctl.repositories.s3_place import S3Place
from opsctl.repositories.store import KINDS, Store

OURS = "opsctl"  # what we keep beside restic's objects, which it does not look at


class S3Store(Store):
    """A repository below a prefix in a bucket."""

    def __init__(self, place: S3Place) -> None:
        self.place = place

    def list(self, kind: str) -> dict[str, int]:
        return {key.rpartition("/")[2]: size for key, size in self._entries(f"{kind}/")}

    def read(self, kind: str, name: str, part: tuple[int, int] | None = None) -> bytes | None:
        where = f"data/{name[:2]}/{name}" if kind == "data" else f"{kind}/{name}"
        if part is None:
            return self.place.read(where)
        try:
            return self.place.read(where, Range=f"bytes={part[0]}-{part[0] + part[1] - 1}")
        except OpsError as error:
            if error.details.get("code") == "InvalidRange":
                return b""
            raise

    def config(self) -> bytes | None:
        return self.place.read("config")

    def remove_lock(self, name: str) -> None:
        self.place.ask("delete_object", f"locks/{name}")

    def is_empty(self) -> bool:
        return self.config() is None and not any(True for kind in KINDS for _ in self._entries(f"{kind}/"))

    def remove_keys(self) -> None:
        for key, _ in self._entries("keys/"):
            self.place.ask("delete_object", key)

    def prove_refusal(self) -> Sequence[Attempt]:
        from opsctl.repositories.s3_refusal import attempts

        return attempts(self.place)

    def _entries(self, below: str) -> Iterator[tuple[str, int]]:
        for page in self.place.pages("list_objects_v2", below):
            for entry in page.get("Contents", ()):
                yield self.place.name(entry["Key"]), entry["Size"]
