"""Tars and image archives: the same bytes for the same contents, and what containerd expects to find."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path

from deskside.lab.recipes.layers import Image, write_images, write_tar


def small_tree(at: Path, *, backwards: bool, time: int) -> Path:
    """The same contents, created in another order and at another time."""
    names = ["bin/tool", "etc/hosts", "etc/passwd"]
    for name in reversed(names) if backwards else names:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(f"content of {name}")
    (at / "bin/tool").chmod(0o755)
    (at / "bin/same").hardlink_to(at / "bin/tool")
    (at / "bin/link").symlink_to("tool")
    os.mkfifo(at / "etc/pipe")
    for path in sorted(at.rglob("*")):
        os.utime(path, (time, time), follow_symlinks=False)
    return at


def test_a_tar_says_nothing_about_when_or_by_whom(tmp_path: Path) -> None:
    one = write_tar(tmp_path / "1.tar", [small_tree(tmp_path / "a", backwards=False, time=1)])
    two = write_tar(tmp_path / "2.tar", [small_tree(tmp_path / "b", backwards=True, time=2_000_000_000)])
    assert one.sha256 == two.sha256 == hashlib.sha256(two.path.read_bytes()).hexdigest()
    with tarfile.open(one.path) as tar:
        entries = {entry.name: entry for entry in tar}
    assert list(entries) == ["bin", "etc", "bin/link", "bin/same", "bin/tool", "etc/hosts", "etc/passwd"]
    assert {(entry.uid, entry.gid, entry.uname, entry.mtime) for entry in entries.values()} == {(0, 0, "", 0)}
    assert entries["bin/tool"].islnk()
    assert entries["bin/tool"].linkname == "bin/same"
    assert entries["bin/link"].linkname == "tool"
    assert entries["bin/same"].mode == 0o755


def test_owners_are_as_told(tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "a", backwards=False, time=1)
    layer = write_tar(
        tmp_path / "1.tar", [tree], owner=lambda path: (7, 8) if path.startswith("etc") else (0, 0)
    )
    with tarfile.open(layer.path) as tar:
        owners = {entry.name: (entry.uid, entry.gid) for entry in tar}
    assert owners["etc/hosts"] == (7, 8)
    assert owners["bin/same"] == (0, 0)


def unpacked(layer: bytes) -> bytes:
    return subprocess.run(("zstd", "-q", "-d", "-c"), input=layer, capture_output=True, check=True).stdout


def test_images_share_layers_and_repeat(tmp_path: Path) -> None:
    below = write_tar(tmp_path / "below.tar", [small_tree(tmp_path / "a", backwards=False, time=1)])
    (tmp_path / "c").mkdir()
    (tmp_path / "c/extra").write_text("more")
    above = write_tar(tmp_path / "above.tar", [tmp_path / "c"])
    images = [
        Image("example.org/one:1", [below, above], entrypoint=("/bin/tool",), user="1000", folder="/srv"),
        Image("example.org/two:2", [below], command=("tool", "-x"), environment={"LANG": "C"}),
        Image("example.org/same:2", [below], command=("tool", "-x"), environment={"LANG": "C"}),
    ]
    for name in ("1", "2"):
        write_images(tmp_path / name, images, "amd64")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()

    with tarfile.open(tmp_path / "1") as archive:
        names = archive.getnames()
        contents = {name: archive.extractfile(name) for name in names}
        raw = {name: file.read() for name, file in contents.items() if file}
    assert len(names) == len(set(names)) == 2 + 2 + 1, "two layers, two configurations, one manifest"
    listed = json.loads(raw["manifest.json"])
    assert [image["RepoTags"] for image in listed] == [[image.reference] for image in images]
    for image in listed:
        config = raw[image["Config"]]
        assert image["Config"] == hashlib.sha256(config).hexdigest() + ".json"
        found = [f"sha256:{hashlib.sha256(unpacked(raw[layer])).hexdigest()}" for layer in image["Layers"]]
        assert json.loads(config)["rootfs"]["diff_ids"] == found
    one = json.loads(raw[listed[0]["Config"]])["config"]
    assert (one["Entrypoint"], one["User"], one["WorkingDir"]) == (["/bin/tool"], "1000", "/srv")
    assert "Cmd" not in one
