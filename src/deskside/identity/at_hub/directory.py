"""Runs in the hub: logs people in by the directory, and says so when the directory itself is at fault.

The authenticator that it builds on waits for a silent server for ever, and holds up the whole hub meanwhile;
any trouble of a connection becomes HTTP 500. Here each login is tried beside the hub's own work, server after
server, ends within `LIMIT` seconds, and names what is wrong. With an account that reads the directory it also
knows who is still there. Desks that run are none of its business. Reads nothing but the settings of
`hub.config` and one variable of the hub's environment.
"""

import asyncio
import hashlib
import hmac
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context

import ldap3
from ldap3.core.exceptions import LDAPBindError, LDAPException
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn
from ldapauthenticator import LDAPAuthenticator
from ldapauthenticator.ldapauthenticator import TlsStrategy
from tornado import web
from traitlets import List, Unicode

LIMIT = 8.0
CONNECT, RECEIVE = 4, 4
"""Seconds for a connection to stand, and for one answer."""
MEMORY = 60.0
"""Seconds for which a server that did not answer is asked last."""
READER_PASSWORD = "DESKSIDE_DIRECTORY_READER"  # noqa: S105  # the name of a variable
NO_SUCH_OBJECT = 32
LOCKED_FOR_GOOD = "000001010000Z"
DAY = 86400
# Threads that a hanging server holds are given up with it, not waited for.
LOGINS = ThreadPoolExecutor(32, thread_name_prefix="login")
ASKED = ContextVar("ASKED")
"""The server that this thread asks."""


class DirectoryAuthenticator(LDAPAuthenticator):
    """LDAPAuthenticator that says what is wrong, and lets one local account in without any directory."""

    fallbacks = List(Unicode(), config=True, help="Servers that are asked when the first does not answer.")
    reader = Unicode("", config=True, help="Distinguished name of an account that looks people up.")
    break_glass_name = Unicode("", config=True)
    break_glass_hash = Unicode("", config=True, help="SALT$SCRYPT, both in hexadecimal.")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.silent = {}

    async def authenticate(self, handler, data):
        """As inherited; raises web.HTTPError 503 with a sentence for people when nothing can be known."""
        if self.break_glass_name and data["username"] == self.break_glass_name:
            return self.by_break_glass(data["password"])
        try:
            return await self.asked(self.logged_in, data)
        except Unknown as error:
            reason = str(error)
        self.log.error("the directory cannot be asked: %s", reason)
        raise web.HTTPError(
            503,
            f"Nobody can log in right now: the directory {reason}. "
            "Desks that run go on. Please tell your administrator.",
        )

    async def refresh_user(self, user, handler=None):
        """False for somebody who has left the directory or may not log in any more; True otherwise.

        What cannot be known is no reason: without an account that reads, or without an answer, all stay.
        """
        if not self.reader or user.name == self.break_glass_name:
            return True
        try:
            groups = await self.asked(self.groups_of, user.name)
        except Unknown as error:
            self.log.warning("whether %s is still in the directory is not known: it %s", user.name, error)
            return True
        if groups is None:
            return False
        model = {"name": user.name, "auth_state": {"ldap_groups": groups}}
        return bool(await self.check_allowed(user.name, model))

    async def asked(self, question, *arguments):
        """The answer of the first server that gives one, each tried beside the hub's own work.

        Raises Unknown when none does within `LIMIT` seconds.
        """
        servers = sorted(self.servers(), key=lambda one: self.silent.get(one, 0.0) > time.monotonic())
        loop, reasons = asyncio.get_running_loop(), []
        for server in servers:
            context = copy_context()
            context.run(ASKED.set, server)
            work = loop.run_in_executor(LOGINS, context.run, question, *arguments)
            try:
                answer = await asyncio.wait_for(work, LIMIT / len(servers))
            except Hidden as error:
                # It answers, so it is not at fault; another one may know better.
                reasons.append(str(error))
                continue
            except TimeoutError:
                reason = f"it does not answer within {LIMIT / len(servers):.0f} seconds"
            except LDAPException as error:
                reason = said(error)
            except OSError as error:
                reason = str(error)
            else:
                self.silent.pop(server, None)
                return answer
            self.silent[server] = time.monotonic() + MEMORY
            reasons.append(f"{server.rpartition(':')[0]} cannot be asked ({reason})")
        raise Unknown(", and ".join(reasons))

    def servers(self):
        """HOST:PORT of every server, in the order in which they are asked."""
        return [f"{self.server_address}:{self.server_port}", *self.fallbacks]

    def logged_in(self, data):
        """The inherited login, in a thread of its own; None too for an account that is locked."""
        found = asyncio.run(super().authenticate(None, data))
        if found is None or not self.reader:
            return found
        try:
            gone = self.groups_of(data["username"]) is None
        except (LDAPException, OSError) as error:
            self.log.warning("whether %s is locked is not known: %s", data["username"], error)
            return found
        return None if gone else found

    def groups_of(self, name):
        """Which of the allowed groups a person is in; None for somebody who is gone or locked.

        Raises Hidden where the reader's account cannot tell: an entry that it may not see, a wrong base, a
        group that is not there.
        """
        with self.as_reader() as directory:
            userdn = self.bind_dn_template[0].format(username=escape_rdn(name))
            person = entry_of(directory, userdn, "shadowExpire", "pwdAccountLockedTime")
            if person is None:
                if entry_of(directory, userdn.partition(",")[2]) is None:
                    raise Hidden("shows no place where people are")
                return None
            if locked(person):
                return None
            who = {"userdn": escape_filter_chars(userdn), "uid": escape_filter_chars(name)}
            return [group for group in self.allowed_groups or [] if self.is_member(directory, group, who)]

    def is_member(self, directory, group, who):
        """Whether somebody is in a group. Raises Hidden for a group that cannot be seen."""
        if entry_of(directory, group) is None:
            raise Hidden(f"shows no group {group}")
        return directory.search(group, self.group_search_filter.format(**who), ldap3.BASE, attributes=["cn"])

    def as_reader(self):
        """A connection as the account that looks people up. Raises Hidden where its password is refused."""
        found = self.get_connection(self.reader, os.environ.get(READER_PASSWORD, ""))
        if found is None:
            raise Hidden("refuses the password of identity.bind")
        return found

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
        host, _, port = ASKED.get(self.servers()[0]).rpartition(":")
        server = ldap3.Server(
            host,
            port=int(port),
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


class Hidden(LDAPException):
    """The directory answers, and does not show what is asked for; the text says what it does instead."""


class Unknown(Exception):
    """No server could be asked; the text says of each why, in words for people."""


def entry_of(directory, name, *attributes):
    """Attributes of an entry; None where there is none. Raises Hidden when that cannot be told."""
    directory.search(name, "(objectClass=*)", ldap3.BASE, attributes=list(attributes) or ["1.1"])
    if directory.result["result"] == NO_SUCH_OBJECT:
        return None
    if directory.result["result"] != 0 or not directory.entries:
        raise Hidden(f"does not show {name} ({directory.result['description']})")
    return directory.entries[0].entry_attributes_as_dict


def locked(attributes):
    """Whether an account is locked for good, or has expired (days since 1970)."""
    found = {name.lower(): [str(value) for value in values] for name, values in attributes.items()}
    if LOCKED_FOR_GOOD in found.get("pwdaccountlockedtime", []):
        return True
    days = next(iter(found.get("shadowexpire", [])), "")
    return days.isdecimal() and 0 < int(days) <= time.time() // DAY


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
if c.JupyterHub.authenticator_class == "ldapauthenticator.LDAPAuthenticator":
    c.JupyterHub.authenticator_class = DirectoryAuthenticator
