"""The rack's NAS: a real slapd in Synology's layout, a real Samba share, and a volume with homes.

It is set up on its disk before its first boot, as a person sets up an appliance; Deskside never writes to it.
Passwords are made per rack and lie in 0600 files beside the site file.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from deskside.app.certificates import make_authority, make_leaf
from deskside.lab.hosts import STANDINS, host_env, write_file
from deskside.lab.process import run
from deskside.lab.spec import USERS, Layout, RackHost

AUTHORITY = "nas-ca.pem"
GROUPS = {"users": 100001, "administrators": 100002, "ai": 100003}
ROOT = "root"
"""The directory's own administrator, uid=root,cn=users, as on a Synology; may change everything."""
CERTIFICATE = "/etc/ldap/tls/nas.pem"


def secret_file(layout: Layout, user: str) -> Path:
    """Where the password of a user of the directory is."""
    return layout.folder / f"{user}.secret"


def make_secrets(layout: Layout) -> None:
    """Make the users' passwords and the authority, each once."""
    for user in (*USERS, ROOT):
        path = secret_file(layout, user)
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(15) + "\n")
    folder = layout.folder / "secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (layout.folder / AUTHORITY).exists():
        make_authority(f"NAS of {layout.domain}", layout.folder / AUTHORITY, folder / "nas-ca.key")


def leaf(layout: Layout, *names: str, days: float = 730) -> tuple[bytes, bytes]:
    """A certificate for the NAS; other names and negative days make wrong ones for tests."""
    nas = layout.nas
    assert nas
    known = names or (layout.fqdn(nas), nas.name)
    key = layout.folder / "secrets/nas-ca.key"
    return make_leaf(layout.folder / AUTHORITY, key, known, layout.address(nas), days=days)


async def install(layout: Layout, host: RackHost) -> None:
    """Set up directory, shares and exports on the NAS's disk. The last file written says so."""
    done = layout.place(host) / "appliance"
    if done.exists():
        return
    root = layout.root(host)
    certificate, key = leaf(layout)
    write_file(root, CERTIFICATE.lstrip("/"), certificate.decode() + (layout.folder / AUTHORITY).read_text())
    write_file(root, "etc/ldap/tls/nas.key", key.decode(), 0o600)
    write_file(root, "etc/ldap/tls/ca.pem", (layout.folder / AUTHORITY).read_text())
    write_file(root, "etc/ldap/ldap.conf", f"BASE {layout.directory_root}\nTLS_CACERT /etc/ldap/tls/ca.pem\n")
    write_file(
        root, "etc/hosts", f"127.0.0.1 localhost\n{layout.address(host)} {layout.fqdn(host)} {host.name}\n"
    )
    await _make_directory(layout, root)
    write_file(root, "etc/samba/smb.conf", _samba(host))
    write_file(
        root, "etc/exports", f"/volume1/homes {layout.subnet}(rw,sync,no_root_squash,no_subtree_check)\n"
    )
    write_file(root, "usr/local/sbin/nfs-exports", (STANDINS / "nfs_exports.py").read_text(), 0o755)
    write_file(root, "etc/systemd/system/nfs-exports.service", _EXPORTS_UNIT)
    passwords = "".join(f"{user}:{secret_file(layout, user).read_text()}" for user in USERS)
    await run(
        ["chroot", root, "sh", "-ec", _volume()],
        "setting up the NAS's volume",
        stdin=passwords,
        env=host_env(),
    )
    done.touch()


_EXPORTS_UNIT = """\
[Unit]
Description=Stand-in for an NFS server: answers which folders are exported
After=network.target

[Service]
Type=notify
ExecStart=/usr/local/sbin/nfs-exports
Restart=always

[Install]
WantedBy=multi-user.target
"""


def _volume() -> str:
    """Accounts for Samba (passwords come by standard input), folders, units. Runs in the NAS's root."""
    lines = [f"getent group {name} >/dev/null || groupadd --gid {gid} {name}" for name, gid in GROUPS.items()]
    for user, (uid, groups) in USERS.items():
        own = (
            f"--uid {uid} --gid users --groups {','.join(groups)} --no-create-home --shell /usr/sbin/nologin"
        )
        lines.append(f"id {user} >/dev/null 2>&1 || useradd {own} {user}")
    lines += [
        "mkdir -p /volume1/homes /volume1/datasets",
        "chmod 0755 /volume1 /volume1/homes",
        "chgrp ai /volume1/datasets && chmod 2775 /volume1/datasets",
        "echo 'Data sets of this site.' > /volume1/datasets/README.txt",
        'while IFS=: read -r user password; do printf "%s\\n%s\\n" "$password" "$password"'
        ' | smbpasswd -L -s -a "$user" >/dev/null; done',
        "systemctl enable --quiet slapd.service smbd.service nfs-exports.service",
        "systemctl disable --quiet nmbd.service samba-ad-dc.service winbind.service 2>/dev/null || true",
    ]
    return "\n".join(lines)


def _samba(host: RackHost) -> str:
    return f"""\
[global]
  server string = {host.name}
  workgroup = WORKGROUP
  server role = standalone server
  server min protocol = SMB2
  map to guest = never
  disable netbios = yes
  load printers = no
  log level = 1

[datasets]
  path = /volume1/datasets
  valid users = @ai
  read only = no
  create mask = 0664
  directory mask = 2775
"""


async def _make_directory(layout: Layout, root: Path) -> None:
    """Fill slapd's two databases while it is off."""
    doing = "setting up the NAS's directory"
    hashed = {}
    for user in (*USERS, ROOT):
        # slappasswd takes the file as it is, a last line end included.
        write_file(root, "run/password", secret_file(layout, user).read_text().strip(), 0o600)
        argv: list[str | Path] = [
            "chroot",
            root,
            "slappasswd",
            "-h",
            "{CRYPT}",
            "-c",
            "$6$%.16s",
            "-T",
            "/run/password",
        ]
        hashed[user] = (await run(argv, doing, env=host_env())).out.strip()
    (root / "run/password").unlink()
    await run(["chroot", root, "sh", "-ec", _EMPTY_SLAPD], doing, env=host_env())
    for number, text in ((0, _configuration(layout, hashed[ROOT])), (1, _entries(layout, hashed))):
        add: list[str | Path] = ["chroot", root, "slapadd", "-F", "/etc/ldap/slapd.d", "-n", str(number)]
        await run(add, doing, stdin=text, env=host_env())
    await run(["chroot", root, "sh", "-ec", _OWN_SLAPD], doing, env=host_env())
    write_file(root, "etc/default/slapd", _SLAPD_DEFAULTS)


_EMPTY_SLAPD = """
rm -rf /etc/ldap/slapd.d /var/lib/ldap
mkdir -p /etc/ldap/slapd.d /var/lib/ldap
"""
_OWN_SLAPD = """
chown -R openldap:openldap /etc/ldap/slapd.d /var/lib/ldap /etc/ldap/tls
chmod 0750 /etc/ldap/slapd.d /var/lib/ldap
"""
_SLAPD_DEFAULTS = """\
SLAPD_CONF=/etc/ldap/slapd.d
SLAPD_USER="openldap"
SLAPD_GROUP="openldap"
SLAPD_PIDFILE=
SLAPD_SERVICES="ldap:/// ldaps:/// ldapi:///"
SLAPD_SENTINEL_FILE=/etc/ldap/noslapd
SLAPD_OPTIONS=""
"""


MODULES_AND_SCHEMAS = """\
dn: cn=module,cn=config
objectClass: olcModuleList
cn: module
olcModulePath: /usr/lib/ldap
olcModuleLoad: back_mdb
olcModuleLoad: memberof

dn: cn=schema,cn=config
objectClass: olcSchemaConfig
cn: schema

include: file:///etc/ldap/schema/core.ldif

include: file:///etc/ldap/schema/cosine.ldif

include: file:///etc/ldap/schema/nis.ldif

include: file:///etc/ldap/schema/inetorgperson.ldif
"""


def _configuration(layout: Layout, root_password: str) -> str:
    """The directory's settings: no anonymous access, no password without TLS."""
    local = "gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth"
    return f"""\
dn: cn=config
objectClass: olcGlobal
cn: config
olcArgsFile: /var/run/slapd/slapd.args
olcPidFile: /var/run/slapd/slapd.pid
olcDisallows: bind_anon
olcRequires: authc
olcSecurity: simple_bind=128
olcTLSCertificateFile: {CERTIFICATE}
olcTLSCertificateKeyFile: /etc/ldap/tls/nas.key
olcTLSCACertificateFile: /etc/ldap/tls/ca.pem

{MODULES_AND_SCHEMAS}
dn: olcDatabase=config,cn=config
objectClass: olcDatabaseConfig
olcDatabase: config
olcAccess: to * by dn.exact={local} manage by * none

dn: olcDatabase=mdb,cn=config
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: mdb
olcSuffix: {layout.directory_root}
olcDbDirectory: /var/lib/ldap
olcDbIndex: objectClass,uid,cn,member,memberOf eq
olcRootDN: uid=root,cn=users,{layout.directory_root}
olcRootPW: {root_password}
olcAccess: to attrs=userPassword by dn.exact={local} manage by self write by anonymous auth by * none
olcAccess: to * by dn.exact={local} manage by users read by * none

dn: olcOverlay=memberof,olcDatabase={{1}}mdb,cn=config
objectClass: olcOverlayConfig
objectClass: olcMemberOf
olcOverlay: memberof
olcMemberOfGroupOC: groupOfNames
"""


def _entries(layout: Layout, hashed: dict[str, str]) -> str:
    """The tree: cn=users and cn=groups, as Synology's LDAP Server lays it out."""
    top = layout.directory_root
    domain = layout.domain
    entries = [
        f"dn: {top}\nobjectClass: dcObject\nobjectClass: organization\ndc: {layout.name}\no: {domain}",
        f"dn: cn=users,{top}\nobjectClass: organizationalRole\ncn: users",
        f"dn: cn=groups,{top}\nobjectClass: organizationalRole\ncn: groups",
    ]
    for user, (uid, groups) in USERS.items():
        entries.append(
            f"dn: uid={user},cn=users,{top}\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\n"
            f"objectClass: shadowAccount\nuid: {user}\ncn: {user}\nsn: {user.capitalize()}\n"
            f"displayName: {user.capitalize()}\nmail: {user}@{domain}\nuidNumber: {uid}\n"
            f"gidNumber: {GROUPS['users']}\nhomeDirectory: /home/{user}\nloginShell: /bin/sh\n"
            f"userPassword: {hashed[user]}\n"
            # slapadd runs no overlays, so what memberof would add is written out.
            + "\n".join(f"memberOf: cn={group},cn=groups,{top}" for group in groups)
        )
    for group, gid in GROUPS.items():
        names = [user for user, (_, groups) in USERS.items() if group in groups]
        # groupOfNames and posixGroup are both structural in the classic schema; the numbers come by
        # extensibleObject.
        entries.append(
            f"dn: cn={group},cn=groups,{top}\nobjectClass: groupOfNames\nobjectClass: extensibleObject\n"
            f"cn: {group}\ngidNumber: {gid}\n"
            + "\n".join(f"member: uid={user},cn=users,{top}\nmemberUid: {user}" for user in names)
        )
    return "\n\n".join(entries) + "\n"
