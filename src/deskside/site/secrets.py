"""Passwords that cannot be shown by accident, and where they come from.

A `Secret` has one way out, `reveal()`, so that a search for that word lists every place where a secret
leaves. This file may not log, format or store what it reads.
"""

from __future__ import annotations

import hmac
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deskside.errors import SiteError
from deskside.site.values import wrong

MAX_BYTES = 64 * 1024
# Surrogates are what the environment has for bytes that are no UTF-8.
NOT_ON_ONE_LINE = frozenset("\ufffd\n\r\0") | frozenset(map(chr, range(0xD800, 0xE000)))
SHORTEST = 8
"""Characters of what is looked for in the words of others: less would be found in every sentence."""


def _keeper() -> tuple[Callable[[str], None], Callable[[str], str]]:
    # Closures, as for a secret itself: nothing that walks a module's names finds the strings.
    known: set[str] = set()

    def keep(text: str) -> None:
        # A key has many lines, and a program may repeat any; of other texts only some lines are secret.
        parts = (text, *(text.splitlines() if "PRIVATE KEY-----" in text else ()))
        known.update(part for part in parts if len(part) >= SHORTEST and not part.startswith("-----"))

    def without_secrets(text: str) -> str:
        found = [secret for secret in known if secret in text or json.dumps(secret)[1:-1] in text]
        for secret in sorted(found, key=len, reverse=True):
            text = text.replace(secret, "<secret>").replace(json.dumps(secret)[1:-1], "<secret>")
        return text

    return keep, without_secrets


_keep, without_secrets = _keeper()
"""`without_secrets(text)`: what a machine said, with every secret that this process holds taken out of it."""


class Secret:
    """A string that no repr, format, pickle, copy or traceback with locals shows."""

    # A closure: tools that walk attributes and slots find a function, not the string.
    __slots__ = ("_reveal",)
    _reveal: Callable[[], str]

    def __init__(self, text: str) -> None:
        _keep(text)
        object.__setattr__(self, "_reveal", lambda: text)

    def reveal(self) -> str:
        """The string itself: the only way out."""
        return self._reveal()

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __bool__(self) -> bool:
        return bool(self._reveal())

    def __eq__(self, other: object) -> bool:
        """Equal to a `Secret` of the same text, in constant time; never to a string."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._reveal().encode(), other._reveal().encode())

    __hash__ = None  # type: ignore[assignment]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret cannot be changed")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret cannot be stored")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be stored")


class SecretSource(BaseModel):
    """Where a secret is read from; the secret itself never stands in the site file."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"oneOf": [{"required": ["env"]}, {"required": ["file"]}]},
    )

    env: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds it.",
    )
    file: Path | None = Field(
        None,
        description="File that holds it, relative to the site file; readable by its owner only (mode 0600).",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise wrong("a secret comes from exactly one place", "write {env: NAME} or {file: PATH}")
        return self

    def resolve(self, directory: Path) -> Secret:
        """Read the secret; `directory` is the site file's. Raises `SiteError`, which never quotes it."""
        if self.env is not None:
            if not os.environ.get(self.env):
                raise SiteError(
                    f"a secret is asked from the environment variable {self.env}, which is not set",
                    hint=f"run: read -rs {self.env} && export {self.env}",
                )
            if set(os.environ[self.env]) & NOT_ON_ONE_LINE:
                raise SiteError(
                    f"the secret in the environment variable {self.env} is not one line of UTF-8 text",
                    hint=f"run: read -rs {self.env} && export {self.env}",
                )
            return Secret(os.environ[self.env])
        assert self.file is not None
        return _from_file(located(directory, self.file))


def located(directory: Path, path: Path) -> Path:
    """A path of the site file as one of this machine: `~` expanded, the rest relative to the site file."""
    try:
        return directory / path.expanduser()
    except RuntimeError:
        return directory / path


def _from_file(path: Path) -> Secret:
    # Not blocking, so that a pipe cannot hang the run; the mode is that of the file which is then read.
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the path is not usable"
        raise SiteError(
            f"a secret cannot be read from {path}: {reason}", hint=f"write it to {path} with mode 0600"
        ) from None
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise SiteError(
                f"a secret cannot be read from {path}: it is no ordinary file", hint="name a file"
            )
        if found.st_mode & 0o077:
            raise SiteError(
                f"the secret in {path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o})",
                hint=f"run: chmod 600 {path}",
            )
        secret = _text(handle)
    finally:
        os.close(handle)
    if not secret:
        raise SiteError(
            f"the secret in {path} is empty, too long or not UTF-8 text on one line",
            hint=f"write the password alone to {path}",
        )
    return secret


def _text(handle: int) -> Secret:
    # The text stays in this frame, which raises nothing: no traceback can carry it.
    raw = os.read(handle, MAX_BYTES + 1)
    text = raw.decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    good = len(raw) <= MAX_BYTES and not set(text) & NOT_ON_ONE_LINE
    return Secret(text if good else "")
