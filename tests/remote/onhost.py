"""The remote program in this process, with a folder as the root of its host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from deskside.hosts import remote


def loaded() -> SimpleNamespace:
    """The program's names, as on a host."""
    names: dict[str, object] = {"__name__": "deskside_remote", "SOURCE": remote.program()}
    exec(compile(remote.program(), "deskside", "exec"), names)
    return SimpleNamespace(**names)


@dataclass
class Host:
    """A host that is a folder."""

    root: Path
    reports: list[str] = field(default_factory=list)
    program: SimpleNamespace = field(default_factory=loaded)

    def put(self, path: str, text: str = "", mode: int = 0o644) -> Path:
        """Write a file of the host."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)
        return place

    def tool(self, name: str, script: str) -> Path:
        """Put a program where the host looks first."""
        return self.put(f"/opt/deskside/bin/{name}", f"#!/bin/sh\n{script}\n", 0o755)

    def ask(self, *queries: Mapping[str, object]) -> list[Mapping[str, object]]:
        """Raw answers, `ok` or `error`."""
        self.program.SETTINGS["root"] = str(self.root)
        answers: list[Mapping[str, object]] = self.program.answers_to(list(queries))
        return answers

    def read(self, query: Mapping[str, object]) -> Mapping[str, object]:
        """The answer to one question, which must not fail."""
        (answer,) = self.ask(query)
        assert "error" not in answer, answer
        found = answer["ok"]
        assert isinstance(found, dict)
        return found

    def act(self, action: Mapping[str, object], deadline: float = 120) -> Mapping[str, object]:
        """Carry out an action; raises `program.ActionFailed`."""
        self.program.SETTINGS["root"] = str(self.root)
        clock = self.program.Clock(deadline, self.reports.append)
        result: Mapping[str, object] = self.program.carried_out(action, clock)
        return result
