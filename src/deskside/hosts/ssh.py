"""One SSH connection to one host (asyncssh): made, kept alive, made again after a cut.

Host keys are checked against pins and nothing switches that off. A missing exit status or end marker means
that nothing is known (`Lost`), never that all went well (F3).
"""

from __future__ import annotations

import asyncio
import errno
import os
import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from deskside.errors import LoginRefused, PythonMissing, StepFailed, Unreachable
from deskside.hosts import remote
from deskside.hosts.client_keys import other_keys, private_keys
from deskside.hosts.pins import Pins, scan_host_key
from deskside.hosts.wire import Listener, lines_of
from deskside.site.secrets import Secret

if TYPE_CHECKING:
    import asyncssh

CHANNELS = 8
"""At most so many at once on a connection: servers stop at ten (F5)."""
KEEPALIVE = (3, 3)
"""Seconds between questions, and how many may stay unanswered: silence is noticed in four times that (F4)."""
CONNECT_SECONDS = 10.0
LOGIN_SECONDS = 30.0
BACK_OFF = (0.3, 0.8, 2.0, 4.0)
"""Seconds before each further try, when a server hangs up before it says who it is (MaxStartups, F5)."""
SUDDEN_SECONDS = 5.0
"""A server that hangs up does so within these; one that says nothing at all is not tried again."""
INSTALL_PYTHON = (
    "apt-get -qy update && apt-get -qy -o DPkg::Lock::Timeout=300 --no-install-recommends install python3"
)
INSTALL_SECONDS = 600.0
NOT_FOUND = 127


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


ASK_SUDO = "sudo -k -n -- true"
"""Succeeds where sudo wants no password; `-k` keeps it from remembering one."""


def launcher(user: str, *, password: bool = False) -> str:
    """The command line that runs the remote program as root, whatever the login shell.

    With `password` the first line of standard input is sudo's.
    """
    program = f"exec {as_root(user, password=password)}python3 -I -S -c {shlex.quote(remote.BOOT)}"
    script = f"command -v python3 >/dev/null 2>&1 || exit {remote.NO_PYTHON}; {program}"
    return f"sh -c {shlex.quote(script)}"


def as_root(user: str, *, password: bool = False) -> str:
    """What stands before a command line that root is to run."""
    # sudo reads byte by byte, no further than the end of the line.
    asking = "-k -S -p ''" if password else "-n"
    return "" if user == "root" else f"sudo {asking} -- "


class Link:
    """The connection of a host. `open` first; `converse` then asks the remote program."""

    def __init__(self, target: Target, pins: Pins) -> None:
        self.target, self.pins = target, pins
        self.round_trips = 0
        """How many channels were opened."""
        self._connection: asyncssh.SSHClientConnection | None = None
        self._opening = asyncio.Lock()
        self._channels = asyncio.Semaphore(CHANNELS)
        self._next = asyncio.Lock()
        """Held by the one who opens a channel: where few are allowed, others wait for their turn."""
        self._passing: set[asyncio.Future[None]] = set()
        """Of the channels that are open and will end by themselves: done when they have."""
        self._command = launcher(target.user)
        self._first_line = b""

    async def open(self) -> None:
        """Connect if there is no connection. Raises Unreachable, with what to do about it."""
        try:
            await self.reopen()
        except Lost as error:
            raise Unreachable(
                f"{self.target.name} ({self.target.address}) does not answer: {error}",
                hint=f"is it on and in the network? ping {self.target.address}",
            ) from None

    async def reopen(self) -> None:
        """The same; raises Lost where trying again later may help, Unreachable where it will not."""
        async with self._opening:
            if self._connection is None or self._connection.is_closed():
                self._connection = await self._connected()
                await self._learn_sudo(self._connection)

    async def _learn_sudo(self, connection: asyncssh.SSHClientConnection) -> None:
        """A fresh installation's sudo asks for a password, which goes over standard input."""
        password = self.target.password
        if password is None or self.target.user == "root":
            return
        asked = await _ran(connection, ASK_SUDO)
        needed = asked.exit_status != 0
        self._command = launcher(self.target.user, password=needed)
        self._first_line = f"{password.reveal()}\n".encode() if needed else b""

    async def renew(self) -> None:
        """Log in anew, whatever the present connection is like; it is kept when that fails.

        Raises Lost where trying again later may help, Unreachable where it will not.
        """
        async with self._opening:
            fresh = await self._connected()
            old, self._connection = self._connection, fresh
        if old is not None:
            old.close()

    async def close(self) -> None:
        """Hang up. Detached runs go on."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            with suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(connection.wait_closed(), 2)

    def cut(self) -> None:
        """Drop the connection without a word, as a broken cable does; for tests and for a silent host."""
        if self._connection is not None:
            self._connection.abort()

    async def _connected(self) -> asyncssh.SSHClientConnection:
        import asyncssh

        for pause in (*BACK_OFF, None):
            begun = monotonic()
            try:
                return await self._connect_once()
            except asyncssh.PermissionDenied as error:
                raise self._login_refused(str(error)) from None
            except (ConnectionRefusedError, TimeoutError) as error:
                raise Lost(_reason(error)) from None
            except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
                raise await self._key_refused(error) from None
            except asyncssh.ConfigParseError as error:
                raise Unreachable(f"the SSH configuration of this machine cannot be read: {error}") from None
            except (OSError, asyncssh.Error) as error:
                hung_up = isinstance(error, ConnectionResetError | asyncssh.ConnectionLost)
                if pause is None or not hung_up or monotonic() - begun > SUDDEN_SECONDS:
                    raise Lost(_reason(error)) from None
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    def _login_refused(self, reason: str) -> Unreachable:
        target = self.target
        return LoginRefused(
            f"{target.name} ({target.address}) refuses the login of {target.user}: {reason}",
            hint=f"run: ssh-copy-id {target.user}@{target.address}, or list its key in admin.keys",
        )

    async def _connect_once(self) -> asyncssh.SSHClientConnection:
        import asyncssh

        target = self.target

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

        trusted = self.pins.trusted(target.name, target.address)
        password = target.password.reveal() if target.password is not None else None
        connection, _ = await asyncssh.create_connection(
            Client,
            target.address,
            target.port if target.port is not None else (),
            username=target.user,
            client_keys=private_keys(target.keys) or None,
            agent_path=None,
            known_hosts=trusted,
            preferred_auth="publickey" if password is None else "password,keyboard-interactive,publickey",
            password=password,
            keepalive_interval=KEEPALIVE[0],
            keepalive_count_max=KEEPALIVE[1],
            connect_timeout=CONNECT_SECONDS,
            login_timeout=LOGIN_SECONDS,
        )
        return connection

    async def _key_refused(self, error: Exception) -> Unreachable:
        target = self.target
        pinned = self.pins.fingerprints(target.name, target.address)
        try:
            kinds = self.pins.kinds(target.name, target.address)
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

    async def heard(self, command: str) -> str:
        """What a command of the logged-in user's prints: asked of a machine that nothing is known of yet.

        Raises Lost.
        """
        async with self._channels:
            if self._connection is None:
                raise Lost("there is no connection")
            self.round_trips += 1
            return str((await _ran(self._connection, f"sh -c {shlex.quote(command)}")).stdout)

    async def converse(
        self,
        request: bytes,
        listen: Listener | None = None,
        feed: AsyncIterator[bytes] | None = None,
        *,
        standing: bool = False,
    ) -> Mapping[str, object]:
        """Send a request of `remote.request`; the answer. With `feed`, its bytes follow a `wanted` message.

        A `standing` conversation ends when we want it to: nobody waits for its channel. Raises Lost,
        LoginRefused (by sudo), PythonMissing, Unreachable or StepFailed (the program broke).
        """
        async with self._channels:
            self.round_trips += 1
            output, errors, status = await self._exchange(request, listen, feed, standing)
        if status in (None, -1, remote.CUT_SHORT):
            raise Lost("the connection ended before the answer")
        if status == remote.NO_PYTHON:
            await self._python_missing()
            return await self.converse(request, listen, feed)
        if status != 0:
            raise self._program_failed(status, errors)
        answer = remote.answer(output)
        if answer is None:
            raise Lost("the answer did not come whole")
        return answer

    async def _exchange(
        self, request: bytes, listen: Listener | None, feed: AsyncIterator[bytes] | None, standing: bool
    ) -> tuple[bytes, str, int | None]:
        import asyncssh

        try:
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            async with self._next:
                process = await self._process()
                if not standing:
                    self._passing.add(ended)
            try:
                # A launcher that ends at once reads nothing; its status says why.
                with suppress(BrokenPipeError):
                    process.stdin.write(self._first_line + request)
                    if feed is None:
                        process.stdin.write_eof()
                rest = await lines_of(process, listen, feed)
                errors = (await process.stderr.read()).decode("utf-8", "replace")
                await process.wait_closed()
                return rest, errors, process.exit_status
            finally:
                process.close()
                self._passing.discard(ended)
                ended.set_result(None)
        except (OSError, asyncssh.Error, asyncssh.BreakReceived) as error:
            raise Lost(_reason(error)) from None

    async def _process(self) -> asyncssh.SSHClientProcess[bytes]:
        import asyncssh

        pauses = [*BACK_OFF]
        while True:
            if self._connection is None:
                raise Lost("there is no connection")
            try:
                return await self._connection.create_process(self._command, encoding=None)
            except asyncssh.ChannelOpenError as error:
                # A server that allows fewer sessions than we open (MaxSessions, F5): one of ours has to end.
                if self._connection.is_closed() or not (pauses or self._passing):
                    raise Lost(f"the host opens no further session: {error}") from None
            if self._passing:
                await asyncio.wait(set(self._passing), return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(pauses.pop(0))

    def _program_failed(self, status: int | None, errors: str) -> Exception:
        target, said = self.target, _last_line(errors)
        if status == NOT_FOUND and "sudo" in said:
            return LoginRefused(
                f"{target.name} ({target.address}) has no sudo",
                hint=f"as root on {target.name}: apt-get install sudo && adduser {target.user} sudo",
                detail=errors,
            )
        if said.startswith(("sudo:", "sudo-rs:")) or "sudoers" in said:
            if target.password is not None:
                return LoginRefused(
                    f"sudo on {target.name} refuses {target.user} or the password: {said}",
                    hint=f"is {target.user} in the group sudo? look on {target.name}: id {target.user}",
                    detail=errors,
                )
            rule = f"{target.user} ALL=(ALL) NOPASSWD: ALL"
            return LoginRefused(
                f"{target.user} may not use sudo without a password on {target.name}: {said}",
                hint=f"on {target.name}, put this line into /etc/sudoers.d/deskside: {rule}",
                detail=errors,
            )
        return StepFailed(
            f"the program of deskside on {target.name} ended with status {status}: {said}", detail=errors
        )

    async def _python_missing(self) -> None:
        target = self.target
        root = as_root(target.user, password=bool(self._first_line))
        command = f"{root}sh -c {shlex.quote(INSTALL_PYTHON)}"
        if not target.bootstrap:
            raise PythonMissing(
                f"{target.name} ({target.address}) has no python3, which deskside needs there",
                hint="deskside apply installs it first; plan changes nothing",
            )
        if self._connection is None:
            raise Lost("there is no connection")
        first_line = self._first_line.decode()
        done = await _ran(self._connection, f"sh -c {shlex.quote(command)}", first_line, INSTALL_SECONDS)
        if done.exit_status == 0:
            return
        errors = str(done.stderr)
        failed = self._program_failed(done.exit_status, errors)
        if isinstance(failed, LoginRefused):
            raise failed
        raise Unreachable(
            f"python3 could not be installed on {target.name}: {_last_line(errors)}",
            hint=f"run on {target.name}: sudo apt-get install python3",
            detail=errors,
        )


def _reason(error: BaseException) -> str:
    """Why a connection did not come about or ended, in the system's words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


async def _ran(
    connection: asyncssh.SSHClientConnection, command: str, stdin: str = "", timeout: float = LOGIN_SECONDS
) -> asyncssh.SSHCompletedProcess:
    """A command line that has ended, whatever its status. Raises Lost."""
    import asyncssh

    try:
        return await connection.run(command, input=stdin, check=False, timeout=timeout)
    except (OSError, asyncssh.Error) as error:
        raise Lost(_reason(error)) from None
