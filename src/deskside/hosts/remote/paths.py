"""Answers about paths. Part of the remote program; reads only."""

from __future__ import annotations

import base64
import grp
import os
import pwd
import stat
from collections.abc import Mapping

from deskside.hosts.remote.core import SINGLE, QuestionFailed, Raw, at, digest_of, text_of

CONTENT_LIMIT = 1 << 20


def owner_name(uid: int) -> str:
    """Name of a user, or the number as text."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Name of a group, or the number as text."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def path_kind(mode: int) -> str:
    """One of the words of `PathFound.kind`."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "link" if stat.S_ISLNK(mode) else "other"


def answer_path(query: Mapping[str, object]) -> Raw:
    """Op `path`."""
    path = text_of(query, "path")
    real = at(path)
    try:
        found = os.lstat(real)
    except (FileNotFoundError, NotADirectoryError):
        return {"kind": "absent"}
    answer: Raw = {
        "kind": path_kind(found.st_mode),
        "mode": stat.S_IMODE(found.st_mode),
        "owner": owner_name(found.st_uid),
        "group": group_name(found.st_gid),
        "size": found.st_size,
        "mtime": found.st_mtime,
    }
    if answer["kind"] == "link":
        answer["target"] = os.readlink(real)
    if answer["kind"] == "file" and query.get("digest"):
        answer["sha256"] = digest_of(real)
    if answer["kind"] == "file" and query.get("content"):
        with open(real, "rb") as file:
            content = file.read(CONTENT_LIMIT + 1)
        if len(content) > CONTENT_LIMIT:
            raise QuestionFailed(f"{path} is larger than 1 MiB and is not fetched")
        answer["content"] = base64.b64encode(content).decode()
    return answer


SINGLE["path"] = answer_path
