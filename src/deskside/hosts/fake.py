"""FakeHost: a host modelled in memory, for tests. It is no host, and only tests make one.

It carries out every action and answers every question on the wire as `hosts/remote` does, with the same
sentences; one suite is passed by both. A program that it does not know fails loudly (`Unmodelled`), so that
a step cannot pass by chance.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from deskside.errors import Busy, StepFailed, Unreachable
from deskside.hosts.asking import Asking, Raw
from deskside.hosts.fake_cluster import FakeCluster, FakeRelease
from deskside.hosts.fake_files import FakeFiles, Refused, Unmodelled
from deskside.hosts.fake_units import FakeUnits
from deskside.model.action import Action, ActionResult
from deskside.model.artifact import Locked
from deskside.model.query import Json, Output

__all__ = ["FakeCluster", "FakeHost", "Package", "Refused", "Unmodelled", "bare_facts"]

STAGING, STORE = "/var/lib/deskside/staging", "/opt/deskside/store"
KUBECTL, HELM, ADMIN = "/opt/deskside/bin/kubectl", "/opt/deskside/bin/helm", "/etc/kubernetes/admin.conf"
Wire: TypeAlias = Mapping[str, Json]
Program: TypeAlias = Callable[["FakeHost", tuple[str, ...], str], Output]
"""What a program does: (host, argv, standard input) -> what it prints."""

UNIT = "[Unit]\nDescription={name}\n[Service]\nExecStart=/bin/{name}\n[Install]\nWantedBy=multi-user.target\n"


@dataclass
class Package:
    """A package that can be installed: units that it starts, as Debian's do, and files."""

    version: str = "1.0-1"
    units: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


SERVICES = {
    "chrony": ("chrony.service",),
    "keepalived": ("keepalived.service",),
    "containerd": ("containerd.service",),
    "docker.io": ("docker.service", "docker.socket"),
    "nftables": (),
    "unattended-upgrades": ("unattended-upgrades.service", "apt-daily.timer", "apt-daily-upgrade.timer"),
    "nfs-common": ("rpcbind.service",),
}
SYSCTLS = {
    "net.ipv4.ip_forward": "0",
    "net.ipv4.conf.all.forwarding": "0",
    "net.bridge.bridge-nf-call-iptables": "0",
    "net.bridge.bridge-nf-call-ip6tables": "0",
    "fs.inotify.max_user_instances": "128",
    "fs.inotify.max_user_watches": "65536",
    "vm.overcommit_memory": "0",
    "vm.panic_on_oom": "0",
    "vm.max_map_count": "65530",
    "kernel.panic": "0",
    "kernel.panic_on_oops": "0",
    "kernel.keys.root_maxkeys": "1000000",
    "kernel.keys.root_maxbytes": "25000000",
}


def bare_facts(name: str, address: str = "10.20.0.11") -> dict[str, Json]:
    """Raw facts of a bare Debian 12 machine on cgroup v2 with every capability."""
    return {
        "hostname": name,
        "os_id": "debian",
        "os_version": "12",
        "os_codename": "bookworm",
        "os_name": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "6.1.0-28-amd64",
        "python": "3.11.2",
        "cpus": 8,
        "memory": 32 << 30,
        "machine_id": f"{name:0>32}",
        "boot_id": f"boot-{name}",
        "clock_synchronised": True,
        "capabilities": [
            *("cap_linux_immutable", "cap_net_admin", "cap_sys_admin", "cap_sys_module", "cap_sys_time")
        ],
        "interfaces": [{"name": "eth0", "addresses": [f"{address}/24"], "mtu": 1500}],
        "route_interface": "eth0",
        "nameservers": ["10.20.0.1"],
        "networkd": True,
    }


class FakeHost(Asking):
    """A modelled host. Tests may set every attribute; `answer` and `effect` teach it programs."""

    def __init__(
        self, name: str = "ws1", *, facts: Wire | None = None, cluster: FakeCluster | None = None
    ) -> None:
        super().__init__(name)
        self.files = FakeFiles()
        self.units = FakeUnits(self.files)
        self.facts: dict[str, Json] = {**bare_facts(name), **(facts or {})}
        self.cluster = cluster if cluster is not None else FakeCluster()
        self.installed: dict[str, str] = {"bash": "5.2.15-2", "systemd": "252.36-1~deb12u1"}
        self.packages: dict[str, Package | None] = {}
        """Other than by default: None for a package that does not exist."""
        self.lock_holder = ""
        """Who holds the package lock."""
        self.sysctls = {**SYSCTLS, "kernel.hostname": name}
        self.fixed_sysctls: set[str] = set()
        """Those that cannot be set."""
        self.archives: dict[str, Mapping[str, str]] = {}
        """Files of archives, by the artifact's name."""
        self.tls: dict[tuple[str, int], Wire] = {}
        self.answers: dict[tuple[str, ...], Program] = {}
        self.effects: dict[tuple[str, ...], Program] = {}
        self.sent: list[Locked] = []
        self.done: list[dict[str, Json]] = []
        """Every action that was carried out, as it travels."""
        self.ran: list[tuple[str, ...]] = []
        self.lets_in = True
        """Whether a new connection is let in."""
        self.round_trips = 0
        self.writes = 0
        self.files.put("/etc/hostname", f"{name}\n")
        self.files.put("/etc/hosts", "127.0.0.1\tlocalhost\n")

    def answer(self, *prefix: str, says: str | Output | Program = "") -> None:
        """Teach what a program prints when it is asked (`ReadOutput`); the longest prefix counts."""
        self.answers[prefix] = _program(says)

    def effect(self, *prefix: str, does: str | Output | Program = "") -> None:
        """Teach what a program does when it is run (`RunCommand`); the longest prefix counts."""
        self.effects[prefix] = _program(does)

    async def answers_to(self, queries: Sequence[Raw]) -> Sequence[Raw]:
        """Every question by itself."""
        self.round_trips += 1
        return [self.answer_of(query) for query in queries]

    def _query_path(self, query: Wire) -> dict[str, Json]:
        return self.files.answer_path(str(query["path"]), bool(query["content"]), bool(query["digest"]))

    def _query_output(self, query: Wire) -> dict[str, Json]:
        argv, given = _words(query["argv"]), str(query.get("stdin") or "")
        found = self._called(self.answers, argv, given)
        return {"status": found.status, "stdout": found.stdout, "stderr": found.stderr}

    def _query_packages(self, query: Wire) -> dict[str, Json]:
        names = _words(query["names"])
        return {"installed": {name: self.installed[name] for name in names if name in self.installed}}

    def _query_unit(self, query: Wire) -> dict[str, Json]:
        return self.units.answer(str(query["name"]))

    def _query_sysctls(self, query: Wire) -> dict[str, Json]:
        names = _words(query["names"])
        return {"values": {name: self.sysctls[name] for name in names if name in self.sysctls}}

    def _query_tls(self, query: Wire) -> dict[str, Json]:
        place = (str(query["host"]), int(str(query["port"])))
        return dict(self.tls.get(place, {"error": "[Errno 111] Connection refused"}))

    def _query_facts(self, query: Wire) -> dict[str, Json]:
        kubelet, admin = "/etc/kubernetes/kubelet.conf", ADMIN
        kubernetes: dict[str, Json] = {
            "kubelet_conf": self.files.exists(kubelet),
            "admin_conf": self.files.exists(admin),
            "joined": self.files.exists(kubelet) and self.files.exists("/etc/kubernetes/deskside-joined"),
        }
        space: Json = [
            {
                "path": path,
                "filesystem": "ext4",
                "size": 512 << 30,
                "free": 400 << 30,
                "inodes_free": 30_000_000,
            }
            for path in _words(query.get("paths") or ())
        ]
        now: dict[str, Json] = {"hostname": self.sysctls["kernel.hostname"], "clock": self.files.now}
        return {"kubernetes": kubernetes, "disks": space, **self.facts, **now}

    def _query_release(self, query: Wire) -> Wire:
        return self.cluster.release(query) if self._serves() else {"reachable": False}

    def _query_objects(self, query: Wire) -> Wire:
        return self.cluster.named(query) if self._serves() else {"reachable": False}

    def _query_secret_notes(self, query: Wire) -> Wire:
        return self.cluster.remarks(query) if self._serves() else {"reachable": False}

    def _serves(self) -> bool:
        return self.cluster.reachable and self.files.exists(KUBECTL) and self.files.exists(ADMIN)

    def _called(self, known: Mapping[tuple[str, ...], Program], argv: tuple[str, ...], given: str) -> Output:
        for length in range(len(argv), 0, -1):
            program = known.get(argv[:length])
            if program is not None:
                return program(self, argv, given)
        if argv[0].startswith("/") and not self.files.exists(argv[0]):
            return Output(127, "", f"{argv[0]}: not found")
        raise Unmodelled(f"the fake host {self.name} was not taught: {' '.join(argv)}")

    async def send(self, artifact: Locked) -> None:
        """Put a file of the artifact's size into staging, unless it is there or in the store."""
        staged = f"{STAGING}/{artifact.sha256}"
        if artifact.pulled or self.files.exists(staged) or self.files.exists(f"{STORE}/{artifact.sha256}"):
            return
        self.sent.append(artifact)
        self.files.put(staged, size=artifact.size)

    async def reconnect(self) -> None:
        """Raises Unreachable where a test says so."""
        if self.lets_in:
            return
        raise Unreachable(f"{self.name} lets no new connection in")

    async def settle(self, deadline: float = 600.0) -> None:
        """There is never another run."""

    async def perform(
        self, actions: Sequence[Action], *, title: str, deadline: float
    ) -> tuple[ActionResult, ...]:
        """Carry out actions in order; the first that fails ends the run, as on a host."""
        self.writes += 1
        results: list[ActionResult] = []
        for action in actions:
            try:
                results.append(self.carry_out(action.wire()))
            except Refused as error:
                kind = Busy if str(error).startswith("the package lock is held") else StepFailed
                raise kind(f"{title} on {self.name}: {error}") from None
        return tuple(results)

    def carry_out(self, wire: dict[str, Json]) -> ActionResult:
        """Carry out one action, as it travels. Raises Refused."""
        self.files.now += 0.1
        said = getattr(self, f"_do_{wire['op']}")(wire)
        self.done.append(wire)
        found = said if isinstance(said, Output) else Output(0, "", "")
        return ActionResult(found.status, found.stdout, found.stderr, 0.1)

    def answer_of(self, query: Raw) -> Raw:
        """The answer to one question, as it travels."""
        try:
            return {"ok": getattr(self, f"_query_{query['op']}")(query)}
        except Refused as error:
            return {"error": str(error)}

    def _do_write_file(self, action: Wire) -> None:
        content = base64.b64decode(str(action["content"]))
        self.files.write_file(str(action["path"]), content, *_owned(action))

    def _do_make_directory(self, action: Wire) -> None:
        self.files.make_directory(str(action["path"]), *_owned(action))

    def _do_make_link(self, action: Wire) -> None:
        self.files.make_link(str(action["path"]), str(action["target"]))

    def _do_remove_path(self, action: Wire) -> None:
        self.files.remove_path(str(action["path"]))

    def _do_set_sysctls(self, action: Wire) -> None:
        for name, value in _table(action["values"]).items():
            wanted = " ".join(value.split())
            if self.sysctls.get(name) == wanted:
                continue
            if name not in self.sysctls or name in self.fixed_sysctls:
                reason = "Read-only file system" if name in self.sysctls else "No such file or directory"
                raise Refused(f"the kernel setting {name} cannot be set to {wanted}: {reason}")
            self.sysctls[name] = wanted

    def _do_install_packages(self, action: Wire) -> None:
        missing = [name for name in _words(action["names"]) if name not in self.installed]
        if missing and self.lock_holder:
            patience = int(str(action["lock_timeout"]))
            raise Refused(f"the package lock is held by {self.lock_holder} for more than {patience} s")
        for name in missing:
            package = self.packages.get(name, Package(units=SERVICES.get(name, ())))
            if package is None:
                raise Refused(f"apt-get install ended with status 100: E: Unable to locate package {name}")
            self.installed[name] = package.version
            for path, text in package.files.items():
                self.files.put(path, text)
            for unit in package.units:
                self.files.put(f"/usr/lib/systemd/system/{unit}", UNIT.format(name=unit.partition(".")[0]))
                self.units.systemctl(("enable", unit))
                self.units.systemctl(("start", unit))

    def _do_install_artifact(self, action: Wire) -> None:
        digest, name, kind = (str(action[key]) for key in ("sha256", "name", "kind"))
        staged, place = f"{STAGING}/{digest}", f"{STORE}/{digest}"
        node = self.files.at(staged)
        if not self.files.exists(place) and node is None:
            raise Refused(f"{name} was not sent to this host")
        if kind == "archive" and not action.get("member"):
            self.files.make_directory(place, 0o755, "root", "root")
            for path, text in self.archives.get(name, {}).items():
                self.files.put(f"{place}/{path}", text, 0o755)
        elif not self.files.exists(f"{place}/{name}"):
            there = [self.files.at(f"{place}/{item}") for item in self.files.children(place)]
            size = next((item.size for item in there if item is not None), node.size if node else None)
            self.files.put(f"{place}/{name}", mode=0o644 if kind in ("image", "chart") else 0o755, size=size)
        self.files.remove_path(staged)

    def _do_run_command(self, action: Wire) -> Output:
        argv, allowed = _words(action["argv"]), action["ok"]
        for _ in range(max(1, int(str(action["attempts"])))):
            self.ran.append(argv)
            found = self._run(argv, str(action["stdin"]))
            if isinstance(allowed, list) and found.status in allowed:
                return found
            self.files.now += float(str(action["interval"]))
        said = ((found.stderr or found.stdout).strip().splitlines() or ["it said nothing"])[-1]
        raise Refused(f"{' '.join(argv)} ended with status {found.status}: {said}")

    def _run(self, argv: tuple[str, ...], given: str) -> Output:
        if argv[:1] == ("systemctl",) and not any(argv[: len(key)] == key for key in self.effects):
            return self.units.systemctl(argv[1:])
        if argv[:1] == ("modprobe",) and ("modprobe",) not in self.effects:
            self.files.make_directory(f"/sys/module/{argv[-1].replace('-', '_')}", 0o755, "root", "root")
            return Output(0, "", "")
        return self._called(self.effects, argv, given)

    def _do_apply_release(self, action: Wire) -> Output:
        namespace, name = str(action["namespace"]), str(action["name"])
        self._need_cluster()
        if not self.files.exists(HELM):
            raise Refused(f"helm upgrade --install ended with status 127: {HELM}: No such file or directory")
        self.cluster.namespaces.setdefault(namespace, {}).update(_table(action["labels"]))
        before = self.cluster.releases.get((namespace, name))
        revision = (before.revision if before else 0) + 1
        if name in self.cluster.refuses:
            self.cluster.releases[namespace, name] = FakeRelease("failed", revision, {})
            raise Refused("helm upgrade --install ended with status 1: Error: context deadline exceeded")
        record = {"chart": str(action["chart_digest"]), "values": str(action["values_digest"])}
        self.cluster.releases[namespace, name] = FakeRelease("deployed", revision, record)
        return Output(0, f'Release "{name}" has been upgraded.', "")

    def _do_make_cluster_secret(self, action: Wire) -> None:
        self._need_cluster()
        namespace, name = str(action["namespace"]), str(action["name"])
        self.cluster.namespaces.setdefault(namespace, {})
        there = self.cluster.secrets.setdefault((namespace, name), {})
        for key, size in _table(action["keys"]).items():
            there.setdefault(key, 2 * int(size))

    def _need_cluster(self) -> None:
        if not self._serves():
            raise Refused("kubectl apply ended with status 1: The connection to the server was refused")


def _program(says: str | Output | Program) -> Program:
    if callable(says):
        return says
    output = Output(0, says, "") if isinstance(says, str) else says
    return lambda _host, _argv, _given: output


def _words(value: Json) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def _table(value: Json) -> dict[str, str]:
    return {key: str(item) for key, item in value.items()} if isinstance(value, Mapping) else {}


def _owned(action: Wire) -> tuple[int, str, str]:
    return int(str(action["mode"])), str(action["owner"]), str(action["group"])
