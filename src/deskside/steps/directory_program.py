"""Runs on a host, standard library only: backups of the directory, and the way back.

    deskside-directory backup            write what the directory holds now to a file of its own
    deskside-directory backups           list the files, as JSON
    deskside-directory restore NAME      replace the database by a file's content
    deskside-directory anew CSN          a copy forgets what it has, and follows the first server up to there
    deskside-directory status            how it is, as JSON
    deskside-directory settle            before slapd starts: finish or undo a replacement that was cut short

A new database is loaded beside the old one while slapd goes on. Once it is complete one rename says so,
and slapd's unit puts it in place whenever it starts: no kill leaves a directory that cannot start.
The old database stays until the new one has answered.
"""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

CONFIG = "/etc/ldap/deskside/slapd.conf"
DATABASE = "/var/lib/ldap/deskside"
LOADING, NEXT, BEFORE, GONE = (f"{DATABASE}.{name}" for name in ("loading", "next", "before", "gone"))
BACKUPS = "/var/lib/deskside/directory"
UNIT = "deskside-directory.service"
OWNER = "openldap"
KEPT = 14
PATIENCE = 30.0
FOLLOWING = 120.0
NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z\.ldif\.gz")


class Failed(Exception):
    """A sentence for a person."""


def run(*argv: str, given: bytes | None = None, owner: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run a program, as slapd's user where it touches the database."""
    who = OWNER if owner and os.geteuid() == 0 else None
    return subprocess.run(
        argv,
        input=b"" if given is None else given,
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
        cwd="/",
        user=who,
        group=who,
        extra_groups=None if who is None else [],
    )


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """The last line of what a program printed."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"status {done.returncode}"


def base() -> str:
    """The directory's base, as slapd's settings have it."""
    with open(CONFIG, encoding="utf-8") as file:
        found = re.search(r'(?m)^suffix "(.+)"$', file.read())
    if not found:
        raise Failed(f"{CONFIG} names no suffix")
    return found.group(1)


def discard(path: str) -> None:
    """Remove a tree; what is half removed is never taken for a database."""
    shutil.rmtree(GONE, ignore_errors=True)
    if os.path.isdir(path):
        os.rename(path, GONE)
        shutil.rmtree(GONE)


def settle() -> None:
    """Put a complete new database in place; bring the old one back where it was moved away for nothing."""
    if os.path.isdir(NEXT):
        if os.path.isdir(DATABASE):
            discard(BEFORE)
            os.rename(DATABASE, BEFORE)
        os.rename(NEXT, DATABASE)
    elif not os.path.isdir(DATABASE):
        if os.path.isdir(BEFORE):
            os.rename(BEFORE, DATABASE)
        else:
            make_folder(DATABASE)


def make_folder(path: str) -> None:
    """A folder for a database."""
    os.makedirs(path, mode=0o700)
    if os.geteuid() == 0:
        owner = pwd.getpwnam(OWNER)
        os.chown(path, owner.pw_uid, owner.pw_gid)


def answers() -> bool:
    """Whether slapd answers with its base."""
    search = ("-Q", "-Y", "EXTERNAL", "-H", "ldapi:///", "-LLL", "-s", "base", "-b", base(), "dn")
    return run("ldapsearch", *search).returncode == 0


def restarted(patience: float = PATIENCE) -> bool:
    """Whether slapd answers after a restart."""
    run("systemctl", "reset-failed", UNIT)
    done = run("systemctl", "restart", UNIT)
    if done.returncode == 5:
        raise Failed(f"{UNIT} is not there; run: deskside apply")
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if answers():
            return True
        time.sleep(0.2)
    return False


def synced(path: str) -> None:
    """Let a folder's names survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def backup() -> str:
    """Write what the directory holds to a file; its name."""
    done = run("slapcat", "-f", CONFIG, "-b", base(), "-o", "ldif-wrap=no", owner=True)
    if done.returncode or b"\ndn: " not in b"\n" + done.stdout:
        raise Failed(f"the directory cannot be read: {said(done)}")
    os.makedirs(BACKUPS, mode=0o700, exist_ok=True)
    name = time.strftime("%Y%m%dT%H%M%SZ.ldif.gz", time.gmtime())
    keep(name, gzip.compress(done.stdout))
    return name


def keep(name: str, content: bytes) -> None:
    """Write a backup as a whole or not at all, and remove the oldest beyond those that are kept."""
    part = f"{BACKUPS}/.part"
    if os.path.exists(part):
        os.unlink(part)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(part, f"{BACKUPS}/{name}")
    synced(BACKUPS)
    for old in names()[KEPT:]:
        os.unlink(f"{BACKUPS}/{old}")


def names() -> list[str]:
    """Backups, the newest first."""
    there = os.listdir(BACKUPS) if os.path.isdir(BACKUPS) else []
    return sorted((name for name in there if NAME.fullmatch(name)), reverse=True)


def backups() -> list[dict[str, object]]:
    """Each with its size and how many people are in it."""
    found: list[dict[str, object]] = []
    for name in names():
        path = f"{BACKUPS}/{name}"
        try:
            with gzip.open(path) as file:
                people = sum(line.startswith(b"dn: uid=") for line in file)
        except (OSError, EOFError):
            people = -1
        found.append({"name": name, "bytes": os.path.getsize(path), "people": people})
    return found


def load(content: bytes) -> None:
    """Make a database of LDIF beside the one that serves."""
    discard(LOADING)
    make_folder(LOADING)
    settings = f"{LOADING}.conf"
    with open(CONFIG, encoding="utf-8") as file:
        text = file.read().replace(f"directory {DATABASE}\n", f"directory {LOADING}\n")
    with open(os.open(settings, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(OWNER)
            os.chown(settings, owner.pw_uid, owner.pw_gid)
        done = run("slapadd", "-q", "-f", settings, "-b", base(), given=content, owner=True)
    finally:
        os.unlink(settings)
    if done.returncode:
        discard(LOADING)
        raise Failed(f"the backup cannot be loaded: {said(done)}; nothing was changed")


def restore(name: str) -> dict[str, object]:
    """Replace the database by a backup. What the directory holds now is backed up first, where it can be."""
    if name not in names():
        raise Failed(f"there is no backup {name}; see: deskside directory backups")
    try:
        with gzip.open(f"{BACKUPS}/{name}") as file:
            content = file.read()
    except (OSError, EOFError) as error:
        raise Failed(f"the backup {name} is damaged: {error}; nothing was changed") from None
    load(content)
    try:
        before = backup()
    except Failed:
        before = ""
    replace("the restored directory does not answer")
    return {"restored": name, "before": before, **status()}


def replace(failing: str) -> None:
    """Let slapd take what has been loaded; the old database comes back when it does not answer with it."""
    discard(NEXT)
    os.rename(LOADING, NEXT)
    synced(os.path.dirname(DATABASE))
    if restarted():
        discard(BEFORE)
        return
    if os.path.isdir(BEFORE):
        os.rename(BEFORE, NEXT)
        restarted()
        discard(BEFORE)
    raise Failed(f"{failing}; what was there before is back")


def anew(csn: str) -> dict[str, object]:
    """Forget everything and follow the first server until it has been caught up with."""
    discard(LOADING)
    make_folder(LOADING)
    discard(NEXT)
    os.rename(LOADING, NEXT)
    restarted(0.1)
    end = time.monotonic() + FOLLOWING
    while context_csn() != csn:
        if time.monotonic() > end:
            raise Failed("the copy has not caught up with the first server yet; it goes on trying")
        time.sleep(0.3)
    discard(BEFORE)
    return status()


def searched(*words: str) -> list[str]:
    """Lines of a search as root; none when slapd does not answer."""
    done = run(
        *("ldapsearch", "-Q", "-Y", "EXTERNAL", "-H", "ldapi:///", "-LLL", "-o", "ldif-wrap=no"), *words
    )
    return done.stdout.decode(errors="replace").splitlines() if done.returncode == 0 else []


def context_csn() -> str:
    """Up to where the changes are known."""
    lines = searched("-s", "base", "-b", base(), "contextCSN")
    return " ".join(sorted(line.split(": ", 1)[1] for line in lines if line.startswith("contextCSN: ")))


def status() -> dict[str, object]:
    """How the directory is on this host."""
    top = base()
    counted = {
        what: sum(line.startswith("dn:") for line in searched("-b", top, f"(objectClass={kind})", "dn"))
        for what, kind in (("people", "posixAccount"), ("groups", "posixGroup"))
    }
    stamps = names()
    active = run("systemctl", "is-active", UNIT).stdout.decode().strip()
    return {"unit": active, "answers": answers(), "csn": context_csn(), **counted, "backup": stamps[:1]}


def taken() -> dict[str, object]:
    """A backup, by its name."""
    return {"name": backup()}


CHANGES: dict[str, Callable[..., dict[str, object]]] = {"backup": taken, "restore": restore, "anew": anew}
"""What is done by one at a time."""


def alone() -> int:
    """Hold the directory: two of these at once would be in each other's way."""
    os.makedirs(BACKUPS, mode=0o700, exist_ok=True)
    handle = os.open(f"{BACKUPS}/.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def main(words: list[str]) -> None:
    """One of the above."""
    what, more = words[0] if words else "", words[1:]
    found: object = None
    if what == "settle":
        settle()
        return
    if not os.path.exists(CONFIG):
        raise Failed("no directory of Deskside is set up here; run: deskside apply")
    if what in ("status", "backups"):
        found = status() if what == "status" else backups()
    elif what in CHANGES:
        held = alone()
        try:
            found = CHANGES[what](*more)
        finally:
            os.close(held)
    else:
        raise Failed(f"{what!r} is none of: backup, backups, restore, anew, status, settle")
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failed as error:
        sys.exit(str(error))
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is not installed here; run: deskside apply")
