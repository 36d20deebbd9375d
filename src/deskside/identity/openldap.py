"""The directory that Deskside runs, as the hub and the checks see it: an LDAP directory like any other.

With one difference: whatever is wrong with it, `apply` is what puts it right. A look before a change
therefore warns and never refuses, or a directory that is down could not be brought up again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from deskside.identity.ldap import Ldap, ldap_of, tls_finding
from deskside.identity.looking import look_findings, look_question
from deskside.model.finding import Finding, Outcome
from deskside.model.platform import Given
from deskside.model.query import ReadTls
from deskside.model.resource import HostReader
from deskside.site.directory import LdapDirectory
from deskside.site.schema import Site
from deskside.site.values import LdapServer


@dataclass(frozen=True)
class OpenLdap(Ldap):
    """`identity.kind: openldap`."""

    kind: str = "openldap"

    async def check(self, site: Site, given: Given, host: HostReader) -> tuple[Finding, ...]:
        """The look, in which what would refuse a change warns."""
        found = await self.look(site, given, host)
        return tuple(
            replace(one, outcome=Outcome.WARNING) if one.outcome is Outcome.FAILED else one for one in found
        )

    async def look(self, site: Site, given: Given, host: HostReader) -> tuple[Finding, ...]:
        """Handshake with each of its servers, and a look at what it holds."""
        import asyncio

        servers = ldap_of(site).servers
        found = await asyncio.gather(*(_looked(site, given, host, server) for server in servers))
        return tuple(finding for one in found for finding in one)


async def _looked(site: Site, given: Given, host: HostReader, server: LdapServer) -> tuple[Finding, ...]:
    directory = replace(ldap_of(site), servers=(server,))
    spec = next(one for one in site.hosts if site.fqdn(one) == server.host)
    assert given.reader is not None
    tls = ReadTls(str(spec.address), server.port, server.host, given.ca, server.starttls)
    handshake, seen = await host.read(tls, look_question(directory, given.ca, given.reader))
    if handshake.error:
        away = f"the directory does not answer on {spec.name} as it should: {handshake.error}"
        hint = "apply sets it up; if it was up before: deskside directory status"
        return (Finding("directory", str(server), Outcome.FAILED, away, hint),)
    found = (tls_finding(server, given.ca, handshake), *look_findings(directory, seen))
    return tuple(_helped(directory, one) for one in found)


def _helped(directory: LdapDirectory, finding: Finding) -> Finding:
    """With what helps here."""
    if finding.outcome is not Outcome.FAILED:
        return finding
    hint = "run: deskside apply"
    if "no user" in finding.message:
        hint = "deskside user add NAME, or take the name out of identity.admins"
    elif "no members" in finding.message:
        hint = f"deskside group join {(directory.group or '').partition(',')[0][3:]} NAME"
    return replace(finding, hint=hint)


OPENLDAP = OpenLdap()
