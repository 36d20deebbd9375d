"""Logging in to a host over SSH: keys, pins, waiting for a busy server, and what to say when it fails."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from deskside.errors import LoginRefused, Unreachable
from deskside.hosts.client_keys import other_keys, private_keys
from deskside.hosts.pins import Pins, scan_host_key
from deskside.site.secrets import Secret

if TYPE_CHECKING:
    import asyncssh

KEEPALIVE = (3, 3)
"""Seconds between questions, and how many may stay unanswered: silence is noticed in four times that (F4)."""
SSH_PORT = 22
CONNECT_SECONDS = 10.0
LOGIN_SECONDS = 30.0
BACK_OFF = (0.3, 0.8, 2.0, 4.0)
"""Seconds before each further try, when a server hangs up before it says who it is (MaxStartups, F5)."""
SUDDEN_SECONDS = 5.0
"""A server that hangs up does so within these; one that says nothing at all is not tried again."""


class Lost(Exception):
    """The connection is gone, or what came over it is not whole; how the work ended is not known."""


@dataclass(frozen=True)
class Target:
    """Where a host is and how to log in."""

    name: str
    address: str
    user: str
    port: int | None = None
    """None: what ~/.ssh/config says for the address, else 22."""
    keys: tuple[Path, ...] = ()
    """Public keys; the private key lies beside each."""
    bootstrap: bool = False
    """May python3 be installed when the host has none?"""
    password: Secret | None = field(default=None, repr=False)
    """Of the user, for a login without a key and for sudo; only for a host that is not taken over yet."""


async def connected(target: Target, pins: Pins) -> asyncssh.SSHClientConnection:
    """Log in. Raises Lost where trying again later may help, Unreachable where it will not."""
    for pause in (*BACK_OFF, None):
        begun = monotonic()
        try:
            knocked = await _knocked(target)
        except OSError as error:
            raise Lost(reason(error)) from None
        import asyncssh

        try:
            return await _logged_in(target, pins, knocked)
        except asyncssh.PermissionDenied as error:
            raise _login_refused(target, str(error)) from None
        except (ConnectionRefusedError, TimeoutError) as error:
            raise Lost(reason(error)) from None
        except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
            raise await _key_refused(target, pins, error) from None
        except asyncssh.ConfigParseError as error:
            raise Unreachable(f"the SSH configuration of this machine cannot be read: {error}") from None
        except (OSError, asyncssh.Error) as error:
            hung_up = isinstance(error, ConnectionResetError | asyncssh.ConnectionLost)
            if pause is None or not hung_up or monotonic() - begun > SUDDEN_SECONDS:
                raise Lost(reason(error)) from None
            await asyncio.sleep(pause)
    raise AssertionError("unreachable")


def _login_refused(target: Target, said: str) -> Unreachable:
    return LoginRefused(
        f"{target.name} ({target.address}) refuses the login of {target.user}: {said}",
        hint=f"run: ssh-copy-id {target.user}@{target.address}, or list its key in admin.keys",
    )


async def _knocked(target: Target) -> socket.socket | None:
    """A TCP connection, so that the server gets ready while asyncssh is imported, which takes about as long.

    None where the place is not certain: a name, or ~/.ssh/config has its say. Raises OSError.
    """
    try:
        IPv4Address(target.address)
    except ValueError:
        return None
    if (Path.home() / ".ssh/config").exists():
        return None
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        place = (target.address, target.port or SSH_PORT)
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(made, place)
    except BaseException:
        made.close()
        raise
    return made


async def _logged_in(
    target: Target, pins: Pins, knocked: socket.socket | None
) -> asyncssh.SSHClientConnection:
    import asyncssh

    class Client(asyncssh.SSHClient):
        """Offers further keys once the listed ones were refused."""

        def __init__(self) -> None:
            self.asked = False

        async def public_key_auth_requested(self) -> list[asyncssh.SSHKeyPair] | None:
            """Asyncssh asks again until it gets nothing."""
            if self.asked:
                return None
            self.asked = True
            return await other_keys(target.address, target.keys)

    password = target.password.reveal() if target.password is not None else None
    try:
        connection, _ = await asyncssh.create_connection(
            Client,
            target.address,
            target.port if target.port is not None else (),
            sock=knocked,
            username=target.user,
            client_keys=private_keys(target.keys) or None,
            agent_path=None,
            known_hosts=pins.trusted(target.name, target.address),
            preferred_auth="publickey" if password is None else "password,keyboard-interactive,publickey",
            password=password,
            keepalive_interval=KEEPALIVE[0],
            keepalive_count_max=KEEPALIVE[1],
            connect_timeout=CONNECT_SECONDS,
            login_timeout=LOGIN_SECONDS,
        )
    except BaseException:
        if knocked is not None:
            knocked.close()
        raise
    return connection


async def _key_refused(target: Target, pins: Pins, error: Exception) -> Unreachable:
    pinned = pins.fingerprints(target.name, target.address)
    try:
        kinds = pins.kinds(target.name, target.address)
        shown = (await scan_host_key(target.address, target.port, kinds)).fingerprint
    except Unreachable:
        shown = f"none that can be used ({error})"
    if pinned:
        return Unreachable(
            f"the host key of {target.name} ({target.address}) has changed: "
            f"it shows {shown}, pinned is {' and '.join(pinned)}",
            hint="if it was installed anew, compare the key at the machine, then run: deskside trust",
        )
    return Unreachable(
        f"the host key of {target.name} ({target.address}) is not pinned: it shows {shown}",
        hint="compare it at the machine, then run: deskside trust",
    )


async def ran(
    connection: asyncssh.SSHClientConnection, command: str, stdin: str = "", timeout: float = LOGIN_SECONDS
) -> asyncssh.SSHCompletedProcess:
    """A command line that has ended, whatever its status. Raises Lost."""
    import asyncssh

    try:
        return await connection.run(command, input=stdin, check=False, timeout=timeout)
    except (OSError, asyncssh.Error) as error:
        raise Lost(reason(error)) from None


def reason(error: BaseException) -> str:
    """Why a connection did not come about or ended, in the system's words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
