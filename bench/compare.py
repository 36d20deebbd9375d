"""One job on the same hosts by Deskside, Ansible (three ways), pyinfra, and the least that asyncssh can do.

    sudo .venv/bin/python -m bench.compare                        a rack of its own; about an hour
    sudo .venv/bin/python -m bench.compare --hosts 1,4 --runs 5 --tools "pyinfra,ansible mitogen"

Prints tables: seconds from start to exit, CPU seconds of the controller, and ratios to Deskside. The rack
stays up with --keep.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.plan import Cost, cost
from deskside.errors import DesksideError
from deskside.lab import rack as racks
from deskside.lab.bringup import install_packages
from deskside.lab.recipes import build, default_cache
from deskside.lab.sitefile import site_text
from deskside.lab.spec import Layout, RackHost, RackSpec, workstations

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RACK = "bench"
RELAY_NET, RELAY_PORT = "127.31.0.", 2222
PORTS = {0: 22, 10: RELAY_PORT}
"""Where a host is reached, by the milliseconds that are added."""
MAX_HOSTS = 16
OURS = "deskside"
"""What the others are compared with: measured in any case."""
TOOLS = (
    *("floor", OURS, "deskside plan", "pyinfra"),
    *("ansible", "ansible pipelining", "ansible mitogen"),
)
LONG_ENOUGH = 45.0
"""Seconds after which no further run of a program is measured."""


@dataclass(frozen=True)
class Way:
    """Hosts as they are reached in one measurement."""

    layout: Layout
    count: int
    milliseconds: int

    @property
    def hosts(self) -> tuple[RackHost, ...]:
        return tuple(host for host in self.layout.hosts if host.managed)[: self.count]

    def address(self, host: RackHost) -> str:
        """Of the host, or of its relay."""
        return f"{RELAY_NET}{host.number}" if self.milliseconds else self.layout.address(host)

    @property
    def port(self) -> int:
        return PORTS[self.milliseconds]

    @contextmanager
    def open(self) -> Iterator[None]:
        """Relays while the block lasts, where there are any."""
        if not self.milliseconds:
            yield
            return
        pairs = [f"{self.address(host)}={self.layout.address(host)}" for host in self.hosts]
        argv = [sys.executable, "-m", "bench.relay", str(self.milliseconds), str(RELAY_PORT), *pairs]
        with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
            process.communicate()


@dataclass
class Inputs:
    """What each program is given to reach the hosts of a way: all with the same key, user and pins."""

    way: Way
    folder: Path
    peers: Path
    """The peers' virtual environment."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        layout = self.way.layout
        for kept in layout.folder.iterdir():
            if kept.is_file() and kept.suffix in (".pub", ".secret", ".pem"):
                shutil.copy(kept, self.folder)
        shutil.copy(layout.key, self.folder)
        self._write_pins()
        self._write_site()
        self._write_inventories()

    def _write_pins(self) -> None:
        lines = []
        for host in self.way.hosts:
            key = (self.way.layout.root(host) / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
            address = self.way.address(host)
            lines.append(f"{host.name},{address},[{address}]:{self.way.port} {' '.join(key)}\n")
        self.known_hosts.write_text("".join(lines))

    def _write_site(self) -> None:
        layout = self.way.layout
        nas = tuple(host for host in layout.hosts if not host.managed)
        text = site_text(
            Layout(RackSpec(layout.name, (*self.way.hosts, *nas)), layout.subnet_number, layout.folder)
        )
        text = text.replace("admin: {user: ops,", f"admin: {{user: ops, port: {self.way.port},")
        # No name server and no router: the site is no more than its hosts.
        text = "".join(line for line in text.splitlines(True) if not line.startswith(("  dhcp:", "  dns:")))
        if self.way.milliseconds:
            text = text.replace(layout.prefix, RELAY_NET)
        self.site.write_text(text)

    def _write_inventories(self) -> None:
        key, known = self.folder / self.way.layout.key.name, self.known_hosts
        hosts = {
            host.name: {
                "ansible_host": self.way.address(host),
                "ansible_port": self.way.port,
                "ansible_user": "ops",
                "ansible_ssh_private_key_file": str(key),
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes",
                "ansible_python_interpreter": "/usr/bin/python3",
                "host_name": host.name,
                "host_address": self.way.address(host),
            }
            for host in self.way.hosts
        }
        (self.folder / "inventory.json").write_text(json.dumps({"all": {"hosts": hosts}}))
        reached = [
            (
                host.name,
                {
                    "ssh_hostname": self.way.address(host),
                    "ssh_port": self.way.port,
                    "ssh_user": "ops",
                    "ssh_key": str(key),
                    "ssh_known_hosts_file": str(known),
                    "ssh_strict_host_key_checking": "yes",
                    "host_address": self.way.address(host),
                    "_sudo": True,
                },
            )
            for host in self.way.hosts
        ]
        (self.folder / "inventory.py").write_text(f"hosts = {reached!r}\n")
        floor = [
            {
                "host": self.way.address(host),
                "port": self.way.port,
                "user": "ops",
                "keys": [str(key)],
                "known_hosts": str(known),
            }
            for host in self.way.hosts
        ]
        (self.folder / "hosts.json").write_text(json.dumps(floor))
        for name, lines in self.ansible_settings().items():
            (self.folder / f"{name}.cfg").write_text("\n".join(["[defaults]", *lines]) + "\n")

    def ansible_settings(self) -> Mapping[str, Sequence[str]]:
        """Of each way to run Ansible: as it comes, with pipelining, with mitogen."""
        library = next((self.peers / "lib").glob("python*"), Path("python"))
        always = [f"forks = {MAX_HOSTS}", "retry_files_enabled = false", "localhost_warning = false"]
        plugins = library / "site-packages/ansible_mitogen/plugins/strategy"
        pipelining = ["[connection]", "pipelining = true"]
        return {
            "ansible": always,
            "ansible pipelining": [*always, *pipelining],
            "ansible mitogen": [*always, f"strategy_plugins = {plugins}", "strategy = mitogen_linear"],
        }

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def site(self) -> Path:
        return self.folder / "site.yaml"

    def programs(self) -> dict[str, Sequence[str]]:
        """By name: the command line that brings the job about; of Deskside, also the one that only looks."""
        ours = [sys.executable, "-m", "bench.job", str(self.site)]
        playbook = [str(self.peers / "bin/ansible-playbook"), "-i", str(self.folder / "inventory.json")]
        deploy = [str(self.folder / "inventory.py"), str(HERE / "peers/deploy.py"), "-y"]
        found: dict[str, Sequence[str]] = {
            "floor": [sys.executable, str(HERE / "minimal.py"), str(self.folder / "hosts.json")],
            "deskside": [*ours, "apply"],
            "deskside plan": [*ours, "plan"],
            "pyinfra": [str(self.peers / "bin/pyinfra"), *deploy],
        }
        for name in self.ansible_settings():
            # The settings come by the environment, which `env` gives to this program alone.
            settings = f"ANSIBLE_CONFIG={self.folder / name}.cfg"
            found[name] = ["env", settings, *playbook, str(HERE / "peers/job.yaml")]
        return found


@dataclass
class Measured:
    """Costs of one kind of run, by program."""

    title: str
    costs: dict[str, list[Cost]] = field(default_factory=dict)

    def text(self) -> str:
        """A table of medians, in Markdown."""
        ours = self.costs.get("deskside plan") or self.costs[OURS]
        lines = [
            f"\n{self.title}\n",
            "| what | wall | CPU | wall, of ours | CPU, of ours |",
            "|---|---|---|---|---|",
        ]
        for name, found in self.costs.items():
            wall, cpu = median(one.wall for one in found), median(one.cpu for one in found)
            ratios = wall / median(one.wall for one in ours), cpu / median(one.cpu for one in ours)
            lines.append(f"| {name} | {wall:.2f} s | {cpu:.2f} s | {ratios[0]:.2f} | {ratios[1]:.2f} |")
        return "\n".join(lines)


def peers_venv() -> Path:
    """A virtual environment with the peers, made once for their pinned versions."""
    pinned, place = ROOT / "requirements/bench.txt", ROOT / "build/bench/venv"
    stamp = place / "made-from.txt"
    if not stamp.exists() or stamp.read_text() != pinned.read_text():
        venv.create(place, clear=True, with_pip=True)
        pip = [str(place / "bin/pip"), "install", "-q", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "-r", str(pinned)], check=True)
        stamp.write_text(pinned.read_text())
    return place


async def rack_of(hosts: int) -> racks.Rack:
    """Bare workstations and a NAS."""
    spec = RackSpec(RACK, tuple(_numbered(host) for host in workstations(1, hosts - 1)))
    if (found := await racks.is_up(RACK, spec)) is not None:
        return found
    await racks.down(RACK, _say)
    await install_packages(_say)
    trees = await build(racks.BASES, cache=default_cache(), report=_say)
    return await racks.up(spec, {name: one.path for name, one in trees.items()}, _say)


def _numbered(host: RackHost) -> RackHost:
    """The NAS makes room for more workstations than racks usually have."""
    return host if host.managed else RackHost(host.name, 199, host.roles, host.disk)


def _say(who: str, line: str) -> None:
    sys.stderr.write(f"{who}: {line}\n")


async def on_all(rack: racks.Rack, way: Way, script: str) -> None:
    """Run a script as root on every host of the way, at its console."""
    ran = await asyncio.gather(*(rack.host(host.name).run(("sh", "-ec", script)) for host in way.hosts))
    for host, one in zip(way.hosts, ran, strict=True):
        if not one.ok:
            raise SystemExit(f"{host.name}: {one.out}{one.err}")


def compared(rack: racks.Rack, way: Way, peers: Path, tools: Sequence[str], runs: int) -> Iterator[Measured]:
    """A first run of each program on cleared hosts, and runs that find nothing to do, in turn."""
    folder = ROOT / f"build/bench/{way.count}-{way.milliseconds}"
    programs = Inputs(way, folder, peers).programs()
    chosen = {name: argv for name, argv in programs.items() if name in (*tools, OURS)}
    clear = (HERE / "peers/clear.sh").read_text()
    shape = f"{way.count} host{'s' if way.count > 1 else ''}, {way.milliseconds} ms added"
    first, again = Measured(f"First run, {shape}"), Measured(f"Nothing to do, {shape}")
    os.chdir(ROOT)
    with way.open():
        acting = {name: argv for name, argv in chosen.items() if name not in ("floor", "deskside plan")}
        for name, argv in acting.items():
            asyncio.run(on_all(rack, way, clear))
            first.costs[name] = [cost(argv, name)]
            _say(f"first run, {shape}", f"{name} {first.costs[name][0].wall:.2f} s")
        yield first
        # Each finds nothing to do in its own terms: it goes once before it is measured.
        for number in range(runs + 1):
            for name, argv in chosen.items():
                if sum(one.wall for one in again.costs.get(name, ())) > LONG_ENOUGH:
                    continue
                found = cost(argv, name)
                _say(f"nothing to do, {shape}, run {number}", f"{name} {found.wall:.2f} s")
                if number:
                    again.costs.setdefault(name, []).append(found)
        yield again


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", default="1,4,16", help="numbers of hosts (default 1,4,16)")
    parser.add_argument("--delays", default="0,10", help="milliseconds added: 0, 10 or both (default 0,10)")
    parser.add_argument("--runs", type=int, default=3, help="measured runs with nothing to do (default 3)")
    parser.add_argument("--tools", default="", help="only these, by name, with commas (default: all)")
    parser.add_argument("--keep", action="store_true", help="leave the rack up")
    given = parser.parse_args()
    counts, delays = (_numbers(text) for text in (given.hosts, given.delays))
    tools = given.tools.split(",") if given.tools else list(TOOLS)
    if given.runs < 1 or not set(delays) <= set(PORTS) or not all(0 < count <= MAX_HOSTS for count in counts):
        parser.error(f"--runs: at least 1; --delays: of {sorted(PORTS)}; --hosts: 1 to {MAX_HOSTS}")
    if unknown := [name for name in tools if name not in TOOLS]:
        parser.error(f"--tools: {unknown[0]!r} is none of {', '.join(TOOLS)}")
    try:
        measure(counts, delays, tools, given.runs, keep=given.keep)
    except DesksideError as error:
        raise SystemExit(f"{error.message}{f'; {error.hint}' if error.hint else ''}") from None
    return 0


def _numbers(text: str) -> list[int]:
    """Of a list with commas; 99, which nothing allows, for what is no number."""
    return [int(word) if word.isdecimal() else 99 for word in text.split(",")]


def measure(
    counts: Sequence[int], delays: Sequence[int], tools: Sequence[str], runs: int, *, keep: bool
) -> None:
    """Bring up a rack, and print a table for each shape of it. Raises DesksideError."""
    if os.geteuid() != 0:
        raise DesksideError("a rack needs root", hint="run the same command with sudo")
    peers = peers_venv()
    rack = asyncio.run(rack_of(max(counts)))
    try:
        everybody = Way(rack.layout, max(counts), 0)
        packages = " ".join(json.loads((HERE / "peers/job.json").read_text())["packages"])
        install = (
            f"apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq install {packages} >/dev/null"
        )
        asyncio.run(on_all(rack, everybody, install))
        print(
            f"{os.cpu_count()} cores, which the hosts share; Python {platform.python_version()},"
            f" {time.strftime('%Y-%m-%d')}, load {os.getloadavg()[0]:.1f} before"
        )
        for count in counts:
            for delay in delays:
                way = Way(rack.layout, count, delay)
                for measured in compared(rack, way, peers, tools, runs):
                    print(measured.text(), flush=True)
    finally:
        if not keep:
            asyncio.run(racks.down(RACK, _say))


if __name__ == "__main__":
    sys.exit(main())
