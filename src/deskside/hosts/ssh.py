"""One SSH connection to one host (asyncssh): made, kept alive, made again after a cut.

Host keys are checked against pins and nothing switches that off. A missing exit status or end marker means
that nothing is known (`Lost`), never that all went well (F3).
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from deskside.errors import LoginRefused, PythonMissing, StepFailed, Unreachable
from deskside.hosts import remote
from deskside.hosts.login import BACK_OFF, Lost, Target, connected, ran, reason
from deskside.hosts.pins import Pins
from deskside.hosts.reader import Reader
from deskside.hosts.wire import Listener, lines_of

if TYPE_CHECKING:
    import asyncssh

CHANNELS = 8
"""At most so many at once on a connection: servers stop at ten (F5)."""
INSTALL_PYTHON = (
    "apt-get -qy update && apt-get -qy -o DPkg::Lock::Timeout=300 --no-install-recommends install python3"
)
INSTALL_SECONDS = 600.0
NOT_FOUND = 127


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
        """How often the host was asked, or something was begun there."""
        self._connection: asyncssh.SSHClientConnection | None = None
        self._opening = asyncio.Lock()
        self._channels = asyncio.Semaphore(CHANNELS)
        self._next = asyncio.Lock()
        """Held by the one who opens a channel: where few are allowed, others wait for their turn."""
        self._passing: set[asyncio.Future[None]] = set()
        """Of the channels that are open and will end by themselves: done when they have."""
        self._reader: Reader | None = None
        self._asking = asyncio.Lock()
        """Held by the one who asks the reader."""
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
                self._connection, self._reader = await connected(self.target, self.pins), None
                await self._learn_sudo(self._connection)

    async def _learn_sudo(self, connection: asyncssh.SSHClientConnection) -> None:
        """A fresh installation's sudo asks for a password, which goes over standard input."""
        password = self.target.password
        if password is None or self.target.user == "root":
            return
        asked = await ran(connection, ASK_SUDO)
        needed = asked.exit_status != 0
        self._command = launcher(self.target.user, password=needed)
        self._first_line = f"{password.reveal()}\n".encode() if needed else b""

    async def renew(self) -> None:
        """Log in anew, whatever the present connection is like; it is kept when that fails.

        Raises Lost where trying again later may help, Unreachable where it will not.
        """
        async with self._opening:
            fresh = await connected(self.target, self.pins)
            old, self._connection, self._reader = self._connection, fresh, None
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

    async def heard(self, command: str) -> str:
        """What a command of the logged-in user's prints: asked of a machine that nothing is known of yet.

        Raises Lost.
        """
        async with self._channels:
            if self._connection is None:
                raise Lost("there is no connection")
            self.round_trips += 1
            return str((await ran(self._connection, f"sh -c {shlex.quote(command)}")).stdout)

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
            ended = await self._exchange(request, listen, feed, standing)
        answer = await self._answer_in(*ended)
        return await self.converse(request, listen, feed) if answer is None else answer

    async def ask(
        self, queries: Sequence[Mapping[str, object]], listen: Listener | None = None
    ) -> Mapping[str, object]:
        """Have questions answered, by the program that was started for the last ones where it is free.

        Raises as `converse` does.
        """
        if self._asking.locked():
            return await self.converse(remote.questions(queries)[0], listen)
        async with self._asking:
            self.round_trips += 1
            ended = await self._asked(queries, listen)
        answer = await self._answer_in(*ended)
        return await self.ask(queries, listen) if answer is None else answer

    async def _asked(
        self, queries: Sequence[Mapping[str, object]], listen: Listener | None
    ) -> tuple[bytes, str, int | None]:
        import asyncssh

        passing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answered = False
        try:
            if self._reader is None:
                async with self._next:
                    self._reader = Reader(await self._process(), self._first_line)
            self._passing.add(passing)
            found = await self._reader.ask(queries, listen)
            answered = remote.answer(found[0]) is not None
            return found
        except (OSError, asyncssh.Error, asyncssh.BreakReceived) as error:
            raise Lost(reason(error)) from None
        finally:
            if not answered and self._reader is not None:
                self._reader.drop()
                self._reader = None
            self._passing.discard(passing)
            passing.set_result(None)

    async def _answer_in(self, output: bytes, errors: str, status: int | None) -> Mapping[str, object] | None:
        """What a program that ended so has answered; None where it is to be asked again."""
        if status in (None, -1, remote.CUT_SHORT):
            raise Lost("the connection ended before the answer")
        if status == remote.NO_PYTHON:
            await self._python_missing()
            return None
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
            raise Lost(reason(error)) from None

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
                idle = self._reader if not self._asking.locked() else None
                if self._connection.is_closed() or not (pauses or self._passing or idle):
                    raise Lost(f"the host opens no further session: {error}") from None
            if idle is not None:
                self._reader = None
                await idle.end()
            elif self._passing:
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
        done = await ran(self._connection, f"sh -c {shlex.quote(command)}", first_line, INSTALL_SECONDS)
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


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
