"""The files of the fake host: a tree in memory that answers as a host's does. Part of `fake.py`."""

from __future__ import annotations

import base64
import posixpath
from dataclasses import dataclass
from hashlib import sha256

from deskside.model.query import Json


class Refused(Exception):
    """What the host would say."""


class Unmodelled(AssertionError):
    """The fake was asked for something that nobody taught it: a fault of the test, never of the product."""


@dataclass
class Node:
    """What lies at a path."""

    kind: str
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    content: bytes = b""
    target: str = ""
    mtime: float = 0.0
    size: int | None = None
    """Of a file that is only said to be there."""

    @property
    def length(self) -> int:
        """Bytes."""
        if self.size is not None:
            return self.size
        return {"directory": 4096, "link": len(self.target)}.get(self.kind, len(self.content))


FIRST = (
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/usr/bin",
    "/var/lib",
    "/run",
    "/opt",
    "/proc",
)


class FakeFiles:
    """Paths and what lies there; parents that are links are followed, as the kernel does."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        """The host's clock, seconds since 1970."""
        self.nodes: dict[str, Node] = {"/": Node("directory", 0o755)}
        for path in FIRST:
            self.make_parents(f"{path}/x")

    def real(self, path: str, depth: int = 0) -> str:
        """The path with links among its parents followed."""
        parent, name = posixpath.split(posixpath.normpath(path))
        if parent == path or not name:
            return "/"
        parent = self.real(parent, depth)
        node = self.nodes.get(parent)
        if node is not None and node.kind == "link":
            if depth > 20:
                raise Refused(f"{path}: too many levels of symbolic links")
            parent = self.followed(parent, depth + 1)
        return posixpath.join(parent, name)

    def followed(self, path: str, depth: int = 0) -> str:
        """Where a path leads, its last part included."""
        path = self.real(path, depth)
        node = self.nodes.get(path)
        if node is None or node.kind != "link" or depth > 20:
            return path
        return self.followed(posixpath.join(posixpath.dirname(path), node.target), depth + 1)

    def at(self, path: str) -> Node | None:
        """What lies there, a link itself."""
        return self.nodes.get(self.real(path))

    def exists(self, path: str) -> bool:
        """Whether the path leads to something."""
        return self.followed(path) in self.nodes

    def text(self, path: str) -> str:
        """Content of a file, links followed; empty without one."""
        node = self.nodes.get(self.followed(path))
        return node.content.decode() if node else ""

    def children(self, path: str) -> list[str]:
        """Names in a folder, sorted."""
        top = self.followed(path).rstrip("/") + "/"
        return sorted(
            name[len(top) :] for name in self.nodes if name.startswith(top) and "/" not in name[len(top) :]
        )

    def make_parents(self, path: str) -> None:
        """Missing parents, 0755 root."""
        parent = posixpath.dirname(self.real(path))
        node = self.nodes.get(parent)
        if node is not None and node.kind != "directory":
            raise Refused(f"{parent}: Not a directory")
        if node is None:
            self.make_parents(parent)
            self.nodes[parent] = Node("directory", 0o755, mtime=self.now)

    def put(
        self, path: str, content: str | bytes = b"", mode: int = 0o644, *, size: int | None = None
    ) -> None:
        """Write a file as somebody else than Deskside would; for tests."""
        data = content.encode() if isinstance(content, str) else content
        self.make_parents(path)
        self.nodes[self.real(path)] = Node("file", mode, content=data, mtime=self.now, size=size)

    def answer_path(self, path: str, content: bool, digest: bool) -> dict[str, Json]:
        """Op `path`."""
        node = self.at(path)
        if node is None:
            return {"kind": "absent"}
        mode = 0o777 if node.kind == "link" else node.mode
        answer: dict[str, Json] = {"kind": node.kind, "mode": mode, "owner": node.owner, "group": node.group}
        answer.update(size=node.length, mtime=node.mtime)
        if node.kind == "link":
            answer["target"] = node.target
        if node.kind == "file" and digest:
            answer["sha256"] = sha256(node.content).hexdigest()
        if node.kind == "file" and content:
            if node.length > 1 << 20:
                raise Refused(f"{path} is larger than 1 MiB and is not fetched")
            answer["content"] = base64.b64encode(node.content).decode()
        return answer

    def write_file(self, path: str, content: bytes, mode: int, owner: str, group: str) -> None:
        """Action `write_file`."""
        node = self.at(path)
        if node is not None and node.kind == "directory":
            raise Refused(f"{path} is a directory")
        self.make_parents(path)
        self.nodes[self.real(path)] = Node("file", mode, owner, group, content, mtime=self.now)

    def make_directory(self, path: str, mode: int, owner: str, group: str) -> None:
        """Action `make_directory`."""
        self.make_parents(path)
        there = self.nodes.setdefault(self.followed(path), Node("directory", mtime=self.now))
        if there.kind != "directory":
            raise Refused(f"{path}: File exists")
        there.mode, there.owner, there.group = mode, owner, group

    def make_link(self, path: str, target: str) -> None:
        """Action `make_link`."""
        node = self.at(path)
        if node is not None and node.kind == "directory":
            raise Refused(f"{path} is a directory and is not replaced by a link")
        self.make_parents(path)
        self.nodes[self.real(path)] = Node("link", 0o777, target=target, mtime=self.now)

    def remove_path(self, path: str) -> None:
        """Action `remove_path`."""
        node = self.at(path)
        if node is not None and node.kind == "directory" and self.children(path):
            raise Refused(f"{path} cannot be removed: Directory not empty")
        self.nodes.pop(self.real(path), None)
