"""Tars and container images that come out the same however often they are written.

Times are zero, names sorted, owners plain numbers: a digest then says what is in a file and nothing about
when or by whom it was made. Images are docker-archives, which containerd imports.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__)
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Owner = tuple[int, int]


@dataclass(frozen=True)
class Layer:
    """A tar on disk and its digest."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Image:
    """One image: its name, its layers from the bottom up, and how a container of it starts."""

    reference: str
    layers: Sequence[Layer]
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = ""
    folder: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def config(self, architecture: str) -> bytes:
        """The image's configuration, as JSON in a fixed form."""
        environment = {"PATH": SEARCH_PATH, **self.environment}
        run: dict[str, object] = {"Env": [f"{name}={value}" for name, value in sorted(environment.items())]}
        wanted = {
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "User": self.user,
            "WorkingDir": self.folder,
        }
        run |= {name: value for name, value in wanted.items() if value}
        whole = {
            "architecture": architecture,
            "os": "linux",
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.sha256}" for layer in self.layers]},
            "history": [{} for _ in self.layers],
        }
        return json.dumps(whole, sort_keys=True).encode()


def write_tar(
    target: Path,
    trees: Iterable[Path],
    *,
    owner: Callable[[str], Owner] = lambda path: (0, 0),
    keep_owners: bool = False,
) -> Layer:
    """Write the contents of folders as one tar. Devices and sockets are left out.

    `owner(path)` says who owns an entry; `keep_owners` takes them from the disk instead.
    """
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for tree in trees:
            links: dict[tuple[int, int], str] = {}
            for path in _sorted_below(tree):
                _add(tar, tree, path, links, None if keep_owners else owner)
    with target.open("rb") as written:
        return Layer(target, hashlib.file_digest(written, "sha256").hexdigest())


def _sorted_below(tree: Path) -> Iterable[Path]:
    for folder, folders, files in os.walk(tree):
        folders.sort()
        # os.walk counts a link to a folder among the folders, and does not follow it.
        for name in sorted({*folders, *files}):
            yield Path(folder, name)


def _add(
    tar: tarfile.TarFile,
    tree: Path,
    path: Path,
    links: dict[tuple[int, int], str],
    owner: Callable[[str], Owner] | None,
) -> None:
    name = path.relative_to(tree).as_posix()
    found = path.lstat()
    entry = tarfile.TarInfo(name)
    entry.mode = stat.S_IMODE(found.st_mode)
    entry.uid, entry.gid = owner(name) if owner else (found.st_uid, found.st_gid)
    if stat.S_ISDIR(found.st_mode):
        entry.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(found.st_mode):
        entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif not stat.S_ISREG(found.st_mode):
        return
    elif (found.st_dev, found.st_ino) in links:
        entry.type, entry.linkname = tarfile.LNKTYPE, links[found.st_dev, found.st_ino]
    else:
        if found.st_nlink > 1:
            links[found.st_dev, found.st_ino] = name
        entry.size = found.st_size
        with path.open("rb") as content:
            tar.addfile(entry, content)
        return
    tar.addfile(entry)


def write_images(target: Path, images: Sequence[Image], architecture: str) -> None:
    """Write a docker-archive of images; layers that they share are in it once, all compressed by zstd."""
    written: set[str] = set()
    contents = []
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for image in images:
            for layer in image.layers:
                if layer.sha256 in written:
                    continue
                written.add(layer.sha256)
                entry = tarfile.TarInfo(f"{layer.sha256}.tar")
                with tempfile.TemporaryFile(dir=target.parent) as content:
                    # A quarter of the bytes to send, write and read on every host, for seconds here.
                    argv = ("zstd", "-q", "-3", "-c", layer.path)
                    subprocess.run(argv, stdout=content, stdin=subprocess.DEVNULL, check=True)
                    entry.size = content.seek(0, os.SEEK_END)
                    content.seek(0)
                    tar.addfile(entry, content)
            config = image.config(architecture)
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            if name not in written:
                written.add(name)
                _add_bytes(tar, name, config)
            contents.append(
                {
                    "Config": name,
                    "RepoTags": [image.reference],
                    "Layers": [f"{layer.sha256}.tar" for layer in image.layers],
                }
            )
        _add_bytes(tar, "manifest.json", json.dumps(contents).encode())


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
