"""Artifacts on a host: binaries and archives in a store addressed by content, images in the runtime.

A link says which version is in use, so that going back is a link and nothing is overwritten while it runs.
Nothing here knows where an artifact comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deskside.model.action import Action, InstallArtifact, MakeLink, RemovePath, RunCommand
from deskside.model.artifact import Locked
from deskside.model.query import Output, PathFound, ReadOutput, ReadPath
from deskside.model.resource import Change, HostReader

STORE = "/opt/deskside/store"
STAGING = "/var/lib/deskside/staging"
CTR = ("/opt/deskside/bin/ctr", "-a", "/run/deskside/containerd/containerd.sock", "-n", "k8s.io")
REGISTRY_HOSTS = "/etc/deskside/containerd/certs.d"
PIN_KEY, PIN_VALUE = "io.cri-containerd.pinned", "pinned"
ARCHIVE_KEY = "deskside.archive"
"""Our own label on an image: which artifact it came from, so that a changed archive is imported again."""
LIST_IMAGES = ReadOutput((*CTR, "images", "ls"), timeout=60.0)
"""One question for all images of a host: equal questions are asked once."""


def _installed(locked: Locked, path: str, stored: str, right: bool, link: PathFound) -> Change | None:
    install = InstallArtifact(locked.sha256, locked.name, str(locked.artifact.kind), locked.member)
    actions: tuple[Action, ...] = () if right else (install,)
    linked = link.kind == "link" and link.target == stored
    if not linked:
        actions += (MakeLink(path, stored),)
    if not actions:
        return None
    verb = "link" if right else "install"
    was = "" if link.kind == "absent" or linked else ", replacing what is there"
    summary = f"{verb} {locked.artifact.version} ({locked.sha256[:12]}){was}"
    return Change(f"{locked.name} at {path}", summary, actions, () if right else (locked,))


@dataclass(frozen=True)
class Binary:
    """One program: in the store, and linked at `path`."""

    locked: Locked
    path: str

    @property
    def subject(self) -> str:
        """`NAME at PATH`."""
        return f"{self.locked.name} at {self.path}"

    @property
    def stored(self) -> str:
        """Its place in the store."""
        return f"{STORE}/{self.locked.sha256}/{self.locked.name}"

    @property
    def reads(self) -> tuple[ReadPath, ...]:
        """Link and stored file; the digest was verified when it was stored, and is not read at every plan."""
        return ReadPath(self.path), ReadPath(self.stored)

    def difference(self, found: Sequence[PathFound]) -> Change | None:
        """Install, link, or both."""
        link, stored = found
        # The lock has the size of what is sent; of a program inside an archive only the presence is known.
        sized = stored.size > 0 if self.locked.member else stored.size == self.locked.size
        right = stored.kind == "file" and sized and stored.mode == 0o755
        return _installed(self.locked, self.path, self.stored, right, link)

    async def plan(self, host: HostReader) -> Change | None:
        """The difference, or None."""
        return self.difference(await host.read_all(self.reads))


@dataclass(frozen=True)
class Archive:
    """An unpacked archive: in the store, and linked at `directory`."""

    locked: Locked
    directory: str

    @property
    def subject(self) -> str:
        """`NAME at DIRECTORY`."""
        return f"{self.locked.name} at {self.directory}"

    @property
    def stored(self) -> str:
        """Its folder in the store."""
        return f"{STORE}/{self.locked.sha256}"

    @property
    def reads(self) -> tuple[ReadPath, ...]:
        """Link and folder: the store is written by rename, so that a folder that is there is whole."""
        return ReadPath(self.directory), ReadPath(self.stored)

    def difference(self, found: Sequence[PathFound]) -> Change | None:
        """Unpack, link, or both."""
        link, stored = found
        return _installed(self.locked, self.directory, self.stored, stored.kind == "directory", link)

    async def plan(self, host: HostReader) -> Change | None:
        """The difference, or None."""
        return self.difference(await host.read_all(self.reads))


def normal_reference(reference: str) -> str:
    """The full name under which containerd keeps an image: registry and tag written out."""
    name, at, digest = reference.partition("@")
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    if not at and ":" not in name.rpartition("/")[2]:
        name += ":latest"
    return name + at + digest


def images_listed(listing: str) -> dict[str, dict[str, str]]:
    """Labels by full image name, from what `ctr images ls` prints (its last column are the labels)."""
    images: dict[str, dict[str, str]] = {}
    for line in listing.splitlines()[1:]:
        words = line.split()
        if len(words) >= 3:
            pairs = (pair.partition("=") for pair in words[-1].split(",") if "=" in pair)
            images[words[0]] = {key: value for key, _, value in pairs}
    return images


@dataclass(frozen=True)
class Images:
    """Container images in Deskside's containerd, pinned so that the kubelet never collects them."""

    locked: Locked

    @property
    def subject(self) -> str:
        """`image NAME`."""
        return f"image {self.locked.name}"

    @property
    def _origin(self) -> str:
        return self.locked.sha256[:16]

    async def plan(self, host: HostReader) -> Change | None:
        """Import, pull, or only pin again."""
        return self.difference(await host.read(LIST_IMAGES))

    def difference(self, listing: Output) -> Change | None:
        """The change, from the answer to `LIST_IMAGES`."""
        if listing.status != 0:
            return self._fetch(" after the container runtime is up")
        images = images_listed(listing.stdout)
        wanted = [normal_reference(reference) for reference in self.locked.references]
        if any(images.get(name, {}).get(ARCHIVE_KEY) != self._origin for name in wanted):
            return self._fetch("" if any(name not in images for name in wanted) else " again (another build)")
        loose = [name for name in wanted if images[name].get(PIN_KEY) != PIN_VALUE]
        if not loose:
            return None
        return Change(self.subject, f"pin {', '.join(loose)}", tuple(self._label(name) for name in loose))

    @property
    def _labels(self) -> tuple[str, ...]:
        return f"{PIN_KEY}={PIN_VALUE}", f"{ARCHIVE_KEY}={self._origin}"

    def _label(self, name: str) -> RunCommand:
        return RunCommand((*CTR, "images", "label", name, *self._labels))

    def _fetch(self, when: str) -> Change:
        version = self.locked.artifact.version
        if self.locked.pulled:
            return Change(self.subject, f"pull {version}{when}", tuple(self._pull()))
        staged = f"{STAGING}/{self.locked.sha256}"
        flags = tuple(word for label in self._labels for word in ("--label", label))
        # Labels travel with the import: no moment in which the image is there and may be collected.
        run = RunCommand((*CTR, "images", "import", *flags, staged), timeout=900.0)
        actions = (run, RemovePath(staged))
        return Change(self.subject, f"import {version}{when}", actions, (self.locked,))

    def _pull(self) -> Iterator[Action]:
        flags = tuple(word for label in self._labels for word in ("--label", label))
        for reference in self.locked.references:
            name = normal_reference(reference)
            by_digest = f"{_untagged(name)}@sha256:{self.locked.sha256}"
            pull = (*CTR, "images", "pull", "--hosts-dir", REGISTRY_HOSTS, *flags, by_digest)
            yield RunCommand(pull, timeout=3600.0)
            yield RunCommand((*CTR, "images", "tag", "--force", by_digest, name))
            yield self._label(name)


def _untagged(name: str) -> str:
    path, slash, last = name.rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}"


def images_of(artifacts: Iterable[Locked]) -> tuple[Images, ...]:
    """Resources for these images; those that share an archive are one, so that it is imported once."""
    by_file: dict[str, list[Locked]] = {}
    for locked in artifacts:
        by_file.setdefault(locked.sha256, []).append(locked)
    return tuple(Images(_together(shared)) for shared in by_file.values())


def _together(shared: Sequence[Locked]) -> Locked:
    first = shared[0]
    references = tuple(dict.fromkeys(reference for locked in shared for reference in locked.references))
    name = ", ".join(dict.fromkeys(locked.name for locked in shared))
    return replace(first, artifact=replace(first.artifact, name=name), references=references)


@dataclass(frozen=True)
class UnpinnedImages:
    """Images of ours that are in the lock no longer: left to the kubelet, which collects what nobody uses."""

    keep: tuple[str, ...]
    """References that stay pinned: all those of the lock."""

    @property
    def subject(self) -> str:
        """`images no longer wanted`."""
        return "images no longer wanted"

    async def plan(self, host: HostReader) -> Change | None:
        """Take pin and label off; nothing while the runtime does not run."""
        return self.difference(await host.read(LIST_IMAGES))

    def difference(self, listing: Output) -> Change | None:
        """The change, from the answer to `LIST_IMAGES`."""
        if listing.status != 0:
            return None
        kept = {normal_reference(reference) for reference in self.keep}
        kept |= {f"{_untagged(name)}@" for name in kept}
        gone = [name for name, labels in images_listed(listing.stdout).items() if _ours(labels)]
        gone = [name for name in gone if not {name, name.partition("@")[0] + "@"} & kept]
        if not gone:
            return None
        clear = (f"{PIN_KEY}=", f"{ARCHIVE_KEY}=")
        actions = tuple(RunCommand((*CTR, "images", "label", name, *clear)) for name in gone)
        return Change(self.subject, f"unpin {', '.join(gone)}", actions)


def _ours(labels: Mapping[str, str]) -> bool:
    return ARCHIVE_KEY in labels
