"""The administrator's access is added under a name of its own; what others wrote stays as it is."""

from pathlib import Path

import pytest
import yaml

from deskside.app.kubeconfig import merge_into, renamed
from deskside.errors import DesksideError
from deskside.site.load import load

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/site.yaml"
ADMIN = b"""
clusters: [{name: kubernetes, cluster: {server: "https://api:6443", certificate-authority-data: Q0E=}}]
users: [{name: kubernetes-admin, user: {client-key-data: S0VZ}}]
contexts: []
"""


def test_it_names_the_address_and_the_name_in_the_certificate() -> None:
    site = load(EXAMPLE).site
    found = yaml.safe_load(renamed(ADMIN, site).reveal())
    cluster = found["clusters"][0]["cluster"]
    assert cluster["server"] == f"https://{site.network.api}:6443"
    assert cluster["tls-server-name"] == site.api_name
    assert cluster["certificate-authority-data"] == "Q0E="
    assert found["current-context"] == f"deskside-{site.name}"


def test_merging_twice_leaves_one_entry_and_everything_else(tmp_path: Path) -> None:
    path, ours = tmp_path / "config", renamed(ADMIN, load(EXAMPLE).site)
    theirs = {
        "clusters": [{"name": "work", "cluster": {}}],
        "users": [],
        "contexts": [],
        "current-context": "work",
    }
    path.write_text(yaml.safe_dump(theirs))
    merge_into(path, ours)
    name = merge_into(path, ours)
    found = yaml.safe_load(path.read_text())
    assert [item["name"] for item in found["clusters"]] == ["work", name]
    assert found["current-context"] == "work"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_kubeconfig_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("[1, 2")
    with pytest.raises(DesksideError, match="not a kubeconfig"):
        merge_into(path, renamed(ADMIN, load(EXAMPLE).site))
    assert path.read_text() == "[1, 2"
