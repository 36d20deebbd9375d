"""The items of `peers/job.json` as one step of Deskside's resources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deskside.model.platform import Host, Platform
from deskside.model.query import Output, ReadOutput
from deskside.model.resource import Resource
from deskside.model.step import step
from deskside.resources.command import Command
from deskside.resources.files import Absent, Directory, File, Link
from deskside.resources.packages import Packages
from deskside.resources.system import Sysctls, Unit
from deskside.site.schema import Role, Site

JOB: Any = json.loads((Path(__file__).parent / "peers/job.json").read_text())
HOST_FILE = "# Made for one host.\nname = {name}\naddress = {address}\n"


@step(on={Role.SERVER, Role.WORKER})
def job(site: Site, platform: Platform, host: Host) -> Iterator[Resource]:
    """The job."""
    yield Packages(tuple(JOB["packages"]))
    for path, mode in JOB["directories"].items():
        yield Directory(path, int(mode, 8))
    for path, wanted in JOB["files"].items():
        yield File(path, wanted["content"], int(wanted["mode"], 8))
    yield File(JOB["template"], HOST_FILE.format(name=host.name, address=host.spec.address))
    yield Sysctls("bench", JOB["sysctls"])
    for name, wanted in JOB["users"].items():
        yield user(name, wanted["uid"], wanted["shell"])
    unit = File(JOB["unit"]["path"], JOB["unit"]["content"])
    yield unit
    yield Unit(JOB["unit"]["name"], after=(unit,))
    yield Unit(JOB["running"])
    yield Link(JOB["link"]["path"], JOB["link"]["target"])
    yield Absent(JOB["absent"])


def user(name: str, uid: int, shell: str) -> Resource:
    """An account of the host."""

    def there(found: Output) -> bool:
        fields = found.stdout.strip().split(":")
        return fields[0] == name and fields[2] == str(uid) and fields[-1] == shell

    add = ("useradd", "--no-create-home", "--uid", str(uid), "--shell", shell, name)
    ask = ReadOutput(("getent", "passwd", name))
    return Command(f"user {name}", add, asks=ask, done=there, summary="add it")
