"""A real slapd on loopback, of the rack's NAS, with the settings and entries that Deskside makes for its own.

It and the programs that speak to it run in a mount namespace of their own: the tree is read-only to them, and
nothing stays mounted, whatever becomes of a test.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from addons.sites import example_site
from deskside.app.certificates import make_authority, make_leaf
from deskside.hosts.asking import Asking, Raw
from deskside.identity.ldif import added
from deskside.model.action import Action, ActionResult, RunCommand
from deskside.site.directory import LdapDirectory
from deskside.site.schema import Site
from deskside.site.secrets import Secret
from deskside.steps import directory_settings
from deskside.steps.directory import wanted_entries
from identity.realhub import PATIENCE, Log, free_port

READER_PASSWORD = "a-word-of-the-reader"
READY = "slapd starting"
FOLDERS = {directory_settings.PLACE: "/run/settings", directory_settings.DATABASE: "/run/database"}
"""Where Deskside's settings lie on a host, and where they lie here: all below one folder."""
MOUNT = """set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
mount --bind "$2" "$1/run"
mount -t tmpfs none "$1/tmp"
mount -t tmpfs none "$1/dev/shm"
tree="$1"
shift 2
exec chroot "$tree" "$@"
"""


@dataclass
class Directory(Asking):
    """A directory that runs, and the host it runs on."""

    tree: Path
    folder: Path
    site: Site
    """Names it as the directory that Deskside runs on ws1."""
    port: int
    ca: str

    def __post_init__(self) -> None:
        super().__init__("ws1")

    @property
    def ldap(self) -> LdapDirectory:
        assert self.site.ldap is not None
        return self.site.ldap

    def inside(self, *argv: str) -> list[str | Path]:
        """The command line of a program on its host."""
        return ["unshare", "--mount", "sh", "-c", MOUNT, "sh", self.tree, self.folder, *argv]

    def run(self, argv: Sequence[str], told: str) -> subprocess.CompletedProcess[str]:
        line = self.inside(*argv)
        return subprocess.run(line, input=told, capture_output=True, text=True, check=False)

    def change(self, text: str) -> None:
        """A change by somebody else's tool, as root of the host."""
        done = self.run(["ldapmodify", "-Q", "-Y", "EXTERNAL", "-H", "ldapi:///"], text)
        assert done.returncode == 0, done.stderr

    def add_person(self, name: str, **more: str) -> None:
        """Somebody with further attributes."""
        attributes = {"uid": name, "cn": name, "sn": name, "homeDirectory": f"/home/{name}"}
        attributes |= {"uidNumber": "2000", "gidNumber": "100", **more}
        classes = [("objectClass", one) for one in ("inetOrgPerson", "posixAccount", "shadowAccount")]
        self.change(added(self.ldap.user(name), [*classes, *attributes.items()]))

    async def answers_to(self, queries: Sequence[Raw]) -> Sequence[Raw]:
        """Programs that change nothing, as on a host."""
        found = []
        for query in queries:
            assert query["op"] == "output"
            argv = query["argv"]
            assert isinstance(argv, list)
            done = self.run(argv, str(query["stdin"]))
            found.append({"ok": {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}})
        return found

    async def perform(
        self, actions: Sequence[Action], *, title: str, deadline: float
    ) -> tuple[ActionResult, ...]:
        """Programs, as on a host; each must end well."""
        found = []
        for action in actions:
            assert isinstance(action, RunCommand)
            told = action.stdin.reveal() if isinstance(action.stdin, Secret) else action.stdin
            done = self.run(action.argv, told)
            assert done.returncode in action.ok, f"{title}: {done.stderr}"
            found.append(ActionResult(done.returncode, done.stdout, done.stderr))
        return tuple(found)


def own_site(**identity: object) -> Site:
    """A site whose directory Deskside runs."""
    section = {"kind": "openldap", "on": "ws1", "allow": {"group": "ai"}, "admins": ["zoe"], **identity}
    base = example_site().model_dump(mode="json", exclude_none=True, by_alias=True)
    return Site.model_validate({**base, "identity": section})


def write_settings(folder: Path, ldap: LdapDirectory) -> str:
    """Settings and certificate; the authority's text."""
    place = folder / "settings"
    for name in ("settings", "database", "slapd"):
        (folder / name).mkdir()
    make_authority("Test", place / "authority.pem", place / "authority.key")
    pair = make_leaf(
        place / "authority.pem", place / "authority.key", (ldap.server.host, "127.0.0.1"), "127.0.0.1"
    )
    for name, content in zip(("server.pem", "server.key"), pair, strict=True):
        (place / name).write_bytes(content)
    text = directory_settings.settings(ldap, Secret("unused"), ldap.server.host).reveal()
    for there, here in FOLDERS.items():
        assert there in text
        text = text.replace(there, here)
    (place / "slapd.conf").write_text(text)
    return (place / "authority.pem").read_text()


@contextmanager
def running_directory(tree: Path, folder: Path) -> Iterator[Directory]:
    """Start a directory with nobody in it and wait until it answers; it ends with the block."""
    site = own_site()
    assert site.ldap is not None
    found = Directory(tree, folder, site, free_port(), write_settings(folder, site.ldap))
    urls = f"ldapi:/// ldaps://127.0.0.1:{found.port}"
    argv = found.inside("slapd", "-d", "none", "-f", "/run/settings/slapd.conf", "-h", urls)
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    log = Log()
    reader = threading.Thread(target=log.follow, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        log.wait(READY)
        yield found
    finally:
        process.terminate()
        process.wait(PATIENCE)
        reader.join(PATIENCE)
        process.stderr.close()


async def make_entries(found: Directory) -> None:
    """What Deskside puts into a new directory."""
    entries = wanted_entries(found.site, found.ldap, Secret(READER_PASSWORD), Secret("unused"))
    change = await entries.plan(found)
    assert change is not None
    await found.perform(change.actions, title="entries", deadline=60)
