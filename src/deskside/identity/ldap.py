"""An existing LDAP directory, as on a Synology: how the hub logs people in, and whether it can.

Written for ldapauthenticator 2.0 and JupyterHub 5. Nothing here writes to a directory or knows a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import time

from deskside.identity.leaving import leaving_code, leaving_settings
from deskside.identity.looking import look_findings, look_question
from deskside.model.finding import Finding, Outcome
from deskside.model.platform import Given, HubLogin
from deskside.model.query import Output, ReadOutput, ReadTls, TlsFound
from deskside.model.resource import HostReader
from deskside.site.directory import LdapDirectory
from deskside.site.schema import Identity, LdapServer, Site
from deskside.site.values import USERNAME

CA_PATH = "/usr/local/etc/jupyterhub/directory-ca.pem"
SYSTEM_CA_PATH = "/etc/ssl/certs/ca-certificates.crt"
"""What the hub's image trusts, for a directory whose authority is a public one."""
AT_HUB = Path(__file__).parent / "at_hub/directory.py"
"""What the hub runs to say what is wrong with the directory."""
READER = "DESKSIDE_DIRECTORY_READER"
"""Variable of the hub's environment with the password of the account that looks people up."""
CERT_REQUIRED = 2
"""`ssl.CERT_REQUIRED`; without it ldap3 looks at no certificate at all."""
SOON_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Ldap:
    """`identity.kind: ldap`, and `synology`, which is laid out as the site file's defaults are."""

    kind: str = "ldap"

    def hub_login(self, site: Site, given: Given) -> HubLogin:
        """Configuration of LDAPAuthenticator."""
        identity, directory = site.identity, ldap_of(site)
        traits: dict[str, object] = {
            "server_address": directory.server.host,
            "server_port": directory.server.port,
            "tls_strategy": "before_bind" if directory.server.starttls else "on_connect",
            "tls_kwargs": {
                "validate": CERT_REQUIRED,
                "ca_certs_file": CA_PATH if given.ca else SYSTEM_CA_PATH,
            },
            "bind_dn_template": [directory.user_dn],
            "valid_username_regex": USERNAME,
        }
        rule = {"allow_all": True} if directory.group is None else {"allowed_groups": [directory.group]}
        reader = {} if directory.reader is None or given.reader is None else {READER: given.reader}
        return HubLogin(
            config={
                "JupyterHub": {"authenticator_class": "ldapauthenticator.LDAPAuthenticator"},
                "LDAPAuthenticator": traits | rule,
                "Authenticator": _people(identity),
                **_own_settings(identity, directory, given),
                **leaving_settings(identity),
            },
            files={CA_PATH: given.ca} if given.ca else {},
            code={"10-deskside-directory": AT_HUB.read_text(encoding="utf-8"), **leaving_code()},
            secrets=reader,
        )

    async def check(self, site: Site, given: Given, host: HostReader) -> tuple[Finding, ...]:
        """As `look`: nothing that apply does would put an existing directory right."""
        return await self.look(site, given, host)

    async def look(self, site: Site, given: Given, host: HostReader) -> tuple[Finding, ...]:
        """Handshake with the directory from a server, and a look at it, by an account where there is one."""
        import asyncio

        directory, ca = ldap_of(site), given.ca
        handshakes = [
            ReadTls(address_of(site, one.host), one.port, one.host, ca, one.starttls)
            for one in directory.servers
        ]
        reader = given.reader if directory.reader is not None else None
        entries = base_question(directory) if reader is None else look_question(directory, ca, reader)
        found, seen = await asyncio.gather(host.read_all(handshakes), host.read(entries))
        servers = zip(directory.servers, found, strict=True)
        findings = [tls_finding(server, ca, one) for server, one in servers]
        findings[1:] = map(_of_a_fallback, findings[1:])
        if reader is None:
            return (*findings, base_finding(directory, seen))
        # Without any handshake everything else has failed too, and for the same reason.
        return (
            tuple(findings)
            if all(one.error for one in found)
            else (*findings, *look_findings(directory, seen))
        )


def _of_a_fallback(found: Finding) -> Finding:
    """People can log in without it, so what is wrong with it refuses nothing."""
    failed = found.outcome is Outcome.FAILED
    hint = found.hint.replace("identity.server", "identity.fallback")
    return replace(found, outcome=Outcome.WARNING, hint=hint) if failed else found


def ldap_of(site: Site) -> LdapDirectory:
    """The directory of a site of one of the kinds here."""
    assert site.ldap is not None
    return site.ldap


def address_of(site: Site, name: str) -> str:
    """Where to connect: before the first apply no host knows the site's own names."""
    for host in site.hosts:
        if name in (host.name, site.fqdn(host)):
            return str(host.address)
    return name


def _people(identity: Identity) -> Mapping[str, object]:
    """Admins, and how they get in.

    `allowed_groups` keeps out an admin who is not in the group, so admins are allowed by name too. That alone
    would let in everybody whom the hub's database has ever known: hence `allow_existing_users`.
    """
    local = (identity.break_glass.name,) if identity.break_glass else ()
    admins = sorted({*identity.admins, *local})
    if not admins:
        return {}
    people: dict[str, object] = {"admin_users": admins}
    if identity.allow.group is not None:
        people |= {"allowed_users": admins, "allow_existing_users": False}
    return people


def _own_settings(identity: Identity, directory: LdapDirectory, given: Given) -> Mapping[str, object]:
    """Settings of `at_hub/directory.py`: further servers, who looks people up, and the local account."""
    found: dict[str, object] = {}
    if more := [f"{server.host}:{server.port}" for server in directory.servers[1:]]:
        found["fallbacks"] = more
    if directory.reader is not None and given.reader is not None:
        found["reader"] = directory.reader
    if identity.break_glass is not None and given.break_glass:
        found |= {"break_glass_name": identity.break_glass.name, "break_glass_hash": given.break_glass}
    return {"DirectoryAuthenticator": found} if found else {}


def base_question(directory: LdapDirectory) -> ReadOutput:
    """A read of the base entry without a password, by ldapsearch where a host has it.

    Certificates are the other question's matter, so they are not checked here; nothing secret is sent.
    """
    server = directory.server
    tls = ("-ZZ",) if server.starttls else ()
    url = f"{server.scheme}://{server.host}:{server.port}"
    search = ("-x", "-LLL", "-o", "nettimeout=5", "-H", url, "-s", "base", "-b", directory.base, "dn")
    return ReadOutput(("env", "LDAPTLS_REQCERT=never", "ldapsearch", *tls, *search), timeout=15.0)


def tls_finding(server: LdapServer, ca: str, found: TlsFound) -> Finding:
    """What the handshake says, with the field of the site file to change."""
    names = f"its certificate is for {', '.join(found.names)}" if found.names else "it showed no certificate"
    if found.error:
        return Finding(
            "directory",
            str(server),
            Outcome.FAILED,
            f"the directory {server} cannot be used: {found.error}; {names}",
            _remedy(server, ca, found),
        )
    until = datetime.fromtimestamp(found.not_after, UTC).date()
    message = f"{server} answers with a certificate for {', '.join(found.names)}, valid until {until}"
    if found.not_after - time() < SOON_SECONDS:
        hint = "renew it on the directory's host; nobody can log in once it has expired"
        return Finding("directory", str(server), Outcome.WARNING, message, hint)
    return Finding("directory", str(server), Outcome.OK, message)


def _remedy(server: LdapServer, ca: str, found: TlsFound) -> str:
    """By what was seen where that decides, and by OpenSSL's words only where nothing else does."""
    error = found.error.lower()
    where = f"{server.host} port {server.port}"
    if not found.names:
        if "ca certificate cannot be read" in error:
            return "identity.ca.file must be a PEM file: -----BEGIN CERTIFICATE-----"
        if "starttls" in error:
            return "switch on StartTLS in the directory, or write identity.server as ldaps://NAME"
        return f"identity.server: does a directory listen on {where}, and does every host know the name?"
    if found.not_after and found.not_after < time():
        return "the certificate has expired: renew it on the directory's host (DSM: Security, Certificate)"
    if not _covers(found.names, server.host):
        return f"identity.server: write a name that the certificate has: {', '.join(found.names)}"
    if not ca:
        return "identity.ca.file: name the PEM file of the authority that signed the certificate"
    if not is_authority(ca):
        return (
            "identity.ca.file holds a certificate that is no authority (the server's own, it seems): "
            "export the one that signed it"
        )
    return "identity.ca.file: this authority did not sign the certificate; export the one that did"


def _covers(names: tuple[str, ...], host: str) -> bool:
    rest = host.partition(".")[2]
    return host in names or (bool(rest) and f"*.{rest}" in names)


def is_authority(pem: str) -> bool:
    """Whether every certificate of the text may sign others; False for text that holds none."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        return all(one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca for one in found)
    except (ValueError, x509.ExtensionNotFound):
        return False


def base_finding(directory: LdapDirectory, found: Output) -> Finding:
    """What the base says. A directory may refuse to tell it without a password: then nothing is known."""
    name, base = "directory base", directory.base
    if found.status == 0 and "dn:" in found.stdout.lower():
        return Finding(name, base, Outcome.OK, f"the directory has the base {base}")
    if found.status == NO_SUCH_OBJECT:
        return Finding(
            name,
            base,
            Outcome.FAILED,
            f"the directory has no entry {base}",
            "identity.base: on a Synology it is in LDAP Server, Settings, Connection Settings, as Base DN",
        )
    if found.status in (INVALID_SYNTAX, INVALID_DN):
        return Finding(name, base, Outcome.FAILED, f"the directory takes {base} for no name", "identity.base")
    why = (
        "ldapsearch is not installed there yet, apply installs it"
        if found.status == 127
        else "it does not tell without a password"
    )
    # Not a failure: many directories are set up like that, and verify logs in for real.
    return Finding(name, base, Outcome.WARNING, f"whether {base} exists is not known: {why}", AFTERWARDS)


NO_SUCH_OBJECT, INVALID_SYNTAX, INVALID_DN = 32, 21, 34
"""Result codes of RFC 4511, which ldapsearch hands on as its exit status."""
AFTERWARDS = "after apply, deskside verify logs in as a user and shows it"
LDAP = Ldap()
SYNOLOGY = Ldap(kind="synology")
