"""What a person has to enter at Okta, or another provider of OpenID Connect, for the hub's log-in.

Made from the site file alone; `deskside check` then looks whether it took effect.
"""

from __future__ import annotations

from deskside.app.handout import Handout, Row, Table
from deskside.errors import SiteError
from deskside.identity.okta import callback, scopes_of
from deskside.site.schema import Site

SHORT_NAME = 'String.substringBefore(user.login, "@")'
"""Of Okta's expression language: `ann` of `ann@lab.example`."""


def okta_handout(site: Site) -> Handout:
    """The client, and the authorization server. Raises SiteError for a site of another kind."""
    if site.identity.kind != "okta":
        raise SiteError(
            f"identity.kind is {site.identity.kind}: there is nothing to enter at Okta",
            hint="write identity.kind: okta",
        )
    steps = (
        "Applications > Create App Integration: OIDC, Web Application; enter the client below.",
        "Assignments: give the application to the people who may use the hub.",
        "Security > API > Authorization Servers > (the one of identity.issuer) > Scopes, Claims: enter those "
        "below; Access Policies: a rule lets this client use both grants.",
        "Write the client's ID into identity.client_id, its secret into the file of identity.client_secret.",
        "Run: deskside check, then deskside apply, then deskside verify",
    )
    return Handout(f"OpenID Connect for {site.name}", steps, (_client(site), _server(site)))


def _client(site: Site) -> Table:
    hub = f"http://{site.notebooks.hostname}/hub"
    rows: tuple[Row, ...] = (
        ("type", "Web Application (a client with a secret)"),
        ("sign-in redirect URI", callback(site)),
        ("sign-out redirect URI", f"{hub}/login"),
        ("grant types", "Authorization Code, Refresh Token"),
        ("refresh token", "persistent: use the same token again"),
        ("client authentication", "client secret"),
        ("PKCE", "allowed; the hub always uses it"),
    )
    return Table("Client", ("setting", "value"), rows)


def _server(site: Site) -> Table:
    identity = site.identity
    rows: list[Row] = [
        ("issuer", str(identity.issuer)),
        ("scopes", " ".join(scopes_of(identity))),
        (f"claim {identity.username_claim}", _name_claim(identity.username_claim)),
    ]
    if identity.allow.group is not None:
        said = f"groups, in ID token for userinfo, scope groups, filter: equals {identity.allow.group}"
        rows.append((f"claim {identity.groups_claim}", said))
    return Table("Authorization server", ("setting", "value"), tuple(rows))


def _name_claim(claim: str) -> str:
    if claim == "preferred_username":
        return f"no e-mail address: else add a claim of {SHORT_NAME}, and name it in the site file"
    return f"{SHORT_NAME}, in ID token for userinfo, scope profile"
