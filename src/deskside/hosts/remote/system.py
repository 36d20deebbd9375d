"""Answers about packages, units, kernel settings and programs. Part of the remote program; reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deskside.hosts.remote.core import (
    SINGLE,
    TOGETHER,
    QuestionFailed,
    Raw,
    at,
    blocks,
    contents,
    number_of,
    program_output,
    text_of,
    texts_of,
)

UNIT_FIELDS = "LoadState,ActiveState,UnitFileState,ActiveEnterTimestamp,NeedDaemonReload"


def installed_packages() -> dict[str, str]:
    """Name -> version of every fully installed package, from dpkg's own database."""
    try:
        with open(at("/var/lib/dpkg/status"), encoding="utf-8", errors="replace") as file:
            database = file.read()
    except OSError as error:
        raise QuestionFailed(f"the package database cannot be read: {error.strerror}") from None
    found: dict[str, str] = {}
    for block in database.split("\n\n"):
        if not block.startswith("Package: ") or " ok installed\n" not in block:
            continue
        name = block[9 : block.index("\n")]
        start = block.find("\nVersion: ")
        if start >= 0:
            end = block.find("\n", start + 1)
            found.setdefault(name, block[start + 10 : end if end >= 0 else None].strip())
    return found


def answer_packages(queries: Sequence[Mapping[str, object]]) -> list[object]:
    """Op `packages`, all questions of a batch by one reading of the database."""
    found = installed_packages()
    return [
        {"installed": {name: found[name] for name in texts_of(query, "names") if name in found}}
        for query in queries
    ]


def moment(stamp: str) -> float:
    """Seconds since 1970 of systemd's `Mon 2026-11-23 21:51:28.123456 UTC`; 0 when there is none."""
    from datetime import datetime

    parts = stamp.split()
    if len(parts) < 3:
        return 0.0
    try:
        return datetime.fromisoformat(f"{parts[1]}T{parts[2]}+00:00").timestamp()
    except ValueError:
        return 0.0


def unit_answer(lines: Sequence[str]) -> Raw:
    """One unit, from the lines of `systemctl show`."""
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return {
        "load": fields.get("LoadState", ""),
        "active": fields.get("ActiveState", ""),
        "enabled": fields.get("UnitFileState", ""),
        "started": moment(fields.get("ActiveEnterTimestamp", "")),
        "needs_reload": fields.get("NeedDaemonReload") == "yes",
    }


def answer_units(queries: Sequence[Mapping[str, object]]) -> list[object]:
    """Op `unit`, all questions of a batch by one `systemctl show`, which answers in order."""
    names = [text_of(query, "name") for query in queries]
    argv = ["systemctl", "show", "--timestamp=us+utc", f"--property={UNIT_FIELDS}", "--", *names]
    ended = program_output(argv, timeout=30)
    found = [unit_answer(lines) for lines in blocks(ended.stdout)]
    if ended.status != 0 or len(found) != len(names):
        raise QuestionFailed(f"systemd did not say how {', '.join(names)} are: {ended.said()}")
    return list(found)


def sysctl_path(name: str) -> str:
    """The file of a kernel setting; a name with slashes is taken as it is (interfaces with dots)."""
    return "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))


def sysctl_value(name: str) -> str | None:
    """Value with single spaces; None when the kernel lacks it."""
    try:
        with open(at(sysctl_path(name)), encoding="ascii", errors="replace") as file:
            return " ".join(file.read().split())
    except OSError:
        return None


def answer_sysctls(query: Mapping[str, object]) -> Raw:
    """Op `sysctls`."""
    values = {name: sysctl_value(name) for name in texts_of(query, "names")}
    return {"values": {name: value for name, value in values.items() if value is not None}}


def answer_output(query: Mapping[str, object]) -> Raw:
    """Op `output`."""
    ended = program_output(
        texts_of(query, "argv"), text_of(query, "stdin"), number_of(query, "timeout", 30.0)
    )
    return {"status": ended.status, "stdout": ended.stdout, "stderr": ended.stderr}


def os_release() -> dict[str, str]:
    """Fields of os-release without quotes."""
    found: dict[str, str] = {}
    for line in (contents("/etc/os-release") or contents("/usr/lib/os-release")).splitlines():
        key, sign, value = line.partition("=")
        if sign:
            found[key.strip()] = value.strip().strip("\"'")
    return found


SINGLE.update(output=answer_output, sysctls=answer_sysctls)
TOGETHER.update(packages=answer_packages, unit=answer_units)
