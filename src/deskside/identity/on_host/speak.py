"""Runs on a host, standard library only: speaks to a directory by ldap-utils, as root or as an account.

It stands in front of the programs of this folder when they are sent. Passwords and the certificate lie in
memory alone while a program runs, readable by root alone; no argument ever holds one.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS = "4"
MEMORY = "/dev/shm"  # noqa: S108  # a folder of its own is made there
PATIENCE = 30
GONE = 255
"""Exit status of ldap-utils when no server answers."""

Ran = subprocess.CompletedProcess
Speak = Callable[..., "Ran[str]"]


@contextmanager
def spoken_to(asked: "dict[str, str]") -> Iterator[Speak]:
    """A function `speak(tool, arguments, stdin, secret)` for a directory.

    `asked` has `url`, which may name several servers, `starttls`, `ca`, `dn` and `password`; without a `dn`
    root of this host speaks for itself (EXTERNAL, over the directory's own socket).
    """
    memory = MEMORY if os.path.isdir(MEMORY) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        environment = {**os.environ, "LDAPTLS_REQCERT": "demand", "LC_ALL": "C"}
        if asked.get("ca"):
            environment["LDAPTLS_CACERT"] = written(folder, "ca", asked["ca"])
        if asked.get("dn"):
            known = ["-x", "-D", asked["dn"], "-y", written(folder, "password", asked["password"])]
            known += ["-ZZ"] if asked.get("starttls") else []
        else:
            known = ["-Q", "-Y", "EXTERNAL"]

        def speak(tool: str, arguments: "list[str]", stdin: str = "", secret: str = "") -> "Ran[str]":
            argv = [tool, *known, "-H", asked["url"], "-e", "ppolicy", "-o", f"nettimeout={SECONDS}"]
            if secret:
                argv += ["-T", written(folder, "secret", secret)]
            return ended([*argv, *arguments], environment, stdin)

        yield speak


def ended(argv: "list[str]", environment: "dict[str, str]", stdin: str) -> "Ran[str]":
    """Run to the end; one that takes too long has heard nothing from the directory."""
    try:
        return subprocess.run(
            argv,
            env=environment,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, GONE, "", f"no answer within {PATIENCE} seconds")


def written(folder: str, name: str, text: str) -> str:
    """Write a file for root alone, without a line end of its own; its path."""
    path = os.path.join(folder, name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    return path
