"""The directory that Deskside runs (`identity.kind: openldap`): slapd on one host, and a copy on another.

The distribution's program under a unit and settings of our own: its unit is masked before it is installed, so
that nothing ever answers by default settings. People's entries are theirs and the administrator's: nothing
here touches them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deskside.model.door import Door, Source
from deskside.model.platform import Host, OwnDirectory, Platform
from deskside.model.query import ReadPackages, ReadPath
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.command import Command
from deskside.resources.entries import Entries, Entry
from deskside.resources.files import Directory, File
from deskside.resources.packages import Packages
from deskside.resources.system import UNIT_DIRECTORY, Masked, Unit
from deskside.site.directory import LdapDirectory
from deskside.site.schema import HostSpec, Role, Site
from deskside.site.secrets import Secret
from deskside.steps.directory_settings import (
    AUTHORITY,
    CERTIFICATE,
    CONFIG,
    DATABASE,
    KEY,
    PLACE,
    POLICY,
    REPLICATOR,
    RUN,
    settings,
)

UNIT = "deskside-directory.service"
BACKUP, TIMER = "deskside-directory-backup.service", "deskside-directory-backup.timer"
PROGRAM = "/opt/deskside/bin/deskside-directory"
BACKUPS = "/var/lib/deskside/directory"
THEIRS = "slapd.service"
"""The distribution's own unit."""
OWNER = "openldap"
SERVICES_POLICY = "cn=services,cn=policies"
GROUPS = {"users": 20001, "administrators": 20002}
"""Groups that are always there, with their numbers: above what the system gives to accounts of its own, one
after the other from 1000, and below what it sets aside for containers."""
FIRST_GID = 20003
CHECK = (
    *("sh", "-ec", f'install -d -o {OWNER} -g {OWNER} {RUN} && slaptest -u -f "$1"'),
    *("sh", "{}"),
)
"""It also tries whether the file of its process could be written, whose folder is there while slapd runs."""
HERE = Path(__file__).parent

UNIT_TEXT = f"""\
# Written by Deskside.
[Unit]
Description=Deskside: the directory of the site's people
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=forking
PIDFile={RUN}/deskside.pid
User={OWNER}
Group={OWNER}
AmbientCapabilities=CAP_NET_BIND_SERVICE
RuntimeDirectory=slapd
ExecStartPre=+{PROGRAM} settle
ExecStart=/usr/sbin/slapd -f {CONFIG} -h "ldap:/// ldaps:/// ldapi:///"
Restart=always
RestartSec=2
LimitNOFILE=8192

[Install]
WantedBy=multi-user.target
"""
BACKUP_TEXT = f"""\
# Written by Deskside.
[Unit]
Description=Deskside: a backup of the directory

[Service]
Type=oneshot
ExecStart={PROGRAM} backup
"""
TIMER_TEXT = """\
# Written by Deskside.
[Unit]
Description=Deskside: a backup of the directory every night

[Timer]
OnCalendar=*-*-* 02:15
RandomizedDelaySec=45min
Persistent=true

[Install]
WantedBy=timers.target
"""
END = f"""
systemctl disable --now {UNIT} {TIMER} || :
rm -f {UNIT_DIRECTORY}/{BACKUP} {UNIT_DIRECTORY}/{TIMER} {CONFIG} {KEY} {CERTIFICATE} {AUTHORITY}
[ ! -d {PLACE} ] || rmdir --ignore-fail-on-non-empty {PLACE}
systemctl unmask {THEIRS}
rm -f {UNIT_DIRECTORY}/{UNIT}
systemctl daemon-reload
"""
"""Database and backups stay. The unit's file goes last: by it one sees that there is something to end."""


def has_directory(site: Site, host: HostSpec) -> bool:
    """Whether Deskside runs the directory, or its copy, on this host."""
    identity = site.identity
    return identity.kind == "openldap" and host.name in (identity.on, identity.replica)


ASKING = (Source.SUBNET, Source.NODES, Source.PODS)
LDAP_DOOR = Door("directory (LDAP, StartTLS)", "tcp", "389", ASKING, has_directory)
LDAPS_DOOR = Door("directory (LDAPS)", "tcp", "636", ASKING, has_directory)


@step(needs=("baseline", "resolver"), on=frozenset(Role))
def directory(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Run the directory of the site's people (slapd)."""
    own, reader = platform.given.own, platform.given.reader
    if not has_directory(site, host.spec):
        yield _ended()
        return
    if site.ldap is None or own is None or reader is None:
        return
    yield from _installed(host)
    files = tuple(_files(site, site.ldap, platform, own, host))
    yield from files
    program = File(PROGRAM, program_text(), 0o755)
    unit = File(f"{UNIT_DIRECTORY}/{UNIT}", UNIT_TEXT)
    yield from (program, unit)
    yield Unit(UNIT, after=(*files, unit))
    backup, timer = (
        File(f"{UNIT_DIRECTORY}/{name}", text) for name, text in ((BACKUP, BACKUP_TEXT), (TIMER, TIMER_TEXT))
    )
    yield from (backup, timer)
    yield Unit(TIMER, after=(backup, timer))
    if host.name == site.identity.on:
        yield wanted_entries(site, site.ldap, reader, own.replicator)


def _ended() -> Resource:
    return Command(
        "directory of the site",
        ("sh", "-ec", END),
        asks=ReadPath(f"{UNIT_DIRECTORY}/{UNIT}"),
        done=lambda found: found.kind == "absent",
        summary="end it (its data and backups stay)",
    )


def _installed(host: Host) -> Iterator[Resource]:
    packages = host.os.packages["directory server"]
    yield Masked(THEIRS)
    yield Command(
        "settings of slapd's package",
        ("debconf-set-selections",),
        asks=ReadPackages(packages[:1]),
        done=bool,
        summary="make no directory of its own",
        stdin="slapd slapd/no_configuration boolean true\n",
    )
    yield Packages(packages)
    yield Directory(PLACE, 0o750, "root", OWNER)
    yield Directory(DATABASE, 0o700, OWNER, OWNER)
    yield Directory(BACKUPS, 0o700)


def _files(
    site: Site, found: LdapDirectory, platform: Platform, own: OwnDirectory, host: Host
) -> Iterator[File]:
    certificate, key = own.certificates[host.name]
    yield File(AUTHORITY, platform.given.ca)
    yield File(CERTIFICATE, certificate)
    yield File(KEY, key, 0o400, OWNER, OWNER)
    # In it stands the password by which a copy follows.
    text = settings(found, own.replicator, site.fqdn(host.spec))
    yield File(CONFIG, text, 0o400, OWNER, OWNER, check=CHECK)


def program_text() -> str:
    """The program that keeps backups, as it lies on a host."""
    return f"#!/usr/bin/python3 -I\n{(HERE / 'directory_program.py').read_text()}"


def wanted_entries(site: Site, found: LdapDirectory, reader: Secret, replicator: Secret) -> Entries:
    """The tree, the groups that the site file names, the two accounts, and the password policies."""
    base = found.base
    accounts = {f"{name},{base}": text for name, text in _accounts(found, reader, replicator)}
    return Entries(
        program=(HERE / "directory_entries.py").read_text(),
        base=base,
        entries=(*_tree(site, base), *_policies(base), *_account_entries(accounts, base), *_groups(found)),
        passwords=accounts,
        first_gid=FIRST_GID,
    )


def _accounts(found: LdapDirectory, reader: Secret, replicator: Secret) -> Iterator[tuple[str, Secret]]:
    assert found.reader is not None
    yield found.reader.removesuffix(f",{found.base}"), reader
    yield REPLICATOR, replicator


def _tree(site: Site, base: str) -> Iterator[Entry]:
    name = base.partition(",")[0].partition("=")[2]
    kinds = ("dcObject", "organization")
    yield Entry(base, {"objectClass": kinds, "dc": (name,), "o": (site.name,)}, ("o",))
    for name in ("users", "groups", "services", "policies"):
        yield Entry(f"cn={name},{base}", {"objectClass": ("organizationalRole",), "cn": (name,)})


def _policies(base: str) -> Iterator[Entry]:
    kinds = {"objectClass": ("organizationalRole", "pwdPolicy"), "pwdAttribute": ("userPassword",)}
    rules = {
        "pwdMinLength": ("10",),
        # What slapd cannot look at, because it was hashed elsewhere, is refused.
        "pwdCheckQuality": ("2",),
        "pwdLockout": ("TRUE",),
        "pwdMaxFailure": ("10",),
        "pwdLockoutDuration": ("300",),
        "pwdFailureCountInterval": ("300",),
    }
    yield Entry(f"{POLICY},{base}", {**kinds, "cn": ("default",), **rules})
    # Else ten wrong passwords would lock out every host and the hub at once.
    yield Entry(f"{SERVICES_POLICY},{base}", {**kinds, "cn": ("services",), "pwdLockout": ("FALSE",)})


def _account_entries(accounts: dict[str, Secret], base: str) -> Iterator[Entry]:
    for dn in accounts:
        name = dn.partition(",")[0].partition("=")[2]
        attributes = {
            "objectClass": ("organizationalRole", "simpleSecurityObject"),
            "cn": (name,),
            "pwdPolicySubentry": (f"{SERVICES_POLICY},{base}",),
        }
        yield Entry(dn, attributes, ("pwdPolicySubentry",))


def _groups(found: LdapDirectory) -> Iterator[Entry]:
    named = [*GROUPS, *(dn for dn in (found.group, found.host_admins) if dn)]
    for dn in dict.fromkeys(found.group_named(name) if "=" not in name else name for name in named):
        name = dn.partition(",")[0].partition("=")[2].strip()
        attributes: dict[str, tuple[str, ...]] = {
            "objectClass": ("posixGroup", "extensibleObject"),
            "cn": (name,),
        }
        if name in GROUPS:
            attributes["gidNumber"] = (str(GROUPS[name]),)
        yield Entry(dn, attributes, ("cn", "gidNumber"))
