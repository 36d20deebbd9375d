"""The settings of the directory that Deskside runs, as one file for slapd. Text alone; nothing is asked here.

One file (`slapd -f`), not `cn=config`: a host's whole settings are then compared, tried and replaced as any
other file (decision 0008).
"""

from __future__ import annotations

from collections.abc import Iterator

from deskside.site.directory import LdapDirectory
from deskside.site.secrets import Secret

PLACE = "/etc/ldap/deskside"
CONFIG = f"{PLACE}/slapd.conf"
AUTHORITY = f"{PLACE}/authority.pem"
CERTIFICATE = f"{PLACE}/server.pem"
KEY = f"{PLACE}/server.key"
DATABASE = "/var/lib/ldap/deskside"
RUN = "/run/slapd"
ROOT = "gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth"
"""Root of the host, who comes by the local socket."""
REPLICATOR = "cn=replicator,cn=services"
POLICY = "cn=default,cn=policies"
LARGEST = 1 << 30
"""Bytes that the database may grow to; the file is sparse."""

GLOBAL = f"""\
# Written by Deskside.
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/dyngroup.schema
attributetype ( 1.3.6.1.4.1.24552.500.1.1.1.13 NAME 'sshPublicKey'
  DESC 'A line of authorized_keys' EQUALITY octetStringMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.40 )
objectclass ( 1.3.6.1.4.1.24552.500.1.1.2.0 NAME 'ldapPublicKey'
  DESC 'Whoever logs in by key' SUP top AUXILIARY MAY ( sshPublicKey $ uid ) )

pidfile {RUN}/deskside.pid
argsfile {RUN}/deskside.args
loglevel stats
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload dynlist
moduleload ppolicy
moduleload syncprov

TLSCACertificateFile {AUTHORITY}
TLSCertificateFile {CERTIFICATE}
TLSCertificateKeyFile {KEY}
TLSProtocolMin 3.3
TLSVerifyClient never

# Nobody without a name, and no password where it could be read. The local socket counts as encrypted.
disallow bind_anon
require authc
security simple_bind=128
localSSF 128
idletimeout 3600
password-hash {{CRYPT}}
password-crypt-salt-format "$6$rounds=50000$%.16s"
"""
PERSISTENT = 'type=refreshAndPersist retry="2 15 15 +" keepalive=60:4:15 timeout=10 network-timeout=5'


def settings(directory: LdapDirectory, replicator: Secret, host: str) -> Secret:
    """The whole file for one host of the directory, by its full name."""
    first = directory.server.host
    lines = [*_database(directory), *_overlays(directory)]
    if host == first:
        # No refint: what it takes out of groups by itself, syncprov never tells the copy.
        lines += ["overlay syncprov", "syncprov-checkpoint 1 1"]
    else:
        lines += _following(directory, replicator)
    lines += ["", *_access(directory)]
    return Secret(GLOBAL + "\n" + "\n".join(lines) + "\n")


def _database(directory: LdapDirectory) -> Iterator[str]:
    base = directory.base
    yield "database mdb"
    yield f'suffix "{base}"'
    # A name that nobody can bind as: even root is held to the password policy.
    yield f'rootdn "cn=nobody,cn=services,{base}"'
    yield f"directory {DATABASE}"
    yield f"maxsize {LARGEST}"
    yield "index objectClass,uid,cn,uidNumber,gidNumber,member,memberUid,entryUUID,entryCSN eq"
    for name in (ROOT, f"{REPLICATOR},{base}", str(directory.reader)):
        yield f'limits dn.exact="{name}" size=unlimited time=unlimited'


def _overlays(directory: LdapDirectory) -> Iterator[str]:
    # memberOf is worked out when it is asked for, so that it cannot differ between the first and its copy.
    yield "overlay dynlist"
    yield "dynlist-attrset groupOfURLs memberURL member+memberOf@posixGroup"
    yield "overlay ppolicy"
    yield f'ppolicy_default "{POLICY},{directory.base}"'
    yield "ppolicy_hash_cleartext"


def _following(directory: LdapDirectory, replicator: Secret) -> Iterator[str]:
    url = f"ldaps://{directory.server.host}:{directory.server.port}"
    account = f'binddn="{REPLICATOR},{directory.base}" credentials="{replicator.reveal()}"'
    yield f'syncrepl rid=001 provider={url} searchbase="{directory.base}" {PERSISTENT}'
    yield f"  bindmethod=simple {account} tls_cacert={AUTHORITY} tls_reqcert=demand"
    yield f"updateref {url}"


def _access(directory: LdapDirectory) -> Iterator[str]:
    """Who may see and change what. The first rule that fits an entry counts."""
    base, reader = directory.base, directory.reader
    root, copy = f'by dn.exact="{ROOT}" manage', f'by dn.exact="{REPLICATOR},{base}" read'
    read = f'by dn.exact="{reader}" read'
    # With `manage` the password policy would not hold for root.
    sets = f'by dn.exact="{ROOT}" write'
    yield f"access to attrs=userPassword,pwdHistory {sets} {copy} by self =xw by anonymous auth by * none"
    people = f'dn.one="cn=users,{base}"'
    yield f"access to {people} attrs=sshPublicKey {root} {copy} {read} by self write by * none"
    yield f"access to {people} {root} {copy} {read} by self read by * none"
    yield f'access to dn.one="cn=groups,{base}" {root} {copy} {read} by dnattr=member read by * none'
    # Whoever is known may look below these, and finds what the rules above let them see.
    for name in (base, f"cn=users,{base}", f"cn=groups,{base}"):
        yield f'access to dn.base="{name}" attrs=entry {root} {copy} {read} by users search by * none'
        yield f'access to dn.base="{name}" {root} {copy} {read} by * none'
    yield f"access to * {root} {copy} by * none"
