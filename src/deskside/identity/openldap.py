"""The directory that Deskside runs, as the hub and the checks see it: an LDAP directory like any other.

With one difference: whatever is wrong with it, `apply` is what puts it right. A look before a change
therefore warns and never refuses, or a directory that is down could not be brought up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
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
        """Handshake with each of its servers, and a look at what it holds."""
        servers = ldap_of(site).servers
        found = await asyncio.gather(*(_looked(site, given, host, server) for server in servers))
        return tuple(finding for one in found for finding in one)


async def _looked(site: Site, given: Given, host: HostReader, server: LdapServer) -> tuple[Finding, ...]:
    directory = replace(ldap_of(site), servers=(server,))
    spec = next(one for one in site.hosts if site.fqdn(one) == server.host)
    assert given.reader is not None
    tls = ReadTls(str(spec.address), server.port, server.host, given.ca, server.starttls)
    handshake, seen = await host.read(tls, look_question(directory, given.ca, given.reader))
    found = [tls_finding(server, given.ca, handshake)]
    if handshake.error:
        away = f"the directory does not answer on {spec.name} as it should: {handshake.error}"
        hint = "apply sets it up; if it was up before: deskside directory status"
        return (Finding("directory", str(server), Outcome.WARNING, away, hint),)
    found += look_findings(directory, seen)
    return tuple(_softened(directory, found))


def _softened(directory: LdapDirectory, findings: list[Finding]) -> Iterator[Finding]:
    """What would refuse a change warns, with what helps here."""
    for finding in findings:
        if not finding.refuses:
            yield finding
            continue
        hint = "apply puts it right"
        if "no user" in finding.message:
            hint = "deskside user add NAME, or take the name out of identity.admins"
        elif "no members" in finding.message:
            hint = f"deskside group add-member {(directory.group or '').partition(',')[0][3:]} NAME"
        yield replace(finding, outcome=Outcome.WARNING, hint=hint)


OPENLDAP = OpenLdap()
