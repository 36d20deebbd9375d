"""An LDAP directory as values: what the section `identity` comes down to, whatever kind it is.

Every kind but `okta` speaks LDAP. Who asks a directory works on this, and never on the site file's fields:
the one that Deskside runs has no address there, and groups may stand there by their names alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deskside.site.values import LdapServer

if TYPE_CHECKING:
    from deskside.site.schema import Site

READER = "cn=reader,cn=services"
"""The account of few rights of a directory that Deskside runs, below its base."""


@dataclass(frozen=True)
class LdapDirectory:
    """Where a directory answers, and how people and groups are called in it."""

    servers: tuple[LdapServer, ...]
    """In the order in which they are asked; the first one takes changes."""
    base: str
    user_dn: str
    """Distinguished name of a user, with `{username}` left open."""
    group: str | None
    """Distinguished name of the group whose members may log in; None for everybody."""
    admins: tuple[str, ...]
    reader: str | None
    """Distinguished name of the account that looks people up; None without one."""
    manager: str | None
    """Distinguished name of an account that may change the directory; None without one."""
    group_class: str
    host_admins: str | None
    """Distinguished name of the group whose members become root on the hosts."""

    @property
    def server(self) -> LdapServer:
        """The first server."""
        return self.servers[0]

    def user(self, name: str) -> str:
        """Distinguished name of a user."""
        return self.user_dn.replace("{username}", name)

    @property
    def users_base(self) -> str:
        """Where users are."""
        return self.user_dn.partition(",")[2].strip()

    def group_named(self, name: str) -> str:
        """Distinguished name of a group: of the name as Synology lays it out, unless it is one already."""
        return name if "=" in name else f"cn={name},{self.groups_base}"

    @property
    def groups_base(self) -> str:
        """Where groups are: beside the allowed group, else as Synology lays it out."""
        return self.group.partition(",")[2].strip() if self.group else f"cn=groups,{self.base}"


def base_of(domain: str) -> str:
    """`dc=lab,dc=example` of `lab.example`."""
    return ",".join(f"dc={label}" for label in domain.split("."))


def make_ldap_directory(site: Site) -> LdapDirectory | None:
    """The directory of a site; None where people are known by another protocol."""
    identity = site.identity
    if identity.kind == "okta":
        return None
    base = identity.base or base_of(site.site)
    if identity.kind == "openldap":
        hosts = [name for name in (identity.on, identity.replica) if name]
        servers = tuple(LdapServer("ldaps", site.fqdn(name), 636) for name in hosts)
        reader: str | None = f"{READER},{base}"
    else:
        servers = tuple(one for one in (identity.server, identity.fallback) if one)
        reader = identity.bind.dn if identity.bind else None

    def full(name: str | None) -> str | None:
        return name if name is None or "=" in name else f"cn={name},cn=groups,{base}"

    return LdapDirectory(
        servers=servers,
        base=base,
        user_dn=identity.user_dn.replace("{base}", base),
        group=full(identity.allow.group),
        admins=identity.admins,
        reader=reader,
        manager=identity.manager.dn if identity.manager else None,
        group_class=identity.group_class,
        host_admins=full(identity.host_admins),
    )
