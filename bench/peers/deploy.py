"""The job of `job.json` as people write it for pyinfra."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

from pyinfra.context import host
from pyinfra.operations import apt, files, server, systemd

HERE = Path(__file__).parent
JOB = json.loads((HERE / "job.json").read_text())

apt.packages(name="packages", packages=JOB["packages"])
for path, mode in JOB["directories"].items():
    files.directory(name=path, path=path, mode=mode.lstrip("0"))
for path, wanted in JOB["files"].items():
    files.put(name=path, src=StringIO(wanted["content"]), dest=path, mode=wanted["mode"].lstrip("0"))
files.template(
    name="a template",
    src=str(HERE / "host.conf.j2"),
    dest=JOB["template"],
    mode="644",
    host_name=host.name,
    host_address=host.data.host_address,
)
for key, value in JOB["sysctls"].items():
    server.sysctl(name=key, key=key, value=int(value), persist=True, persist_file=JOB["sysctl_file"])
for name, wanted in JOB["users"].items():
    server.user(name=name, user=name, uid=wanted["uid"], shell=wanted["shell"], ensure_home=False)
unit = JOB["unit"]
files.put(name="a unit", src=StringIO(unit["content"]), dest=unit["path"], mode="644")
systemd.service(name="a service of that unit", service=unit["name"], running=True, enabled=True)
systemd.service(name="a service that is there", service=JOB["running"], running=True, enabled=True)
files.link(name="a link", path=JOB["link"]["path"], target=JOB["link"]["target"])
files.file(name="no such file", path=JOB["absent"], present=False)
