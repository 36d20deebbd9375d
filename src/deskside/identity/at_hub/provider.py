"""Runs in the hub: logs people in by an OpenID Connect provider, and asks it again who may stay.

The authenticator that it builds on believes an access token as long as that lives, does not look at the group
again, and takes a provider that is silent for one that refuses. Here the provider is asked with the refresh
token; who it refuses, or who is out of the group, is out. Whatever else goes wrong is *unknown*, and removes
nobody. People are told when the provider is at fault. Reads nothing but the settings of `hub.config`.
"""

import asyncio
import json
from collections import defaultdict
from urllib.parse import urlsplit

from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthLoginHandler
from tornado import web
from tornado.httpclient import HTTPClientError

GONE = ("invalid_grant", "access_denied")
"""Errors of the token endpoint that are about the person (RFC 6749, 5.2). All others are about the hub."""
ASKED, EXCHANGES = "deskside_asked", "deskside_exchanges"
"""In what is saved of a person: the refresh token was sent, and no answer has come; and whether the provider
gives a new one for each (None: not known yet). A token whose answer was lost may be worth nothing."""
NOT_SENT = (
    "it refuses connections",
    "its name is not known",
    "its certificate is not the one that is trusted",
)
"""What `said` says of errors before anything was asked."""


class ProviderLoginHandler(OAuthLoginHandler):
    """Sends nobody to a provider that does not answer: their browser could not say why."""

    async def get(self):
        """As inherited, after a look whether the provider is there."""
        await self.authenticator.require_provider()
        super().get()


class ProviderCallbackHandler(OAuthCallbackHandler):
    """Says what the provider said, and that a log-in which was left half way is begun again."""

    def check_error(self):
        """A refusal of the provider is no fault of the hub: 403, not 400."""
        error = self.get_argument("error", "")
        if error:
            said = self.get_argument("error_description", error)
            raise web.HTTPError(403, f"{self.authenticator.login_service} did not log you in: {said}")


class ProviderAuthenticator(GenericOAuthenticator):
    """GenericOAuthenticator whose refresh sees who was removed."""

    login_handler = ProviderLoginHandler
    callback_handler = ProviderCallbackHandler

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # One refresh at a time for each person: providers may exchange a refresh token for a new one.
        self.turns = defaultdict(asyncio.Lock)

    async def require_provider(self):
        """Raises 503 when the provider does not answer."""
        place = self.authorize_url.removesuffix("/v1/authorize") + "/.well-known/openid-configuration"
        try:
            answer = await self.httpfetch(place, "asking the provider", parse_json=False, raise_error=False)
        except (HTTPClientError, OSError) as error:
            raise self.unavailable(error) from None
        if answer.error is not None and answer.code >= 500:
            raise self.unavailable(answer.error)

    def unavailable(self, error):
        """What people are told when nothing can be known."""
        host = urlsplit(self.authorize_url).hostname
        self.log.error("the provider %s cannot be asked: %s", host, error)
        return web.HTTPError(
            503,
            f"Nobody can log in right now: the provider {host} cannot be asked ({said(error)}). "
            "Desks that run go on. Please tell your administrator.",
        )

    async def authenticate(self, handler, data=None, **kwargs):
        """As inherited. Raises web.HTTPError with a sentence for people for everything but a refusal."""
        try:
            params = self.build_access_tokens_request_params(handler, data)
            token_info = await self.get_token_info(handler, params)
            self.require_refresh_token(token_info)
            model = await self._token_to_auth_model(token_info)
        except HTTPClientError as error:
            if error_of(error) in GONE:
                raise web.HTTPError(403, "This log-in is too old. Please begin again.") from None
            raise self.unavailable(error) from None
        except ValueError:
            raise web.HTTPError(
                503,
                f"{self.login_service} does not say what you are called: it sends no {self.username_claim}. "
                "Please tell your administrator (identity.username_claim).",
            ) from None
        if not self.validate_username(model["name"]):
            raise web.HTTPError(
                403,
                f"{self.login_service} calls you {model['name']!r}, and the hub takes no such name: it needs "
                "small letters, digits, '.', '_' and '-'. Please tell your administrator "
                "(identity.username_claim).",
            )
        return model

    def require_refresh_token(self, token_info):
        """Without one nobody could be asked again whether they may stay."""
        if not token_info.get("refresh_token"):
            self.log.error("the provider gave no refresh token: allow the client that grant, see handout")
            raise web.HTTPError(
                503,
                f"{self.login_service} does not let the hub ask again later: its client lacks the grant "
                "'refresh token'. Please tell your administrator.",
            )

    async def update_auth_model(self, auth_model):
        """The site file alone says who is an admin: whoever is no longer named is none."""
        auth_model["admin"] = auth_model["name"] in self.admin_users
        return auth_model

    async def refresh_user(self, user, handler=None, **kwargs):
        """A fresh model while the person is fine, False when the provider or the rule says no.

        True when that is not known. Without a request (`handler`) somebody who has never logged in by this
        provider is unknown too; in one they have to log in.
        """
        async with self.turns[user.name]:
            before = await user.get_auth_state()
            if not before or not before.get("refresh_token"):
                return handler is None
            try:
                model = await self.model_by(user, before)
            except HTTPClientError as error:
                gone = self.judged(user.name, error)
                if gone and before.get(ASKED):
                    self.log.warning(
                        "%s has to log in again: an answer of the provider was lost before", user.name
                    )
                    return handler is None
                await self.note_answer(user, error)
                return not gone
            except Exception as error:
                self.log.warning("whether %s may stay is not known: %s", user.name, type(error).__name__)
                return True
            if model["name"] != user.name:
                self.log.warning("%s has another name at the provider now", user.name)
                return False
            if not await self.may_stay(model):
                self.log.warning("%s is not allowed any longer", user.name)
                return False
            await user.save_auth_state(model["auth_state"])
            return model

    async def model_by(self, user, before):
        """What the provider says now about the holder of the refresh token that was saved."""
        old, state = before["refresh_token"], {name: before[name] for name in before if name != ASKED}
        if state.get(EXCHANGES) is not False:
            await user.save_auth_state({**state, ASKED: True})
        token_info = await self.get_token_info(None, self.build_refresh_token_request_params(old))
        fresh = token_info["refresh_token"] = token_info.get("refresh_token") or old
        exchanges = bool(state.get(EXCHANGES)) or fresh != old
        # The old one may be worth nothing from now on, whatever becomes of the rest.
        await user.save_auth_state({**state, "refresh_token": fresh, EXCHANGES: exchanges})
        model = await self._token_to_auth_model(token_info)
        model["auth_state"][EXCHANGES] = exchanges
        return model

    def judged(self, name, error):
        """Whether an error is the provider's no (True) or tells nothing (False)."""
        what = error_of(error)
        if what in GONE or (error.code == 401 and what == "invalid_token"):
            self.log.warning("the provider refuses %s: %s", name, what)
            return True
        self.log.warning("whether %s may stay is not known: %s", name, what or said(error))
        return False

    async def note_answer(self, user, error):
        """The token that was sent is as good as before, where the provider never had it or answered."""
        state = await user.get_auth_state()
        if ASKED in state and (error.code < 500 or said(error) in NOT_SENT):
            await user.save_auth_state({name: state[name] for name in state if name != ASKED})

    async def may_stay(self, model):
        """The same rule as at the log-in."""
        name = model["name"]
        return self.check_blocked_users(name, model) and (
            self.allow_all or await self.check_allowed(name, model)
        )


def error_of(error):
    """The code in an error answer of OAuth 2; empty for anything else."""
    response = getattr(error, "response", None)
    if response is None:
        return ""
    try:
        return str(json.loads(response.body)["error"])
    except (ValueError, KeyError, TypeError):
        challenge = response.headers.get("WWW-Authenticate", "")
        return "invalid_token" if 'error="invalid_token"' in challenge else ""


def said(error):
    """What an error means, in words for people."""
    what = error_of(error)
    if what:
        return f"it says {what}"
    code = getattr(error, "code", 0)
    if code and code != 599:
        return f"it answers with HTTP {code}"
    text = str(error).lower()
    for part, words in (
        ("certificate", "its certificate is not the one that is trusted"),
        ("ssl", "it agrees on no encryption"),
        ("timed out", "it does not answer"),
        ("timeout", "it does not answer"),
        ("resolve", "its name is not known"),
        ("refused", "it refuses connections"),
        ("failed to connect", "it refuses connections"),
        ("could not connect", "it refuses connections"),
        ("couldn't connect", "it refuses connections"),
        ("reset", "it hangs up"),
    ):
        if part in text:
            return words
    return type(error).__name__


# `c` holds the hub's settings. Who chose another authenticator in notebooks.values keeps it.
if c.JupyterHub.authenticator_class == "generic-oauth":
    c.JupyterHub.authenticator_class = ProviderAuthenticator
