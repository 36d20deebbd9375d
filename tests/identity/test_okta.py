"""Okta: what the hub gets to read, where its secret goes, and what the look at the provider says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from addons.sites import CA, SITE, example_platform
from deskside.addons.jupyterhub import GIVEN, JUPYTERHUB, hub_values
from deskside.identity.okta import (
    AT_HUB,
    CA_PATH,
    CLIENT_SECRET,
    OKTA,
    endpoints_of,
    scopes_of,
    service_named,
)
from deskside.identity.provider_check import PROGRAM, provider_findings, provider_question
from deskside.model.finding import Finding, Outcome
from deskside.model.platform import Given
from deskside.model.query import Output
from deskside.site.schema import Site
from deskside.site.secrets import Secret

CANARY = "canary-of-the-client"
ISSUER = "https://lab.okta.com/oauth2/default"
SECTION: dict[str, object] = {
    "kind": "okta",
    "issuer": ISSUER,
    "client_id": "0oa1b2c3d4",
    "client_secret": {"file": "okta.secret"},
    "allow": {"group": "ai-users"},
    "admins": ["zoe", "ann"],
}
GIVEN_ALL = Given(ca=CA, client=Secret(CANARY))


def okta_site(**changes: object) -> Site:
    return Site.model_validate({**SITE, "identity": {**SECTION, **changes}})


def config(**changes: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(OKTA.hub_login(okta_site(**changes), GIVEN_ALL).config))
    return found


def test_all_that_the_hub_reads() -> None:
    assert config() == {
        "JupyterHub": {"authenticator_class": "generic-oauth"},
        "GenericOAuthenticator": {
            "client_id": "0oa1b2c3d4",
            "oauth_callback_url": "http://notebooks.lab.example/hub/oauth_callback",
            "authorize_url": f"{ISSUER}/v1/authorize",
            "token_url": f"{ISSUER}/v1/token",
            "userdata_url": f"{ISSUER}/v1/userinfo",
            "scope": ["openid", "profile", "email", "offline_access", "groups"],
            "username_claim": "preferred_username",
            "login_service": "Okta",
            "enable_pkce": True,
            "validate_server_cert": True,
            "http_request_kwargs": {"connect_timeout": 4, "request_timeout": 8, "ca_certs": CA_PATH},
            "manage_groups": True,
            "auth_state_groups_key": "oauth_user.groups",
            "allowed_groups": ["ai-users"],
            "allow_existing_users": False,
            "custom_403_message": "You are logged in, but not in the group ai-users, whose members may use "
            "this hub. Please ask your administrator.",
        },
        "Authenticator": {
            "admin_users": ["ann", "zoe"],
            "username_pattern": r"^[a-z][.a-z0-9_-]*$",
            "enable_auth_state": True,
            "auth_refresh_age": 300,
            "refresh_pre_spawn": True,
        },
    }


@pytest.mark.parametrize("allow", [{"group": "ai"}, {"all": True}])
def test_exactly_one_allow_rule(allow: dict[str, object]) -> None:
    traits = config(allow=allow)["GenericOAuthenticator"]
    assert ("allow_all" in traits) != ("allowed_groups" in traits)
    assert ("manage_groups" in traits) == ("allowed_groups" in traits)
    assert ("groups" in traits["scope"]) == ("allowed_groups" in traits)


def test_a_claim_of_another_name() -> None:
    traits = config(groups_claim="teams", username_claim="desk_name")["GenericOAuthenticator"]
    assert traits["auth_state_groups_key"] == "oauth_user.teams"
    assert traits["username_claim"] == "desk_name"


def test_without_an_authority_the_public_ones_are_trusted() -> None:
    login = OKTA.hub_login(okta_site(), Given(client=Secret(CANARY)))
    traits: Any = login.config["GenericOAuthenticator"]
    assert traits["http_request_kwargs"]["ca_certs"] == "/etc/ssl/certs/ca-certificates.crt"
    assert login.files == {}


def test_the_secret_is_in_no_value_and_no_plan() -> None:
    platform = example_platform(directory=OKTA, given=GIVEN_ALL)
    site = okta_site(ca={"file": "nas-ca.pem"})
    values: Any = hub_values(site, platform)
    assert CANARY not in json.dumps(values)
    source = values["hub"]["extraEnv"][CLIENT_SECRET]["valueFrom"]["secretKeyRef"]
    assert source == {"name": GIVEN, "key": CLIENT_SECRET}
    resources = list(JUPYTERHUB.resources(site, platform, None))  # type: ignore[arg-type]
    assert CANARY not in repr(resources)


def test_the_question_carries_the_secret_by_standard_input_alone() -> None:
    question = provider_question(okta_site(), GIVEN_ALL, f"{ISSUER}/v1/token")
    assert CANARY not in " ".join(question.argv) + repr(question)
    assert isinstance(question.stdin, Secret)
    assert json.loads(question.stdin.reveal())["client_secret"] == CANARY


def test_what_runs_elsewhere_is_python() -> None:
    for program in (AT_HUB, PROGRAM):
        compile(program.read_text(), program.name, "exec")


@pytest.mark.parametrize(
    ("issuer", "token"),
    [
        (ISSUER, f"{ISSUER}/v1/token"),
        ("https://lab.okta.com", "https://lab.okta.com/oauth2/v1/token"),
        (
            "https://nas.lab.example:8443/oauth2/default",
            "https://nas.lab.example:8443/oauth2/default/v1/token",
        ),
    ],
)
def test_where_the_endpoints_are(issuer: str, token: str) -> None:
    assert endpoints_of(issuer).token == token


def test_the_button_names_okta_only_where_it_is() -> None:
    assert service_named("https://lab.okta.com/oauth2/default") == "Okta"
    assert service_named("https://okta.com.evil.example") == "okta.com.evil.example"


DOCUMENT: dict[str, object] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/v1/authorize",
    "token_endpoint": f"{ISSUER}/v1/token",
    "userinfo_endpoint": f"{ISSUER}/v1/userinfo",
    "scopes_supported": ["openid", "profile", "email", "groups", "offline_access"],
    "claims_supported": ["preferred_username", "groups"],
    "code_challenge_methods_supported": ["S256"],
    "grant_types_supported": ["authorization_code", "refresh_token"],
}


def findings(answer: dict[str, object] | None = None, given: Given = GIVEN_ALL) -> tuple[Finding, ...]:
    found = {"error": "", "status": 200, "document": DOCUMENT, "client": "invalid_grant"} | (answer or {})
    site = okta_site()
    output = Output(0, json.dumps(found), "")
    return provider_findings(site, given, endpoints_of(ISSUER), scopes_of(site.identity), output)


def test_all_is_well() -> None:
    (found,) = findings()
    assert found.outcome is Outcome.OK


def test_a_provider_that_publishes_no_lists_is_no_reason_to_warn() -> None:
    bare = {key: value for key, value in DOCUMENT.items() if not key.endswith("_supported")}
    (found,) = findings({"document": bare})
    assert found.outcome is Outcome.OK


REFUSED = [
    ({"error": "[Errno 111] Connection refused"}, "Connection refused", "identity.issuer"),
    ({"error": "certificate: Hostname mismatch, certificate is not valid"}, "mismatch", "identity.issuer"),
    ({"error": "certificate: certificate has expired"}, "expired", "renew it"),
    ({"error": "certificate: self-signed certificate in certificate chain"}, "self-signed", "no authority"),
    ({"error": "[X509: NO_CERTIFICATE_OR_CRL_FOUND]"}, "NO_CERTIFICATE", "must be a PEM file"),
    ({"status": 404, "document": {}}, "HTTP 404", "identity.issuer"),
    ({"document": DOCUMENT | {"issuer": "https://lab.okta.com"}}, "calls itself", "identity.issuer"),
    ({"document": DOCUMENT | {"token_endpoint": "https://x/token"}}, "token_endpoint", "Okta's paths"),
    ({"client": "invalid_client"}, "refuses the client", "identity.client_secret"),
    ({"client": "unauthorized_client"}, "refresh tokens", "identity.client_id"),
]


@pytest.mark.parametrize(("answer", "said", "field"), REFUSED)
def test_each_fault_names_the_field(answer: dict[str, object], said: str, field: str) -> None:
    (found,) = findings(answer)
    assert found.outcome is Outcome.FAILED
    assert said in found.message
    assert field in found.hint


def test_an_unknown_authority_without_one_in_the_file() -> None:
    given = Given(client=Secret(CANARY))
    (found,) = findings({"error": "certificate: unable to get local issuer certificate"}, given)
    assert "name the PEM file" in found.hint


WARNED = [
    (
        {"document": DOCUMENT | {"scopes_supported": ["openid", "profile", "email"]}},
        ["offline_access", "groups"],
    ),
    ({"document": DOCUMENT | {"claims_supported": ["sub"]}}, ["preferred_username", "groups"]),
    ({"document": DOCUMENT | {"code_challenge_methods_supported": ["plain"]}}, ["S256"]),
    (
        {"document": DOCUMENT | {"grant_types_supported": ["authorization_code"]}},
        ["refresh_token"],
    ),
    ({"client": "temporarily_unavailable"}, ["temporarily_unavailable"]),
]


@pytest.mark.parametrize(("answer", "names"), WARNED)
def test_what_is_not_published_is_a_warning(answer: dict[str, object], names: list[str]) -> None:
    found = findings(answer)
    assert [one.outcome for one in found] == [Outcome.WARNING] * len(names)
    for name, one in zip(names, found, strict=True):
        assert name in one.message


def test_no_answer_of_the_server_is_no_pass() -> None:
    site = okta_site()
    found = provider_findings(site, GIVEN_ALL, endpoints_of(ISSUER), (), Output(1, "", "python3: no"))
    assert [one.outcome for one in found] == [Outcome.FAILED]
