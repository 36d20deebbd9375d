"""Artifacts on a host: received into staging, installed into the store by digest. Remote program."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from time import time

from deskside.hosts.remote.core import MODES, Raw, at, digest_of, finish, folder, number_of, say, text_of
from deskside.hosts.remote.files import ACTIONS, ActionFailed, Clock, make_parents, sync_folder
from deskside.hosts.remote.room import disk_is_full, shortage

STAGING = "/var/lib/deskside/staging"
STORE = "/opt/deskside/store"
IMAGES = "/var/lib/deskside/containerd"
BLOBS = f"{IMAGES}/io.containerd.content.v1.content/blobs/sha256"
BYTES_PER_INODE = 8 << 10
"""Of a compressed archive; most hold larger files."""


def receive_mode(payload: Mapping[str, object]) -> None:
    """Mode `receive`: say whether the artifact is wanted, then take its bytes from standard input."""
    digest, size = text_of(payload, "sha256"), int(number_of(payload, "size"))
    if os.path.isfile(at(f"{STAGING}/{digest}")) or os.path.isdir(at(f"{STORE}/{digest}")):
        finish({"have": True})
        return
    os.makedirs(at(STAGING), mode=0o700, exist_ok=True)
    sweep_staging()
    missing = shortage(needed(size, text_of(payload, "kind")))
    if missing:
        finish({"error": missing, "full": True})
        return
    held = held_parts(payload, size)
    say({"wanted": True, "held": [offset for offset, *_ in held]})
    finish(receive(digest, size, held))


def held_parts(payload: Mapping[str, object], size: int) -> list[tuple[int, int, str, int]]:
    """Parts of an archive that are here already: offset, size, and the file and place to copy them from."""
    parts, found, end = payload.get("parts"), [], 0
    for offset, length, digest, archive, place in parts if isinstance(parts, list) else []:
        blob, staged = at(f"{BLOBS}/{digest}"), at(f"{STAGING}/{archive}")
        if offset < end or offset + length > size:
            continue
        if os.path.isfile(blob) and os.stat(blob).st_size == length:
            found.append((offset, length, blob, 0))
        elif os.path.isfile(staged) and os.stat(staged).st_size >= place + length:
            found.append((offset, length, staged, place))
        else:
            continue
        end = offset + length
    return found


def needed(size: int, kind: str) -> dict[str, tuple[int, int]]:
    """Path -> bytes and inodes for an artifact, and for what is made of it before it leaves staging."""
    if kind not in ("image", "archive"):
        return {STAGING: (size, 1), STORE: (size, 2)}
    place = IMAGES if kind == "image" else STORE
    return {STAGING: (size, 1), place: (size * 3 // 2, size // BYTES_PER_INODE)}


def receive(digest: str, size: int, held: list[tuple[int, int, str, int]]) -> Raw:
    """Write what comes, and what is here already; it gets its name when its digest is right."""
    temporary, found, position = at(f"{STAGING}/.{digest}.{os.getpid()}"), hashlib.sha256(), 0

    def copy(read: Callable[[int], bytes], left: int) -> int:
        """How many bytes were missing."""
        while left > 0:
            block = read(min(left, 1 << 20))
            if not block:
                break
            file.write(block)
            found.update(block)
            left -= len(block)
        return left

    try:
        with open(temporary, "wb") as file:
            for offset, length, path, start in [*held, (size, 0, os.devnull, 0)]:
                missing = copy(sys.stdin.buffer.read, offset - position)
                if missing:
                    return {"error": f"the connection ended {missing} bytes too early"}
                with open(path, "rb") as here:
                    here.seek(start)
                    copy(here.read, length)
                position = offset + length
            file.flush()
            os.fsync(file.fileno())
        if found.hexdigest() != digest:
            return {"error": f"the digest of what arrived is {found.hexdigest()}, not {digest}"}
        os.rename(temporary, at(f"{STAGING}/{digest}"))
    except OSError as error:
        full = disk_is_full(str(error))
        return {"error": full or f"{STAGING} cannot take it: {error.strerror}", "full": bool(full)}
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return {"received": size}


def sweep_staging() -> None:
    """Remove what broken transfers left more than a day ago."""
    for name in folder(STAGING):
        path = at(f"{STAGING}/{name}")
        if name.startswith(".") and time() - os.stat(path).st_mtime > 86400:
            os.unlink(path)


def safe_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Members that stay inside, as root's, without special bits; anything else refuses the archive."""
    for member in archive:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if member.name.startswith("/") or ".." in parts:
            raise ActionFailed(f"the archive has a member outside its folder: {member.name}")
        if member.issym() or member.islnk():
            start = os.path.dirname(member.name) if member.issym() else ""
            target = os.path.normpath(os.path.join(start, member.linkname))
            if member.linkname.startswith("/") or target == ".." or target.startswith("../"):
                raise ActionFailed(f"the archive has a link that leads outside: {member.name}")
        elif not (member.isfile() or member.isdir()):
            raise ActionFailed(f"the archive has a member that is no file: {member.name}")
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = (member.mode & 0o755) | (0o755 if member.isdir() else 0o600)
        if parts:
            yield member


def unpack(staged: str, target: str) -> None:
    """All of an archive."""
    with tarfile.open(staged, "r:*") as archive:
        members: list[tarfile.TarInfo] = list(safe_members(archive))
        archive.extractall(target, members=members, numeric_owner=True)


def unpack_member(staged: str, wanted: str, target: str) -> None:
    """One file of an archive, as a program."""
    with tarfile.open(staged, "r:*") as archive:
        for member in archive:
            if os.path.normpath(member.name) != os.path.normpath(wanted):
                continue
            source = archive.extractfile(member)
            if source is None:
                break
            with source, open(target, "wb") as file:
                shutil.copyfileobj(source, file)
            os.chmod(target, 0o755)
            return
    raise ActionFailed(f"the archive has no file {wanted}")


def fill(staged: str, kind: str, name: str, member: str, target: str) -> None:
    """Put a staged file into the folder that becomes its place in the store."""
    try:
        if member:
            unpack_member(staged, member, f"{target}/{name}")
        elif kind == "archive":
            unpack(staged, target)
        else:
            shutil.copyfile(staged, f"{target}/{name}")
            os.chmod(f"{target}/{name}", 0o755 if kind == "binary" else 0o644)
    except (tarfile.TarError, EOFError) as error:
        raise ActionFailed(f"the archive {name} cannot be read: {error}") from None


def add_name(place: str, name: str) -> None:
    """Another name for the one program that lies in a place: some see by their name what they are to be."""
    there = sorted(os.listdir(place))
    if there and name not in there:
        os.link(f"{place}/{there[0]}", f"{place}/{name}")
        sync_folder(place)


def install_artifact(action: Mapping[str, object], clock: Clock) -> Raw:
    """Action `install_artifact`: there as a whole or not at all."""
    digest, name = text_of(action, "sha256"), text_of(action, "name")
    if "/" in digest or "/" in name or not digest:
        raise ActionFailed(f"{name!r} is no name of an artifact")
    staged, place = at(f"{STAGING}/{digest}"), at(f"{STORE}/{digest}")
    if not os.path.isdir(place):
        if not os.path.isfile(staged):
            raise ActionFailed(f"{name} was not sent to this host")
        if digest_of(staged) != digest:
            os.unlink(staged)
            raise ActionFailed(
                f"{name} in {STAGING} has another digest; it was removed and has to be sent again"
            )
        clock.report(f"installing {name}")
        temporary = at(f"{STORE}/.{digest}")
        shutil.rmtree(temporary, ignore_errors=True)
        make_parents(f"{temporary}/x")
        fill(staged, text_of(action, "kind"), name, text_of(action, "member"), temporary)
        os.sync()
        os.rename(temporary, place)
        sync_folder(os.path.dirname(place))
    elif text_of(action, "kind") == "binary" and not text_of(action, "member"):
        add_name(place, name)
    if os.path.exists(staged):
        os.unlink(staged)
    return {}


MODES["receive"] = receive_mode
ACTIONS["install_artifact"] = install_artifact
