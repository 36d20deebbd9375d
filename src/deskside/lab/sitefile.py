"""The site file that a person would have written for a rack. Written once, then theirs."""

from __future__ import annotations

from deskside.lab.hosts import name_servers
from deskside.lab.nas import AUTHORITY, secret_file
from deskside.lab.spec import Layout

TRAIN = "2026-11-rack"


def site_text(layout: Layout) -> str:
    """The whole file. A rack without a NAS has no homes, and gets none (see `rack.up`)."""
    nas = layout.nas
    assert nas
    host_lines = "\n".join(
        f'  - {{name: {host.name}, address: {layout.address(host)}, mac: "{layout.mac(host.number)}", '
        f"roles: [{', '.join(host.roles)}]{'' if host.managed else ', managed: false'}}}"
        for host in layout.hosts
    )
    first = layout.hosts[0].name
    return f"""\
# Site file of the rack `{layout.name}`. Change it as you like: `deskside plan` says what that means.
site: {layout.domain}
train: {TRAIN}

admin: {{user: ops, keys: [{layout.key.name}.pub]}}

network:
  subnet: {layout.subnet}
  gateway: {layout.gateway}
  api: {layout.api}                  # held by the servers in turn
  load_balancer: {layout.load_balancer}
  pods: 10.42.0.0/16
  services: 10.43.0.0/16
  pod_network: flat
  # One workstation hands out addresses and knows the names; for all others it asks whom this machine asks.
  dhcp: {{provider: dnsmasq, on: {first}, range: {layout.prefix}100-{layout.prefix}199}}
  dns: {{provider: dnsmasq, on: {first}, forwarders: [{", ".join(name_servers())}]}}

hosts:
{host_lines}

{_directory_text(layout)}
kubernetes: {{distro: kubeadm, version: "1.36"}}

storage:
  homes: {{source: "{nas.name}:/volume1/homes"}}
  volumes: {{kind: local}}

ingress: {{kind: none}}                # plain HTTP: passwords travel unencrypted

{_people_text(layout)}"""


def _people_text(layout: Layout) -> str:
    """What people get, and as whom it is tried."""
    return f"""\
notebooks:
  hostname: notebooks.{layout.domain}
  profiles:
    - {{name: Small desk, cpu: 0.25, memory: 512Mi}}
    - {{name: Large desk, cpu: 0.5, memory: 1Gi}}

verify:
  user: {{name: ann, password: {{file: {secret_file(layout, "ann").name}}}}}
  outsider: {{name: bob, password: {{file: {secret_file(layout, "bob").name}}}}}
"""


def _directory_text(layout: Layout) -> str:
    """Where people's accounts are."""
    nas, top = layout.nas, layout.directory_root
    assert nas
    return f"""\
# The directory is the NAS's own; its certificate is signed by an authority of the NAS.
identity:
  kind: ldap
  server: ldaps://{layout.fqdn(nas)}
  ca: {{file: {AUTHORITY}}}
  base: "{top}"
  user_dn: "uid={{username}},cn=users,{{base}}"
  allow: {{group: "cn=ai,cn=groups,{top}"}}
  admins: [ann]

"""
