"""What all files of the remote program use: paths below a root, programs, answers. Standard library only.

`ROOT` is empty on a host; tests put a folder there, which then stands for the host's file system.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic

Raw = dict[str, object]
PROGRAM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SETTINGS = {"root": ""}
TYPE_CHECKING = False
"""As in `typing`, which takes 2 ms to import. What is imported under it is imported where it is used."""


Single = Callable[[Mapping[str, object]], Raw]
Together = Callable[[Sequence[Mapping[str, object]]], list[object]]
SINGLE: dict[str, Single] = {}
"""Kind of a question -> who answers one. Every file that answers enters itself."""
TOGETHER: dict[str, Together] = {}
"""Kind of a question -> who answers all of a batch."""
GROUPS: dict[str, str] = {}
"""Kinds of questions that are answered together with others, and the name of all of them."""
MODES: dict[str, Callable[[Mapping[str, object]], None]] = {}
"""What a conversation is for -> who leads it. Every file that leads one enters itself."""


class QuestionFailed(Exception):
    """A question that cannot be answered; the text is one sentence."""


def at(path: str) -> str:
    """A path of the host as one to open."""
    return SETTINGS["root"] + path


def text_of(raw: Mapping[str, object], key: str, default: str = "") -> str:
    """A text field."""
    value = raw.get(key)
    return value if isinstance(value, str) else default


def number_of(raw: Mapping[str, object], key: str, default: float = 0.0) -> float:
    """A number field."""
    value = raw.get(key)
    return float(value) if isinstance(value, (int, float)) else default


def texts_of(raw: Mapping[str, object], key: str) -> list[str]:
    """A list of texts."""
    value = raw.get(key)
    return [str(item) for item in value] if isinstance(value, list) else []


def table_of(raw: Mapping[str, object], key: str) -> Raw:
    """An object field."""
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def contents(path: str, default: str = "") -> str:
    """The text of a small file of the host; `default` when it cannot be read."""
    try:
        with open(at(path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return default


def folder(path: str) -> list[str]:
    """Names in a folder of the host, sorted; none when it cannot be read."""
    try:
        return sorted(os.listdir(at(path)))
    except OSError:
        return []


def environment(more: Mapping[str, object] | None = None) -> dict[str, str]:
    """The environment of programs: plain English, every folder of programs, nothing of a login."""
    result = {"PATH": f"{at('/opt/deskside/bin')}:{PROGRAM_PATH}", "LC_ALL": "C.UTF-8", "HOME": "/root"}
    result.update({key: str(value) for key, value in (more or {}).items()})
    return result


def decoded(data: bytes) -> str:
    """UTF-8 with replacement characters."""
    return data.decode("utf-8", "replace")


def located(name: str) -> str:
    """A program as `execve` takes it: looked up on our PATH, which is not that of the login."""
    if "/" in name:
        return name
    # Not by `shutil`, which brings every kind of archive along: 2 ms of a host's 50.
    places = (f"{place}/{name}" for place in environment()["PATH"].split(":"))
    return next((place for place in places if os.path.isfile(place) and os.access(place, os.X_OK)), name)


class Ended:
    """How a program ended; `status` is None when it was killed or ran out of time."""

    def __init__(self, status: int | None, stdout: str, stderr: str) -> None:
        self.status, self.stdout, self.stderr = status, stdout, stderr

    def said(self) -> str:
        """The last line that says something, of stderr before stdout."""
        for stream in (self.stderr, self.stdout):
            lines = [line.strip() for line in stream.splitlines() if line.strip()]
            if lines:
                return lines[-1][:300]
        return "it said nothing"


def program_output(
    argv: Sequence[str], stdin: str = "", timeout: float = 30.0, env: Mapping[str, object] | None = None
) -> Ended:
    """Run a program that changes nothing. One that is not there ends with 127."""
    try:
        done = subprocess.run(
            [located(argv[0]), *argv[1:]],
            input=stdin.encode(),
            capture_output=True,
            timeout=timeout,
            env=environment(env),
            check=False,
            start_new_session=True,
        )
    except (FileNotFoundError, NotADirectoryError):
        return Ended(127, "", f"{argv[0]}: not found")
    except PermissionError:
        return Ended(126, "", f"{argv[0]}: cannot be executed")
    except subprocess.TimeoutExpired as expired:
        return Ended(None, decoded(expired.stdout or b""), decoded(expired.stderr or b""))
    status = done.returncode if done.returncode >= 0 else None
    return Ended(status, decoded(done.stdout), decoded(done.stderr))


def digest_of(path: str) -> str:
    """SHA-256 of a file, by its path on this machine."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def blocks(text: str) -> Iterator[list[str]]:
    """Groups of lines that empty lines part."""
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line]
        if lines:
            yield lines


def say(message: Mapping[str, object]) -> None:
    """Print one line of the wire; a controller that is gone is no reason to stop."""
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except OSError:
        pass


def finish(answer: Mapping[str, object]) -> None:
    """Print the answer and the end marker with its digest (F3)."""
    line = json.dumps(answer)
    sys.stdout.write(line + "\ndeskside-end " + hashlib.sha256(line.encode()).hexdigest() + "\n")
    sys.stdout.flush()


def seconds_since(start: float) -> float:
    """Elapsed seconds, to the millisecond."""
    return round(monotonic() - start, 3)


def main(data: bytes) -> None:
    """Entered by the boot line with each payload. Only where questions were answered more may come."""
    payload = json.loads(data)
    SETTINGS["root"] = text_of(payload, "root")
    MODES[text_of(payload, "mode")](payload)
    if text_of(payload, "mode") != "read":
        sys.exit(0)
