"""The directory's people on the hosts: SSH by key or password, through SSSD.

Everywhere with the directory's own number of the user, with a home that is made at the first login, and for a
while also without the directory. Whoever may use the hub may log in; the site's own account stays as it is:
by key alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from deskside.model.platform import Host, Platform
from deskside.model.query import ReadOutput, ReadPath
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.command import Command
from deskside.resources.files import Absent, Directory, File
from deskside.resources.packages import Packages
from deskside.resources.system import Unit
from deskside.site.directory import LdapDirectory
from deskside.site.schema import Site
from deskside.site.secrets import Secret
from deskside.site.values import ROOT_GROUPS
from deskside.steps.baseline import NODES

CA = "/etc/deskside/directory-ca.pem"
SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
CONFIG = "/etc/sssd/conf.d/80-deskside.conf"
SUDOERS = "/etc/sudoers.d/90-deskside-people"
DOOR = "/etc/ssh/sshd_config.d/20-deskside-people.conf"
STALE_SECONDS = 300
"""How long a host believes what the directory said: who is removed there is out within this time."""
END = f"""
rm -f {CONFIG} {SUDOERS} {DOOR}
systemctl reload ssh.service
if [ -e /etc/sssd/sssd.conf ]; then systemctl restart sssd.service; else systemctl stop sssd.service; fi
"""
"""Somebody else's SSSD goes on with what was there before."""


@step(needs=("baseline", "directory"), on=NODES)
def host_login(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """Let the directory's people log in to the host."""
    directory, password = site.ldap, platform.given.reader
    if directory is None or not site.identity.host_login:
        yield Command(
            "login of the directory's people",
            ("sh", "-ec", END),
            asks=ReadPath(CONFIG),
            done=lambda found: found.kind == "absent",
            summary="end it",
        )
        return
    if password is None:
        return
    yield Packages(host.os.packages["people"])
    yield Directory("/etc/deskside")
    authority = File(CA, platform.given.ca)
    # Named by SSSD's own package, which gives it to nobody but root.
    config = File(CONFIG, sssd_config(site, directory, platform.given.ca, password), 0o600)
    if platform.given.ca:
        yield authority
    yield config
    yield Unit("sssd.service", after=(authority, config) if platform.given.ca else (config,))
    yield Command(
        "homes at the first login",
        ("pam-auth-update", "--enable", "mkhomedir"),
        asks=ReadOutput(("grep", "-qs", "pam_mkhomedir", "/etc/pam.d/common-session")),
        done=lambda output: output.status == 0,
        summary="make them (pam_mkhomedir)",
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )
    if directory.host_admins is None:
        yield Absent(SUDOERS)
    else:
        yield File(SUDOERS, sudoers(directory.host_admins), 0o440, check=("visudo", "-cqf", "{}"))
    door = File(DOOR, door_text(directory), check=("sshd", "-t", "-f", "{}"))
    yield door
    yield Unit("ssh.service", after=(door,), reload=True)


def group_name(dn: str) -> str:
    """`ai` of `cn=ai,cn=groups,dc=lab,dc=example`."""
    return dn.partition(",")[0].partition("=")[2].strip()


def may_log_in(directory: LdapDirectory) -> tuple[str, ...]:
    """Groups whose members may."""
    return (group_name(directory.group),) if directory.group else ()


def local_users(site: Site) -> tuple[str, ...]:
    """Accounts of the hosts that nobody of the directory is taken for."""
    installer = (site.admin.installer.user,) if site.admin.installer else ()
    return tuple(dict.fromkeys(("root", site.admin.user, *installer)))


def sssd_config(site: Site, directory: LdapDirectory, ca: str, password: Secret) -> Secret:
    """The whole file; it holds the password of the account that looks people up."""
    name = directory.user_dn.partition("=")[0].strip()
    server = directory.server
    lines = [
        "# Written by Deskside.",
        "[sssd]",
        f"domains = {site.name}",
        "[nss]",
        f"filter_users = {','.join(local_users(site))}",
        f"filter_groups = {','.join(ROOT_GROUPS)}",
        f"[domain/{site.name}]",
        *("id_provider = ldap", "auth_provider = ldap", "chpass_provider = ldap"),
        "access_provider = simple",
        f"simple_allow_groups = {', '.join(may_log_in(directory))}",
        f"ldap_uri = {', '.join(f'{one.scheme}://{one.host}:{one.port}' for one in directory.servers)}",
        f"ldap_id_use_start_tls = {str(server.starttls).lower()}",
        "ldap_tls_reqcert = demand",
        f"ldap_tls_cacert = {CA if ca else SYSTEM_CA}",
        f"ldap_search_base = {directory.base}",
        f"ldap_user_search_base = {directory.users_base}",
        f"ldap_user_name = {name}",
        "ldap_user_ssh_public_key = sshPublicKey",
        # Members by their whole names.
        *("ldap_schema = rfc2307bis", f"ldap_group_object_class = {directory.group_class}"),
        f"ldap_default_bind_dn = {directory.reader}",
        f"ldap_default_authtok = {password.reveal()}",
        "ldap_network_timeout = 4",
        *("cache_credentials = true", f"entry_cache_timeout = {STALE_SECONDS}"),
        *("min_id = 1000", "override_homedir = /home/%u", "default_shell = /bin/bash"),
        "enumerate = false",
    ]
    return Secret("\n".join(lines) + "\n")


def sudoers(group: str) -> str:
    """Members of the group become root with their own password."""
    return f"# Written by Deskside.\n%{group_name(group)} ALL=(ALL:ALL) ALL\n"


def door_text(directory: LdapDirectory) -> str:
    """What SSH lets in beyond keys of the site: for the directory's people alone."""
    return (
        "# Written by Deskside: people of the directory, by password or by a key that stands there.\n"
        f"Match Group {','.join(may_log_in(directory))}\n"
        "    PasswordAuthentication yes\n"
        "    AuthorizedKeysCommand /usr/bin/sss_ssh_authorizedkeys\n"
        "    AuthorizedKeysCommandUser nobody\n"
    )
