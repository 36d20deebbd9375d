"""The rack's OpenID Connect provider, on its NAS: put there and started only when somebody asks for it.

It is the library `oidc-provider` with a page to sign in at; people and passwords are those of the NAS's
directory. The client's secret is made per rack and lies in a 0600 file beside the site file.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from deskside.errors import DesksideError
from deskside.lab import nas
from deskside.lab.hosts import write_file
from deskside.lab.process import run
from deskside.lab.rack import Rack
from deskside.lab.recipes import build, default_cache
from deskside.lab.recipes.openid import NODE, PLACE, PROGRAM
from deskside.lab.spec import Layout, Report

UNIT = "openid-provider.service"
CLIENT = "deskside"
SECONDS = 20
"""From its start until it answers."""


def secret_file(layout: Layout) -> Path:
    """Where the client's secret is."""
    return layout.folder / "okta.secret"


def issuer(layout: Layout) -> str:
    """As Okta's default authorization server has it."""
    assert layout.nas
    return f"https://{layout.fqdn(layout.nas)}/oauth2/default"


def identity_text(layout: Layout) -> str:
    """The section of the site file for it."""
    return f"""\
identity:
  kind: okta
  issuer: {issuer(layout)}
  client_id: {CLIENT}
  client_secret: {{file: {secret_file(layout).name}}}
  ca: {{file: {nas.AUTHORITY}}}
  allow: {{group: ai}}
  admins: [ann]
"""


async def start(rack: Rack, report: Report) -> None:
    """Put the provider on the NAS, start it, and wait until it answers; what it knew of before, it knows."""
    layout = rack.layout
    assert layout.nas
    built = (await build(["openid-provider"], cache=default_cache(), report=report))["openid-provider"]
    if not secret_file(layout).exists():
        secret_file(layout).touch(mode=0o600)
        secret_file(layout).write_text(secrets.token_urlsafe(24) + "\n")
    root = layout.root(layout.nas)
    await run(["tar", "-C", root, "-xf", built.path], "putting the provider on the NAS")
    certificate, key = nas.leaf(layout)
    write_file(root, f"{PLACE}/leaf.pem", certificate.decode())
    write_file(root, f"{PLACE}/leaf.key", key.decode(), 0o600)
    write_file(root, f"{PLACE}/settings.json", _settings(layout), 0o600)
    write_file(root, f"etc/systemd/system/{UNIT}", _UNIT_TEXT)
    host = rack.host(layout.nas.name)
    script = f"systemctl daemon-reload && systemctl enable -q {UNIT} && systemctl restart {UNIT}"
    started = await host.run(["sh", "-c", script])
    if not started.ok:
        raise DesksideError(f"starting the provider: {started.err.strip()}", hint="deskside lab logs nas")
    await wait_answering(rack)


async def wait_answering(rack: Rack) -> None:
    """Until the provider answers. Raises DesksideError when it does not."""
    nas_host = rack.layout.nas
    assert nas_host
    place = f"{issuer(rack.layout)}/.well-known/openid-configuration"
    patience = ("--retry", f"{SECONDS * 2}", "--retry-delay", "1", "--retry-max-time", f"{SECONDS}")
    ask = ("curl", "-sf", *patience, "--retry-connrefused", "--cacert", "/etc/ldap/tls/ca.pem", place)
    if not (await rack.host(nas_host.name).run(ask)).ok:
        hint = f"deskside lab logs {nas_host.name}"
        raise DesksideError(f"the provider does not answer at {place}", hint=hint)


async def remove(rack: Rack) -> None:
    """Stop it, and take it off the NAS with all that it knows."""
    assert rack.layout.nas
    files = f"/{PLACE} /etc/systemd/system/{UNIT}"
    script = f"systemctl disable -q --now {UNIT}; rm -rf {files}; systemctl daemon-reload"
    await rack.host(rack.layout.nas.name).run(["sh", "-c", script])


def _settings(layout: Layout) -> str:
    assert layout.nas
    return json.dumps(
        {
            "issuer": issuer(layout),
            "port": 443,
            "certificate": f"/{PLACE}/leaf.pem",
            "key": f"/{PLACE}/leaf.key",
            "directory": f"ldaps://{layout.fqdn(layout.nas)}",
            "base": layout.directory_root,
            "store": f"/{PLACE}/store.json",
            "client_id": CLIENT,
            "client_secret": secret_file(layout).read_text().strip(),
            "redirect_uris": [f"http://notebooks.{layout.domain}/hub/oauth_callback"],
        }
    )


_UNIT_TEXT = f"""\
[Unit]
Description=OpenID Connect provider (oidc-provider, backed by this host's directory)
After=network.target slapd.service

[Service]
ExecStart={NODE} {PROGRAM} /{PLACE}/settings.json
Restart=always

[Install]
WantedBy=multi-user.target
"""
