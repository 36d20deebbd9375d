"""Debian file systems and single packages of bookworm, made by mmdebstrap the way this machine's apt does.

The trees of hosts are as an installer would leave them: nothing in them that Deskside is to install.
"""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from deskside.lab.recipes.machine import SUITE, Machine
from deskside.lab.recipes.recipe import Made, Recipe
from deskside.lab.recipes.work import Work

HERE = Path(__file__)
TOOLS = ("mmdebstrap",)

BASE_PACKAGES = (
    # What an installed server has. conntrack, socat, ethtool, chrony, keepalived are Deskside's to install.
    *("systemd", "systemd-sysv", "dbus", "udev", "openssh-server", "sudo", "python3", "iproute2"),
    *("ca-certificates", "iptables", "nftables", "kmod", "procps", "curl", "mount", "util-linux"),
)
NAS_PACKAGES = (
    *BASE_PACKAGES,
    # What a NAS serves; the rack configures and starts it.
    *("slapd", "ldap-utils", "samba", "openssl"),
)
NAS_UNITS = ("slapd.service", "smbd.service", "nmbd.service", "samba-ad-dc.service")
SLAPD_UNCONFIGURED = "slapd slapd/no_configuration boolean true"

NOT_IN_IMAGES = ("usr/share/doc/*", "usr/share/man/*", "usr/share/info/*", "usr/share/locale/*")
MACHINE_CONF = "etc/apt/apt.conf.d/90machine"


def tree_inputs(machine: Machine, packages: Sequence[str]) -> Mapping[str, str]:
    """What decides a tree of Debian packages, besides the code."""
    return {
        "suite": SUITE,
        "packages": " ".join(packages),
        "sources": machine.debian_sources,
        "apt": machine.apt_settings,
    }


async def make_tree(
    work: Work,
    target: Path,
    packages: Sequence[str],
    *,
    variant: str = "minbase",
    without: Sequence[str] = (),
    hooks: Sequence[str] = (),
    doing: str = "",
) -> None:
    """Make a root file system of bookworm at `target`; without package lists and caches."""
    settings = work.scratch / "apt.conf"
    settings.write_text(work.machine.apt_settings)
    argv: list[str | Path] = ["mmdebstrap", f"--variant={variant}", "--mode=root", "--format=directory"]
    argv += [f"--aptopt={settings}", f"--include={','.join(packages)}"]
    argv += [f"--dpkgopt=path-exclude=/{pattern}" for pattern in without]
    argv += hooks
    argv += [SUITE, target]
    if work.machine.debian_sources:
        sources = work.scratch / "debian.list"
        sources.write_text(work.machine.debian_sources)
        argv.append(sources)
    await work.run(argv, doing or f"installing {len(packages)} packages of {SUITE}")


def packages_text(target: Path) -> str:
    """Name and version of every package in a tree, a line each, sorted."""
    status = (target / "var/lib/dpkg/status").read_text()
    found = re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", status, re.MULTILINE)
    return "".join(f"{name} {version}\n" for name, version in sorted(found))


async def _make_host(work: Work, packages: Sequence[str], hooks: Sequence[str] = ()) -> Made:
    target = work.folder / "rootfs"
    await make_tree(work, target, packages, hooks=hooks)
    (target / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    (target / MACHINE_CONF).write_text(work.machine.apt_settings)
    await _add_authorities(work, target)
    _make_anonymous(target)
    (work.folder / "packages.txt").write_text(packages_text(target))
    return Made("rootfs", (target / "etc/debian_version").read_text().strip())


def _make_anonymous(target: Path) -> None:
    """Take away what two hosts must not share; the rack gives each host its own."""
    for key in (target / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    (target / "etc/machine-id").write_text("")
    (target / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    for name in ("etc/hostname", "etc/resolv.conf"):
        (target / name).unlink(missing_ok=True)


def make_image_tree(target: Path) -> None:
    """Take away what an image has no use for, and what names the machine that made it."""
    for name in ("etc/hostname", "etc/resolv.conf", "etc/apt/apt.conf.d/99mmdebstrap", "var/log/dpkg.log"):
        (target / name).unlink(missing_ok=True)
    for name in ("var/cache/debconf", "var/log/apt", "var/cache/ldconfig"):
        shutil.rmtree(target / name, ignore_errors=True)
    for file in (*(target / "var/lib/dpkg").glob("*-old"), target / "var/log/alternatives.log"):
        file.unlink(missing_ok=True)


async def _add_authorities(work: Work, target: Path) -> None:
    """Trust in the tree whom the machine trusts beyond Debian's list: its apt may depend on it."""
    bundle = work.machine.etc / "ssl/certs/ca-certificates.crt"
    if not bundle.exists():
        return
    known = set(_certificates((target / "etc/ssl/certs/ca-certificates.crt").read_text()))
    extra = [one for one in _certificates(bundle.read_text(errors="replace")) if one not in known]
    if not extra:
        return
    place = target / "usr/local/share/ca-certificates"
    place.mkdir(parents=True, exist_ok=True)
    for number, certificate in enumerate(extra):
        (place / f"machine-{number:03}.crt").write_text(certificate + "\n")
    doing = f"adding {len(extra)} certificate authorities of the machine"
    await work.run(["chroot", target, "update-ca-certificates"], doing)


def _certificates(bundle: str) -> list[str]:
    return re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", bundle, re.DOTALL)


async def make_base(work: Work) -> Made:
    """The root file system of a bare host."""
    return await _make_host(work, BASE_PACKAGES)


async def make_nas(work: Work) -> Made:
    """The root file system of the NAS: its services are installed, neither configured nor started."""
    preseed = f"""--essential-hook=echo {SLAPD_UNCONFIGURED} | chroot "$1" debconf-set-selections"""
    off = f"""--customize-hook=systemctl --root="$1" disable {" ".join(NAS_UNITS)}"""
    return await _make_host(work, NAS_PACKAGES, (preseed, off))


async def make_extract(work: Work, packages: Sequence[str]) -> Path:
    """Unpack packages, and what they depend on, without configuring anything. Returns the tree."""
    target = work.scratch / "packages"
    await make_tree(
        work, target, packages, variant="extract", doing=f"fetching {', '.join(packages)} from {SUITE}"
    )
    return target


def package_version(tree: Path, package: str) -> str:
    """Version of an unpacked package, from its own changelog."""
    text = gzip.decompress((tree / f"usr/share/doc/{package}/changelog.Debian.gz").read_bytes()).decode()
    found = re.match(r"\S+ \(([^)]+)\)", text)
    assert found, "Debian policy fixes the first line of a changelog"
    return found[1]


def copied_program(source: Path, target: Path) -> None:
    """Copy one program, with mode 0755."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755)


RECIPES = (
    Recipe(
        name="base",
        version=SUITE,
        kind="tree",
        about="root file system of a bare host",
        make=make_base,
        sources=(HERE,),
        inputs=lambda machine: tree_inputs(machine, BASE_PACKAGES),
        tools=TOOLS,
        root=True,
    ),
    Recipe(
        name="base-nas",
        version=SUITE,
        kind="tree",
        about="root file system of the NAS: the same, with slapd and Samba",
        make=make_nas,
        sources=(HERE,),
        inputs=lambda machine: tree_inputs(machine, NAS_PACKAGES),
        tools=TOOLS,
        root=True,
    ),
)
