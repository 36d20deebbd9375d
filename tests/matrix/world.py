"""The site of the matrices: fake hosts, a modelled cluster, and artifacts of a few bytes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from addons.sites import locked_artifacts
from deskside.catalog import all_addons, all_steps, steps_for, wanted_artifacts
from deskside.hosts.fake import FakeCluster, FakeHost, bare_facts
from deskside.model.artifact import Locked
from deskside.model.platform import Platform
from deskside.model.query import Json, Output
from deskside.model.step import Step
from deskside.site.load import load
from deskside.site.trains import load_train
from deskside.steps import probes
from deskside.store.lock import LOCK_NAME, write_lock
from teaching import teach_host_steps

from .cluster import teach_kubernetes
from .served import Served

LATER = 4_000_000_000.0
"""Seconds since 1970: no certificate has run out."""
EVERY = (*(step.name for step in all_steps()), *(addon.name for addon in all_addons()))
"""Every step that there is."""
SLICES = (
    ("baseline", "container_runtime", "time_sync"),
    ("baseline", "names", "resolver", "firewall"),
    ("baseline", "homes", "security_updates"),
    EVERY,
)
"""Parts of it that need nothing outside, so that a thousand runs take minutes; and the whole."""
SITE = """
site: lab.example
admin: {{user: root, port: {port}, keys: [{key}.pub]}}
network:
  subnet: {net}.0/24
  gateway: {net}.1
  api: {net}.10
  load_balancer: {net}.200-{net}.220
  dhcp: {{provider: dnsmasq, on: ws1, range: {net}.150-{net}.199}}
  dns: {{provider: dnsmasq, on: ws1}}
hosts:
{hosts}
  - {{name: nas, mac: "00:11:32:10:00:20", address: {net}.20, roles: [storage], managed: false}}
identity:
  kind: ldap
  server: ldaps://nas.lab.example
  base: dc=lab,dc=example
  user_dn: "uid={{username}},cn=users,{{base}}"
  allow: {{group: "cn=ai,cn=groups,dc=lab,dc=example"}}
  admins: [ann]
storage:
  homes: {{source: "nas:/volume1/homes"}}
notebooks:
  hostname: notebooks.lab.example
  profiles:
    - {{name: Small desk, cpu: 2, memory: 4Gi, default: true}}
"""


def addresses(net: str, count: int = 2) -> dict[str, str]:
    """Of so many hosts (at most 100), by name; `net` is as 127.20.0. The NAS has 20."""
    return {f"ws{n}": f"{net}.{10 + n if n < 10 else 11 + n}" for n in range(1, count + 1)}


def card(address: str) -> str:
    """MAC of the host with this address."""
    return f"3c:ec:ef:10:00:{int(address.rpartition('.')[2]):02x}"


def write_site(folder: Path, net: str, port: int, key: Path, count: int = 2) -> Path:
    """The site file, its lock, and the cache with everything that the lock names."""
    path = folder / "site.yaml"
    hosts = "\n".join(
        f'  - {{name: {name}, mac: "{card(address)}", address: {address}, '
        f"roles: [{'server, worker' if name == 'ws1' else 'worker'}]}}"
        for name, address in addresses(net, count).items()
    )
    path.write_text(SITE.format(port=port, key=key, net=net, hosts=hosts))
    train = load_train(load(path).site.train)
    cache = folder / "cache/upstream"
    cache.mkdir(parents=True)
    lock: dict[str, Locked] = {}
    for name, locked in locked_artifacts(train).items():
        content = f"the artifact {name}\n".encode() * 20
        digest = sha256(content).hexdigest()
        (cache / digest).write_bytes(content)
        lock[name] = replace(locked, sha256=digest, size=len(content))
    wanted = {item.name for item in wanted_artifacts(load(path).site, train)}
    write_lock(folder / LOCK_NAME, train.name, {name: lock[name] for name in wanted})
    return path


def environment(folder: Path) -> dict[str, str]:
    """Of a controller."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {
        **kept,
        "HOME": str(folder),
        "DESKSIDE_CACHE": str(folder / "cache"),
        "XDG_STATE_HOME": str(folder / "state"),
    }


def bare_hosts(net: str, lock: Mapping[str, Locked], count: int = 2) -> dict[str, Served]:
    """Hosts as their installer left them."""
    served, cluster = {}, FakeCluster(reachable=False)
    for name, address in addresses(net, count).items():
        link: Json = {"name": "eth0", "addresses": [f"{address}/24"], "mtu": 1500, "mac": card(address)}
        host = FakeHost(name, facts={**bare_facts(name, address), "interfaces": [link]}, cluster=cluster)
        teach_host_steps(host, lock)
        teach_kubernetes(host)
        host.answer("python3", "-c", says=_probed)
        host.tls[f"{net}.20", 636] = {"error": "", "names": ["nas.lab.example"], "not_after": LATER}
        host.answer("env", "LDAPTLS_REQCERT=never", "ldapsearch", says="dn: dc=lab,dc=example\n")
        served[name] = Served(host)
    return served


def _probed(_host: FakeHost, argv: tuple[str, ...], given: str) -> Output:
    """What the checks before a run hear of a network where all is well."""
    return Output(0, next((says for text, says in PROBES.items() if text == argv[2]), ""), "")


def _probe(name: str) -> str:
    return Path(probes.__file__).with_name(f"{name}_probe.py").read_text()


PROBES = {
    _probe("arp"): "{}",
    _probe("dhcp"): "[]",
    _probe("fsync"): '{"path": "/", "milliseconds": 1}',
}


def steps_named(platform: Platform, names: Sequence[str]) -> tuple[Step, ...]:
    """Those of a platform's steps, in the catalog's order."""
    return tuple(step for step in steps_for(platform) if step.name in names)


def state_of(hosts: Mapping[str, Served]) -> str:
    """All of the hosts that a run changes, as text; moments are left out."""
    found: dict[str, object] = {name: _state(served.host) for name, served in hosts.items()}
    found["cluster"] = _state_of_cluster(next(iter(hosts.values())).host.cluster)
    return json.dumps(found, indent=1, sort_keys=True)


def _state_of_cluster(cluster: FakeCluster) -> dict[str, object]:
    return {
        "objects": {" ".join(name): item for name, item in cluster.objects.items()},
        "releases": {" ".join(name): [one.status, one.record] for name, one in cluster.releases.items()},
        "secrets": {" ".join(name): keys for name, keys in cluster.secrets.items()},
        "notes": {" ".join(name): note for name, note in cluster.notes.items()},
    }


def _state(host: FakeHost) -> dict[str, object]:
    return {
        "files": {
            path: [node.kind, node.mode, node.owner, node.group, node.content.hex(), node.target, node.size]
            for path, node in host.files.nodes.items()
        },
        "packages": dict(host.installed),
        "settings": dict(host.sysctls),
        "units": {name: how.active for name, how in host.units.running.items()},
    }


TICKET = re.compile(r"[0-9a-f]{6}\.[0-9a-f]{16}")
TICKETS = re.compile(r'("bootstrap-token-[0-9a-f]{6}"(, )?)+')


def _shown(action: Mapping[str, Json]) -> str:
    """An action as text, the same for every ticket: each run that needs one makes its own."""
    if str(action.get("path")).endswith("kubeadm-join.yaml"):
        action = {**action, "content": "with a ticket"}
    return TICKETS.sub('"tickets"', TICKET.sub("a ticket", json.dumps(action)))


def done_by(hosts: Mapping[str, Served]) -> dict[str, int]:
    """How often each action was carried out, and each file received, by host."""
    counts: dict[str, int] = {}
    for name, served in hosts.items():
        for done in (*map(_shown, served.host.done), *served.received):
            counts[f"{name}: {done}"] = counts.get(f"{name}: {done}", 0) + 1
    return counts
