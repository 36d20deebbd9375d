"""A look at an OpenID Connect provider from a server: its discovery document, and the client's secret.

What it finds names the field of the site file to change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deskside.identity.ldap import address_of, is_authority
from deskside.model.finding import Finding, Outcome
from deskside.model.platform import Given
from deskside.model.query import Output, ReadOutput, object_of
from deskside.site.schema import Identity, Site
from deskside.site.secrets import Secret

if TYPE_CHECKING:
    from deskside.identity.okta import Endpoints

PROGRAM = Path(__file__).parent / "on_host/provider.py"
CHECK, CLIENT = "provider", "provider client"
KNOWN = ("invalid_grant", "access_denied")
"""What the token endpoint says to a client that it knows, about a token that cannot exist."""
UNKNOWN_CLIENT = ("invalid_client",)


def provider_question(site: Site, given: Given, token: str) -> ReadOutput:
    """Read the discovery document, and try the client at the token endpoint."""
    identity = site.identity
    asked = {
        "issuer": identity.issuer,
        "address": address_of(site, urlsplit(str(identity.issuer)).hostname or ""),
        "ca": given.ca,
        "token": token,
        "client_id": identity.client_id,
        "client_secret": given.client.reveal() if given.client else "",
    }
    return ReadOutput(("python3", "-I", "-c", PROGRAM.read_text()), Secret(json.dumps(asked)), 30.0)


def provider_findings(
    site: Site, given: Given, wanted: Endpoints, scopes: Iterable[str], output: Output
) -> tuple[Finding, ...]:
    """What the answers mean: everything that is wrong at once, or one finding that all is well."""
    identity = site.identity
    found = object_of(output)
    if found is None:
        return (
            _finding(Outcome.FAILED, "the provider was not asked: the server gave no answer", "run it again"),
        )
    document = found.get("document")
    if found.get("error"):
        return (_unreachable(identity, given, str(found["error"])),)
    if not isinstance(document, Mapping) or not document:
        place = f"{identity.issuer}/.well-known/openid-configuration"
        message = f"{place} answers with HTTP {found.get('status')} and no discovery document"
        return (_finding(Outcome.FAILED, message, "identity.issuer: copy it from the provider's settings"),)
    wrong = tuple(_wrong(identity, wanted, scopes, document))
    client = tuple(_client(identity, str(found.get("client", "")))) if given.client else ()
    if wrong or client:
        return (*wrong, *client)
    message = f"{identity.issuer} answers, with the paths and scopes that the hub uses, and knows the client"
    return (_finding(Outcome.OK, message, ""),)


def _unreachable(identity: Identity, given: Given, error: str) -> Finding:
    """By the words of OpenSSL where there are such."""
    host = urlsplit(str(identity.issuer)).hostname
    message = f"the provider {identity.issuer} cannot be asked: {error}"
    low = error.lower()
    if low.startswith("certificate: "):
        if "hostname mismatch" in low or "ip address mismatch" in low:
            hint = "identity.issuer: write the name that the provider's certificate has"
        elif "expired" in low:
            hint = "the certificate has expired: renew it at the provider"
        elif not given.ca:
            hint = "identity.ca.file: name the PEM file of the authority that signed the certificate"
        elif not is_authority(given.ca):
            hint = "identity.ca.file holds a certificate that is no authority: export the one that signed it"
        else:
            hint = "identity.ca.file: this authority did not sign the certificate; export the one that did"
    elif given.ca and ("pem" in low or "x509" in low or "asn1" in low):
        hint = "identity.ca.file must be a PEM file: -----BEGIN CERTIFICATE-----"
    else:
        hint = f"identity.issuer: does a provider answer at {host}, and does every host know the name?"
    return _finding(Outcome.FAILED, message, hint)


def _wrong(
    identity: Identity, wanted: Endpoints, scopes: Iterable[str], document: Mapping[str, object]
) -> Iterator[Finding]:
    issuer = document.get("issuer")
    if issuer != identity.issuer:
        message = f"the provider calls itself {issuer}, not {identity.issuer}"
        yield _finding(Outcome.FAILED, message, f"write identity.issuer: {issuer}")
    for key, place in (
        ("authorization_endpoint", wanted.authorize),
        ("token_endpoint", wanted.token),
        ("userinfo_endpoint", wanted.userinfo),
    ):
        if document.get(key) != place:
            message = f"the provider's {key} is {document.get(key)}, and the hub would ask {place}"
            hint = "identity.issuer: name a server with Okta's paths (ISSUER/v1/authorize, token, userinfo)"
            yield _finding(Outcome.FAILED, message, hint)
    # A provider need not publish all that it has; what it publishes and lacks this is a reason to look.
    for key, names, field in (
        ("scopes_supported", tuple(scopes), "define it at the authorization server"),
        ("claims_supported", _claims(identity), "add it at the authorization server, or correct identity"),
        ("code_challenge_methods_supported", ("S256",), "the hub logs in with PKCE"),
        ("grant_types_supported", ("authorization_code", "refresh_token"), "the hub needs both grants"),
    ):
        published = document.get(key)
        for name in names:
            if isinstance(published, list) and name not in published:
                message = f"the provider publishes no {name} in its {key}; a log-in may be refused"
                yield _finding(Outcome.WARNING, message, f"{field}; see: deskside handout okta")


def _claims(identity: Identity) -> tuple[str, ...]:
    groups = (identity.groups_claim,) if identity.allow.group is not None else ()
    return (identity.username_claim, *groups)


def _client(identity: Identity, said: str) -> Iterator[Finding]:
    if said in KNOWN:
        return
    if said in UNKNOWN_CLIENT:
        message = f"the provider refuses the client {identity.client_id} with this secret"
        hint = (
            "identity.client_id or identity.client_secret: copy both from the provider's page of the client"
        )
        yield Finding(CLIENT, "site", Outcome.FAILED, message, hint)
    elif said == "unauthorized_client":
        message = f"the provider does not let the client {identity.client_id} use refresh tokens"
        hint = "allow the client the grant `refresh token` (identity.client_id); see: deskside handout okta"
        yield Finding(CLIENT, "site", Outcome.FAILED, message, hint)
    else:
        message = f"whether the provider knows the client is not known: it says {said or 'nothing'}"
        yield Finding(CLIENT, "site", Outcome.WARNING, message, "after apply, deskside verify looks again")


def _finding(outcome: Outcome, message: str, hint: str) -> Finding:
    return Finding(CHECK, "site", outcome, message, hint)
