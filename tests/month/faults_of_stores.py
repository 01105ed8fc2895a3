"""What goes wrong with the stores: they are off, full, refuse, lose, are bent; and what a thief with the keys tries."""

from __future__ import annotations

import base64
import ssl
import subprocess
import urllib.error
import urllib.request
from datetime import datetime
from typing import TYPE_CHECKING

from tests.badluck.faults import fill, until
from tests.month.department import LOGIN, Department
from tests.month.faults import Fault
from tests.month.stores import Store

if TYPE_CHECKING:
    from tests.month.controller import Tick
    from tests.month.month import Month


class StoreDown(Fault):
    """Nothing answers where the first store was."""

    strikes, spoils, codes, tells = ("portal",), ("portal", "licences"), (13, 3), "main"

    def inject(self, department: Department) -> None:
        department.door.shut()

    def heal(self, department: Department) -> None:
        department.door.open()


class StoreLostHalfWay(StoreDown):
    """The line to the first store breaks while a set is on its way."""

    def inject(self, department: Department) -> None:
        department.door.open(cut_after=40_000)

    def heal(self, department: Department) -> None:
        department.door.shut()
        super().heal(department)


class StoreLogin(Fault):
    """The first store does not know our login any more."""

    strikes, spoils, codes, tells = ("licences",), ("portal", "licences"), (12, 3), "main"

    def inject(self, department: Department) -> None:
        department.login.write_text("another\n")

    def heal(self, department: Department) -> None:
        department.login.write_text(f"{LOGIN}\n")


class RepositoryPassword(Fault):
    """The file with the password of the office's repository holds another one."""

    strikes, spoils, codes, tells = ("office",), ("office",), (12, 3), "office"

    def inject(self, department: Department) -> None:
        self._file = department.stores["office"].password_file
        self._right = self._file.read_text()
        self._file.write_text("another\n")

    def heal(self, department: Department) -> None:
        self._file.write_text(self._right)


class Certificate(Fault):
    """The first store shows a certificate that nobody vouched for."""

    strikes, spoils, codes, tells = ("licences",), ("portal", "licences"), (12, 13, 3), "certificate"

    def inject(self, department: Department) -> None:
        self._kept = {path: path.read_bytes() for path in (department.first.certificate, department.first.directory / "key.pem")}
        pinned = self._kept[department.first.certificate]
        department.first.stop()
        for path in self._kept:
            path.unlink()
        department.first.start()
        department.first.certificate.write_bytes(pinned)

    def heal(self, department: Department) -> None:
        department.first.stop()
        for path, content in self._kept.items():
            path.write_bytes(content)
        department.first.start()


class HomeGone(Fault):
    """The office's repository is not where it was: never a reason to begin a new one."""

    strikes, spoils, codes, tells = ("office",), ("office",), (22,), "office"
    store = "office"

    def inject(self, department: Department) -> None:
        path = department.stores[self.store].path
        path.rename(path.with_name("taken-away"))

    def heal(self, department: Department) -> None:
        path = department.stores[self.store].path
        path.with_name("taken-away").rename(path)

    def shown(self, month: Month, at: datetime, tick: Tick) -> None:
        assert not month.department.stores[self.store].path.exists(), "a repository was made where a known one is gone"
        super().shown(month, at, tick)


class CopyGone(HomeGone):
    """A copy's repository is not where it was."""

    strikes, spoils, codes, tells, store = ("portal",), (), (22, 3), "near", "near"


class HomeIsAnother(HomeGone):
    """Another repository stands where the office's was."""

    def inject(self, department: Department) -> None:
        super().inject(department)
        store = department.stores["office"]
        assert store.begin().wait(60) == 0

    def heal(self, department: Department) -> None:
        path = department.stores["office"].path
        path.rename(path.with_name("other"))
        super().heal(department)
        subprocess.run(["rm", "-r", str(path.with_name("other"))], check=True)

    def shown(self, month: Month, at: datetime, tick: Tick) -> None:
        assert not list((month.department.stores["office"].path / "snapshots").iterdir()), "something was written into another repository"
        Fault.shown(self, month, at, tick)


class CopyDown(Fault):
    """The second store, of copies, is off."""

    strikes, codes, tells = ("licences",), (3,), "far"

    def inject(self, department: Department) -> None:
        department.second.stop()

    def heal(self, department: Department) -> None:
        department.second.start()


class CopyFull(Fault):
    """The disk of the near copies is full."""

    strikes, codes, tells = ("portal",), (3,), "near"

    def inject(self, department: Department) -> None:
        fill(department.near_disk)

    def heal(self, department: Department) -> None:
        (department.near_disk / "ballast").unlink()


class ByteFlipped(Fault):
    """One byte of a pack is another one; whoever reads the data back has to find it."""

    strikes, codes = ("office",), (0,)
    store = "office"

    def inject(self, department: Department) -> None:
        packs = sorted(path for path in (department.stores[self.store].path / "data").rglob("*") if path.is_file())
        self._pack = department.chance.choice(packs)
        self._whole = self._pack.read_bytes()
        place = len(self._whole) // 3
        self._write(self._whole[:place] + bytes([self._whole[place] ^ 1]) + self._whole[place + 1:])

    def _write(self, content: bytes) -> None:
        mode = self._pack.stat().st_mode
        self._pack.chmod(0o600)
        self._pack.write_bytes(content)
        self._pack.chmod(mode)

    def heal(self, department: Department) -> None:
        self._write(self._whole)

    def strike(self, month: Month, at: datetime) -> None:
        month.well(at)
        self.inject(month.department)
        found = self._verify(month, 22)
        self.heal(month.department)
        assert self._pack.name[:12] in found, f"the pack {self._pack.name[:12]} is not named: {found}"
        # Until it was looked at again, nobody knows better.
        month.look(5)
        self._verify(month, 0)
        month.look(5 if month.late() else 0)
        month.mails()

    def _verify(self, month: Month, code: int) -> str:
        done = month.department.controller.opsctl(month.now, "verify", self.store, "--level", "data", "--share", "all")
        assert done.returncode == code, f"verify ended with {done.returncode}, not {code}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr


class ByteOfACopyFlipped(ByteFlipped):
    """One byte of a pack of a copy is another one."""

    store = "near"


class SetDeleted(Fault):
    """Somebody with the disk in their hands removed the office's newest set."""

    strikes = ("office",)

    def inject(self, department: Department) -> None:
        store = department.stores["office"]
        newest = max((one for one in store.snapshots() if "manifest" in one["tags"]), key=lambda one: one["time"])
        self._path = store.path / "snapshots" / newest["id"]
        self._kept = self._path.read_bytes()
        self._path.unlink()

    def heal(self, department: Department) -> None:
        self._path.write_bytes(self._kept)

    def strike(self, month: Month, at: datetime) -> None:
        only = len(month.taken["office"]) == 1
        self.inject(month.department)
        tick = month.tick(at)
        if only:  # nothing is left that shows whose repository it is
            assert tick.code == 22 and tick.notices, f"a store that was emptied is written to: {tick}"
        else:
            assert "office" in {one[0] for one in tick.done}, f"what is due is taken all the same: {tick}"
        done = month.department.controller.opsctl(month.now, "verify", "office")
        assert done.returncode == 22 and "gone" in done.stdout + done.stderr, f"a deleted set is not seen: {done}"
        self.heal(month.department)
        done = month.department.controller.opsctl(month.now, "verify", "office")
        assert done.returncode == 0, f"{done}"
        month.mails()


class Planted(Fault):
    """Somebody with a writer's credentials and the password planted snapshots that look like ours, and one of 2099."""

    strikes, codes = ("licences",), (0,)

    def inject(self, department: Department) -> None:
        store = department.stores["main"]
        before = {one["id"] for one in store.snapshots()}
        for number, more in enumerate((("--time", "2099-12-31 00:00:00"), ())):
            store.restic("backup", "--stdin", "--stdin-filename", "opsctl-manifest.json", "--tag",
                         f"opsctl,manifest,backup=licences,set=2099123{number}-0000-aaaa", *more, stdin=b'{"record": {}, "signature": ""}')
        self._planted = [one["id"] for one in store.snapshots() if one["id"] not in before]

    def heal(self, department: Department) -> None:
        department.stores["main"].restic("forget", *self._planted)


class KeysStolen(Fault):
    """Somebody with a writer's credentials tries to delete, and to store other content over, all that there is."""

    strikes, codes = ("licences",), (0,)

    def inject(self, department: Department) -> None:
        store = department.stores["main"]
        for path in sorted(path for path in store.path.rglob("*") if path.is_file()):
            kind = path.relative_to(store.path).parts[0]
            if kind == "locks":
                continue
            name = f"{kind}/{path.name}" if kind != "config" else "config"
            for method, content in (("DELETE", None), ("POST", b"other content")):
                code = self._ask(department, method, name, content)
                assert code in (403, 405), f"the store answered {method} {name} with {code}"

    def _ask(self, department: Department, method: str, name: str, content: bytes | None) -> int:
        url = f"https://127.0.0.1:{department.first.port}/portal/{name}"
        login = base64.b64encode(f"portal:{LOGIN}".encode()).decode()
        asked = urllib.request.Request(url, method=method, data=content, headers={"Authorization": f"Basic {login}"})
        context = ssl.create_default_context(cafile=str(department.first.certificate))
        try:
            with urllib.request.urlopen(asked, context=context, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


class LockLeft(Fault):
    """restic was killed, and its lock is still there."""

    strikes, codes = ("office",), (0,)
    store = "office"

    def inject(self, department: Department) -> None:
        store = department.stores[self.store]
        process = store.start("backup", "--stdin", "--stdin-filename", "junk")
        try:
            until(lambda: whole(store), "a lock")
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


class LockOfAnother(LockLeft):
    """Another machine, which nobody here can look into, holds the office's repository for itself alone."""

    spoils, codes, tells = ("office",), (11, 3), "office"

    def inject(self, department: Department) -> None:
        store = department.stores[self.store]
        # A lock is an object sealed with the repository's key: let restic of another host make one, and stop it there.
        process = store.start("check", "--read-data", host="elsewhere")
        until(lambda: whole(store) or process.poll() is not None, "a lock")
        process.kill()
        process.wait()
        assert whole(store), "restic was quicker than its killer"

    def heal(self, department: Department) -> None:
        department.stores[self.store].restic("unlock", "--remove-all")



def whole(store: Store) -> list[str]:
    """The locks in a store that are no longer being written."""
    return [path.name for path in (store.path / "locks").iterdir() if "-tmp-" not in path.name]


ALL: tuple[type[Fault], ...] = (
    StoreDown, StoreLostHalfWay, StoreLogin, RepositoryPassword, Certificate, HomeGone, CopyGone, HomeIsAnother, CopyDown, CopyFull,
    ByteFlipped, ByteOfACopyFlipped, SetDeleted, Planted, KeysStolen, LockLeft, LockOfAnother,
)
