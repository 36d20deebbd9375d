"""Actions on files, links, folders, kernel settings, and plain programs. Part of the remote program."""

from __future__ import annotations

import base64
import grp
import os
import pwd
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import IO

from deskside.hosts.remote.core import (
    Ended,
    Raw,
    at,
    decoded,
    environment,
    located,
    number_of,
    program_output,
    table_of,
    text_of,
    texts_of,
)
from deskside.hosts.remote.system import sysctl_path, sysctl_value

KEPT = 64 * 1024
"""Bytes of a program's output that are kept: its end."""


class ActionFailed(Exception):
    """An action that did not succeed: one sentence, and what the machine printed."""

    def __init__(self, message: str, ended: Ended | None = None) -> None:
        super().__init__(message)
        self.ended = ended


class ActionBusy(ActionFailed):
    """Somebody else holds what the action needs."""


class Clock:
    """When the run must have ended, and where its progress goes."""

    def __init__(self, deadline: float, report: Callable[[str], None]) -> None:
        self.end, self.report = monotonic() + deadline, report

    def left(self) -> float:
        """Seconds that remain."""
        return self.end - monotonic()


Action = Callable[[Mapping[str, object], Clock], Raw]
ACTIONS: dict[str, Action] = {}
"""Kind of an action -> who carries it out. Every file that does so enters itself."""


def user_id(name: str) -> int:
    """Number of a user; a number is taken as it is."""
    return int(name) if name.isdigit() else pwd.getpwnam(name).pw_uid


def group_id(name: str) -> int:
    """Number of a group; a number is taken as it is."""
    return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid


def owners(action: Mapping[str, object]) -> tuple[int, int]:
    """User and group numbers of an action."""
    user, group = text_of(action, "owner", "root"), text_of(action, "group", "root")
    try:
        return user_id(user), group_id(group)
    except KeyError:
        raise ActionFailed(f"there is no such account here: {user}:{group}") from None


def sync_folder(path: str) -> None:
    """Make a rename in a folder durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_parents(real: str) -> None:
    """Missing parents, 0755 whatever the umask."""
    parent = os.path.dirname(real)
    if parent and not os.path.isdir(parent):
        if os.path.lexists(parent):
            raise ActionFailed(f"{parent}: Not a directory")
        make_parents(parent)
        os.mkdir(parent)
        os.chmod(parent, 0o755)


def replace_file(real: str, data: bytes, mode: int, user: int, group: int) -> None:
    """Atomically, durably, and never readable by more than `mode` allows in between."""
    make_parents(real)
    handle, temporary = tempfile.mkstemp(prefix=".deskside-", dir=os.path.dirname(real))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchown(handle, user, group)
            os.fchmod(handle, mode)
            file.flush()
            os.fsync(handle)
        os.rename(temporary, real)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(real))


def write_file(action: Mapping[str, object], _: Clock) -> Raw:
    """Action `write_file`."""
    path, (user, group) = text_of(action, "path"), owners(action)
    if os.path.isdir(at(path)) and not os.path.islink(at(path)):
        raise ActionFailed(f"{path} is a directory")
    data = base64.b64decode(text_of(action, "content"))
    replace_file(at(path), data, int(number_of(action, "mode", 0o644)), user, group)
    return {}


def make_directory(action: Mapping[str, object], _: Clock) -> Raw:
    """Action `make_directory`."""
    real, (user, group) = at(text_of(action, "path")), owners(action)
    make_parents(real)
    if not os.path.isdir(real):
        os.mkdir(real)
    os.chown(real, user, group)
    os.chmod(real, int(number_of(action, "mode", 0o755)))
    return {}


def make_link(action: Mapping[str, object], _: Clock) -> Raw:
    """Action `make_link`."""
    path, target = text_of(action, "path"), text_of(action, "target")
    real = at(path)
    if os.path.isdir(real) and not os.path.islink(real):
        raise ActionFailed(f"{path} is a directory and is not replaced by a link")
    make_parents(real)
    temporary = f"{real}.deskside-{os.getpid()}"
    os.symlink(target, temporary)
    os.rename(temporary, real)
    return {}


def remove_path(action: Mapping[str, object], _: Clock) -> Raw:
    """Action `remove_path`: a folder that is not empty, or a mount, is refused by the kernel."""
    path = text_of(action, "path")
    try:
        kind = os.lstat(at(path)).st_mode
        if stat.S_ISDIR(kind):
            os.rmdir(at(path))
        else:
            os.unlink(at(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ActionFailed(f"{path} cannot be removed: {error.strerror}") from None
    return {}


def set_sysctls(action: Mapping[str, object], _: Clock) -> Raw:
    """Action `set_sysctls`: only those that differ are written."""
    for name, wanted in table_of(action, "values").items():
        value = " ".join(str(wanted).split())
        if sysctl_value(name) == value:
            continue
        try:
            with open(at(sysctl_path(name)), "w", encoding="ascii") as file:
                file.write(value)
        except OSError as error:
            raise ActionFailed(
                f"the kernel setting {name} cannot be set to {value}: {error.strerror}"
            ) from None
    return {}


def tail_of(file: IO[bytes], kept: int) -> str:
    """The last `kept` bytes of what was printed."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - kept))
    return decoded(file.read())


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """End a program with all that it started: asked, then forced."""
    for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def run_program(
    argv: list[str],
    clock: Clock,
    stdin: str = "",
    env: Mapping[str, object] | None = None,
    timeout: float = 300.0,
    *,
    kept: int = KEPT,
) -> Ended:
    """Run a program that may change things. Output goes to files: a child left behind blocks nobody.

    Of its output the last `kept` bytes come back.
    """
    make = tempfile.TemporaryFile
    with make() as given, make() as out, make() as errors:
        given.write(stdin.encode())
        given.seek(0)
        try:
            process = subprocess.Popen(
                [located(argv[0]), *argv[1:]],
                stdin=given,
                stdout=out,
                stderr=errors,
                env=environment(env),
                cwd=at("/"),
                start_new_session=True,
            )
        except OSError as error:
            return Ended(
                127 if isinstance(error, FileNotFoundError) else 126, "", f"{argv[0]}: {error.strerror}"
            )
        try:
            status: int | None = process.wait(max(0.1, min(timeout, clock.left())))
        except subprocess.TimeoutExpired:
            stop_group(process)
            status = None
        ended = status if status is None or status >= 0 else None
        return Ended(ended, tail_of(out, kept), tail_of(errors, kept))


def ending(ended: Ended) -> str:
    """How a program ended, for a sentence."""
    if ended.status is None:
        return "was killed or ran out of time"
    return f"ended with status {ended.status}"


def shown_command(argv: list[str]) -> str:
    """A command as a person reads it: not too long, and without the text of a program that stands in it."""
    text = " ".join("(a program)" if "\n" in word else word for word in argv)
    return text if len(text) <= 120 else text[:117] + "..."


def run_command(action: Mapping[str, object], clock: Clock) -> Raw:
    """Action `run_command`."""
    argv, env = texts_of(action, "argv"), table_of(action, "env")
    stdin, timeout = text_of(action, "stdin"), number_of(action, "timeout", 300.0)
    found = action.get("ok")
    allowed = found if isinstance(found, list) else [0]
    attempts = max(1, int(number_of(action, "attempts", 1)))
    for attempt in range(1, attempts + 1):
        ended = run_program(argv, clock, stdin, env, timeout)
        if ended.status in allowed:
            return printed(ended)
        pause = number_of(action, "interval", 2.0)
        if attempt == attempts or clock.left() <= pause:
            break
        clock.report(f"{shown_command(argv)}: {ended.said()}; attempt {attempt + 1} of {attempts}")
        sleep(pause)
    raise ActionFailed(f"{shown_command(argv)} {ending(ended)}: {ended.said()}{journal_of(argv)}", ended)


def journal_of(argv: list[str]) -> str:
    """What a unit that would not start said last, to end a sentence: systemd only says that it failed."""
    if argv[0] != "systemctl" or argv[1:2] not in (["start"], ["restart"], ["reload-or-restart"]):
        return ""
    wanted = (
        "--quiet",
        "--no-pager",
        "--output=cat",
        "--lines=3",
        "--since=-10min",
        f"_SYSTEMD_UNIT={argv[-1]}",
    )
    shown = program_output(("journalctl", *wanted)).stdout
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    return f"; {argv[-1]} said: {' | '.join(lines)[-600:]}" if lines else ""


def printed(ended: Ended) -> Raw:
    """A result from what a program printed."""
    result: dict[str, object] = {"status": ended.status, "stdout": ended.stdout, "stderr": ended.stderr}
    return result


ACTIONS.update(
    write_file=write_file,
    make_directory=make_directory,
    make_link=make_link,
    remove_path=remove_path,
    run_command=run_command,
    set_sysctls=set_sysctls,
)
