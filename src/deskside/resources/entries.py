"""Entries of the directory that Deskside runs: those without which nobody can log in, and no person's.

Planned by one question to a small program, which is also what makes them; it knows nothing of this site.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deskside.errors import StepFailed
from deskside.model.action import RunCommand
from deskside.model.query import Output, ReadOutput
from deskside.model.resource import Change, HostReader
from deskside.site.secrets import Secret


@dataclass(frozen=True)
class Entry:
    """One entry, by its distinguished name."""

    dn: str
    attributes: Mapping[str, tuple[str, ...]]
    kept: tuple[str, ...] = ()
    """Attributes that are set when the entry is made, and are others' from then on."""


@dataclass(frozen=True)
class Entries:
    """Entries that are there with these attributes, and accounts with these passwords."""

    program: str
    """Text of the Python program that looks and writes."""
    base: str
    entries: Sequence[Entry]
    passwords: Mapping[str, Secret] = field(repr=False)
    """By the account's distinguished name."""
    first_gid: int = 0
    """The first number for groups that are not given one."""

    @property
    def subject(self) -> str:
        """`entries of BASE`."""
        return f"entries of {self.base}"

    def _asked(self, *, write: bool) -> Secret:
        return Secret(
            json.dumps(
                {
                    "base": self.base,
                    "entries": [
                        {
                            "dn": entry.dn,
                            "attributes": {name: list(values) for name, values in entry.attributes.items()},
                            "kept": list(entry.kept),
                        }
                        for entry in self.entries
                    ],
                    "first_gid": self.first_gid,
                    "passwords": {dn: text.reveal() for dn, text in self.passwords.items()},
                    "write": write,
                }
            )
        )

    @property
    def question(self) -> ReadOutput:
        """What is missing or differs."""
        return ReadOutput(("python3", "-I", "-c", self.program), self._asked(write=False), 60.0)

    async def plan(self, host: HostReader) -> Change | None:
        """Add what is missing, put right what differs. Raises StepFailed when the look itself failed."""
        output = await host.read(self.question)
        said = "; ".join(self._differences(_object(output)))
        if not said:
            return None
        argv = ("python3", "-I", "-c", self.program)
        run = RunCommand(argv, self._asked(write=True), timeout=120.0)
        return Change(self.subject, said, (run,))

    def _differences(self, found: Mapping[str, object]) -> list[str]:
        words = {"missing": "add", "differing": "put right", "refused": "set the password of"}
        if not found.get("answers"):
            return [f"add {len(self.entries)}: the tree, its groups, accounts and password policy"]
        said = []
        for what, verb in words.items():
            names = found.get(what)
            if isinstance(names, list) and names:
                short = [str(name).removesuffix(f",{self.base}") for name in names]
                said.append(f"{verb} {'; '.join(short)}")
        return said


def _object(output: Output) -> Mapping[str, object]:
    try:
        found = json.loads(output.stdout) if output.status == 0 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        last = (output.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise StepFailed(f"looking at the directory's entries: {last}")
    return found
