"""Runs in the hub: logs people in by the directory, and says so when the directory itself is at fault.

The authenticator that it builds on waits for a silent server for ever, and holds up the whole hub meanwhile;
any trouble of a connection becomes HTTP 500. Here each login is tried beside the hub's own work, ends within
`LIMIT` seconds, and names what is wrong. Desks that run are none of its business. Reads nothing but the
settings of `hub.config`.
"""

import asyncio
import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor

import ldap3
from ldap3.core.exceptions import LDAPBindError, LDAPException
from ldapauthenticator import LDAPAuthenticator
from ldapauthenticator.ldapauthenticator import TlsStrategy
from tornado import web
from traitlets import Unicode

LIMIT = 9.0
CONNECT, RECEIVE = 4, 4
"""Seconds for a connection to stand, and for one answer."""
# Threads that a hanging server holds are given up with it, not waited for.
LOGINS = ThreadPoolExecutor(32, thread_name_prefix="login")


class DirectoryAuthenticator(LDAPAuthenticator):
    """LDAPAuthenticator that says what is wrong, and lets one local account in without any directory."""

    break_glass_name = Unicode("", config=True)
    break_glass_hash = Unicode("", config=True, help="SALT$SCRYPT, both in hexadecimal.")

    async def authenticate(self, handler, data):
        """As inherited; raises web.HTTPError 503 with a sentence for people when nothing can be known."""
        if self.break_glass_name and data["username"] == self.break_glass_name:
            return self.by_break_glass(data["password"])
        loop = asyncio.get_running_loop()
        try:
            work = loop.run_in_executor(LOGINS, self.logged_in, data)
            return await asyncio.wait_for(work, LIMIT)
        except TimeoutError:
            reason = f"it does not answer within {LIMIT:.0f} seconds"
        except LDAPException as error:
            reason = said(error)
        except OSError as error:
            reason = str(error)
        self.log.error("the directory %s cannot be asked: %s", self.server_address, reason)
        raise web.HTTPError(
            503,
            f"Nobody can log in right now: the directory {self.server_address} cannot be asked ({reason}). "
            "Desks that run go on. Please tell your administrator.",
        )

    def logged_in(self, data):
        """The inherited login, in a thread of its own."""
        return asyncio.run(super().authenticate(None, data))

    def by_break_glass(self, password):
        """The local account, or None for a wrong password."""
        salt, _, wanted = self.break_glass_hash.partition("$")
        found = hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1).hex()
        if not hmac.compare_digest(found, wanted):
            return None
        self.log.warning("%s logged in by the local password, without the directory", self.break_glass_name)
        return {"name": self.break_glass_name, "admin": True, "auth_state": {"ldap_groups": []}}

    def get_connection(self, userdn, password):
        """As inherited, with time limits. Returns None where the directory refuses the password."""
        secure = self.tls_strategy == TlsStrategy.on_connect
        server = ldap3.Server(
            self.server_address,
            port=self.server_port,
            use_ssl=secure,
            tls=ldap3.Tls(**self.tls_kwargs),
            connect_timeout=CONNECT,
            get_info=ldap3.NONE,
        )
        before = self.tls_strategy == TlsStrategy.before_bind
        bind = ldap3.AUTO_BIND_TLS_BEFORE_BIND if before else ldap3.AUTO_BIND_NO_TLS
        try:
            return ldap3.Connection(
                server, user=userdn, password=password, auto_bind=bind, receive_timeout=RECEIVE
            )
        except LDAPBindError:
            return None


def said(error):
    """What an error of the connection means, in words for people."""
    text = str(error).lower()
    for part, words in (
        ("certificate", "its certificate is not the one that is trusted"),
        ("refused", "it refuses connections"),
        ("timed out", "it does not answer"),
        ("timeout", "it does not answer"),
        ("eof", "it hangs up"),
        ("reset", "it hangs up"),
        ("name or service", "its name is not known"),
        ("handshake", "it agrees on no encryption"),
    ):
        if part in text:
            return words
    return type(error).__name__


# `c` holds the hub's settings. Who chose another authenticator in notebooks.values keeps it.
if c.JupyterHub.authenticator_class == "ldapauthenticator.LDAPAuthenticator":  # noqa: F821
    c.JupyterHub.authenticator_class = DirectoryAuthenticator  # noqa: F821
