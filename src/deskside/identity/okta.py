"""Okta, and providers of OpenID Connect with its paths: how the hub logs people in, and whether it can.

Written for oauthenticator 17.4 and JupyterHub 5. The client's secret is handed on as a secret; it stands
in no value. Nothing here changes anything at the provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deskside.identity.ldap import SYSTEM_CA_PATH
from deskside.identity.leaving import leaving_code
from deskside.identity.lending import lending_scopes
from deskside.identity.provider_check import provider_findings, provider_question
from deskside.model.finding import Finding
from deskside.model.platform import Given, HubLogin
from deskside.model.resource import HostReader
from deskside.site.schema import Identity, Site
from deskside.site.values import USERNAME

CA_PATH = "/usr/local/etc/jupyterhub/provider-ca.pem"
AT_HUB = Path(__file__).parent / "at_hub/provider.py"
"""What the hub runs: refresh that sees who was removed, and pages that say what is wrong."""
CLIENT_SECRET = "OAUTH_CLIENT_SECRET"  # noqa: S105  # the variable that oauthenticator reads by itself
REFRESH_SECONDS = 300
"""After this long the hub asks the provider again; a removal is felt within ten minutes."""
CONNECT_SECONDS, ANSWER_SECONDS = 4, 8
SCOPES = ("openid", "profile", "email", "offline_access")
OKTA_DOMAINS = ("okta.com", "oktapreview.com", "okta-emea.com")


@dataclass(frozen=True)
class Endpoints:
    """Where a provider with Okta's paths is asked."""

    authorize: str
    token: str
    userinfo: str


def endpoints_of(issuer: str) -> Endpoints:
    """Below the issuer; the organisation's own server at Okta has its paths below `/oauth2`."""
    base = issuer if urlsplit(issuer).path else f"{issuer}/oauth2"
    return Endpoints(f"{base}/v1/authorize", f"{base}/v1/token", f"{base}/v1/userinfo")


def callback(site: Site) -> str:
    """Where the provider sends people back to."""
    return f"http://{site.notebooks.hostname}/hub/oauth_callback"


def scopes_of(identity: Identity) -> tuple[str, ...]:
    """What the hub asks for; groups only where a rule needs them."""
    return (*SCOPES, "groups") if identity.allow.group is not None else SCOPES


def service_named(issuer: str) -> str:
    """What the log-in button says after `Sign in with`."""
    host = urlsplit(issuer).hostname or issuer
    return "Okta" if any(host.endswith(f".{domain}") for domain in OKTA_DOMAINS) else host


@dataclass(frozen=True)
class Okta:
    """`identity.kind: okta`."""

    kind: str = "okta"

    def hub_login(self, site: Site, given: Given) -> HubLogin:
        """Configuration of GenericOAuthenticator."""
        identity, issuer = site.identity, _issuer(site)
        found = endpoints_of(issuer)
        requests: dict[str, object] = {
            "connect_timeout": CONNECT_SECONDS,
            "request_timeout": ANSWER_SECONDS,
            # The client library of the hub was built elsewhere, and looks for authorities where it was built.
            "ca_certs": CA_PATH if given.ca else SYSTEM_CA_PATH,
        }
        traits: dict[str, object] = {
            "client_id": identity.client_id,
            "oauth_callback_url": callback(site),
            "authorize_url": found.authorize,
            "token_url": found.token,
            "userdata_url": found.userinfo,
            "scope": list(scopes_of(identity)),
            "username_claim": identity.username_claim,
            "login_service": service_named(issuer),
            "enable_pkce": True,
            "validate_server_cert": True,
            "http_request_kwargs": requests,
        }
        return HubLogin(
            config={
                "JupyterHub": {"authenticator_class": "generic-oauth"},
                "GenericOAuthenticator": {**traits, **_rule(identity)},
                "Authenticator": {
                    **_admins(identity),
                    "username_pattern": USERNAME,
                    "enable_auth_state": True,
                    "auth_refresh_age": REFRESH_SECONDS,
                    "refresh_pre_spawn": True,
                },
            },
            files={CA_PATH: given.ca} if given.ca else {},
            code={"10-deskside-provider": AT_HUB.read_text(encoding="utf-8"), **leaving_code()},
            secrets={CLIENT_SECRET: given.client} if given.client else {},
            scopes=lending_scopes(site.verify.user.name) if site.verify.user else (),
        )

    async def check(self, site: Site, given: Given, host: HostReader) -> tuple[Finding, ...]:
        """As `look`: nothing that apply does would put a provider right."""
        return await self.look(site, given, host)

    async def look(self, site: Site, given: Given, host: HostReader) -> tuple[Finding, ...]:
        """Read the provider's discovery document from a server, and try the client's name and secret."""
        wanted, scopes = endpoints_of(_issuer(site)), scopes_of(site.identity)
        found = await host.read(provider_question(site, given, wanted.token))
        return provider_findings(site, given, wanted, scopes, found)


def _issuer(site: Site) -> str:
    assert site.identity.issuer is not None
    return site.identity.issuer


def _rule(identity: Identity) -> Mapping[str, object]:
    """One rule, never both: `allow_all` would let everybody in beside any group."""
    group = identity.allow.group
    if group is None:
        return {"allow_all": True}
    return {
        "manage_groups": True,
        "auth_state_groups_key": f"oauth_user.{identity.groups_claim}",
        "allowed_groups": [group],
        # Who was let in once is not let in for ever.
        "allow_existing_users": False,
        "custom_403_message": f"You are logged in, but not in the group {group}, whose members may use this "
        "hub. Please ask your administrator.",
    }


def _admins(identity: Identity) -> Mapping[str, object]:
    """Admins by name. This authenticator lets them in by that alone, in the group or not."""
    return {"admin_users": sorted(identity.admins)} if identity.admins else {}


OKTA = Okta()
