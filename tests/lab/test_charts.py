"""The stand-in charts: named as such, closed to unknown keys, and moved by every key that Deskside sets."""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml

from addons.sites import CHART_OF, facts_of, releases
from deskside.addons.values import merged
from deskside.errors import SiteError
from deskside.lab.charts import CHARTS, package_chart
from deskside.resources.release import _plain

Render = Callable[[str, Mapping[str, object]], list[dict[str, Any]]]
SECRETS = {
    "hub": {
        "cookieSecret": "ab" * 32,
        "config": {"CryptKeeper": {"keys": ["cd" * 32]}},
        "services": {"deskside": {"apiToken": "12" * 32}},
    },
    "proxy": {"secretToken": "ef" * 32},
}
"""What the chart would make at random, so that two renderings can be compared."""


def folder(chart: str) -> Path:
    return CHARTS[f"{chart}-chart"]


def schema(chart: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder(chart) / "values.schema.json").read_text())
    return found


def defaults(chart: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder(chart) / "values.yaml").read_text())
    return found


def deskside_values(release: str) -> dict[str, Any]:
    found: Any = _plain(releases()[release].values)
    return merged(found, SECRETS) if release == "jupyterhub" else dict(found)


def properties(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, below in found.get("properties", {}).items():
        yield f"{prefix}{key}", below
        yield from properties(below, f"{prefix}{key}.")


@pytest.mark.parametrize("chart", CHART_OF.values())
def test_stand_ins_say_what_they_are(chart: str) -> None:
    about = yaml.safe_load((folder(chart) / "Chart.yaml").read_text())
    assert about["name"] == chart
    assert about["description"].startswith("Stand-in of Deskside for ")
    assert (folder(chart) / "README.md").read_text().startswith(f"# {chart}: a stand-in\n")


@pytest.mark.parametrize("chart", CHART_OF.values())
def test_schema_lists_only_keys_of_upstream(chart: str) -> None:
    facts = facts_of(chart)
    known = set(facts) | {key.rpartition(".")[0] for key in facts}
    known |= {key.rpartition(".")[0] for key in known}
    listed = [path for path, _ in properties(schema(chart))]
    assert [path for path in listed if path not in known] == []
    assert len(listed) > 30


@pytest.mark.parametrize("chart", CHART_OF.values())
def test_schema_is_closed(chart: str) -> None:
    found = schema(chart)
    jsonschema.Draft7Validator.check_schema(found)
    jsonschema.validate(defaults(chart), found)
    for path, below in [("", found), *properties(found)]:
        if "properties" in below:
            assert below["additionalProperties"] is False, path
    with pytest.raises(jsonschema.ValidationError, match="nonsense"):
        jsonschema.validate({"nonsense": 1}, found)


@pytest.mark.parametrize("release", CHART_OF)
def test_schema_takes_what_deskside_sets(release: str) -> None:
    jsonschema.validate(deskside_values(release), schema(CHART_OF[release]))


@pytest.mark.parametrize("name", CHARTS)
def test_packages_repeat_and_carry_the_version(name: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = package_chart(name, "0.1.0-standin", tmp_path)
    second = package_chart(name, "0.1.0-standin", tmp_path / "other")
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as tar:
        names = tar.getnames()
        about = tar.extractfile(f"{CHARTS[name].name}/Chart.yaml")
        assert about is not None
        assert yaml.safe_load(about.read())["version"] == "0.1.0-standin"
    assert names == sorted(names)
    assert {item.partition("/")[0] for item in names} == {CHARTS[name].name}


def test_an_unknown_chart_has_no_stand_in(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="no stand-in for the chart traefik"):
        package_chart("traefik", "1.0.0", tmp_path)


class Config(dict[str, Any]):
    """As much of a traitlets Config as the hub's configuration uses: sections and traits by attribute."""

    def __getattr__(self, name: str) -> Any:
        if name[0].isupper():
            return self.setdefault(name, Config())
        return self[name]

    def __missing__(self, name: str) -> Any:
        return self.setdefault(name, Config())

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def hub_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("z2jh", folder("jupyterhub") / "files" / "z2jh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hub_config(values: Mapping[str, Any], root: Path, existing: Mapping[str, str] | None = None) -> Config:
    """What the hub makes of the values."""
    files = {"secret/values.yaml": yaml.safe_dump(merged(defaults("jupyterhub"), values))}
    files |= {f"existing-secret/{name}": text for name, text in (existing or {}).items()}
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    module = hub_module()
    module.ROOT = root  # type: ignore[attr-defined]
    config = Config()
    module.configure(config)
    return config


def hub_code(values: Mapping[str, Any], root: Path) -> list[str]:
    """Code of `hub.extraConfig` that the hub would run, in its order: the chart's own file, told not to."""
    hub_config(values, root)
    module, ran = hub_module(), list[str]()
    module.ROOT = root  # type: ignore[attr-defined]
    client = ModuleType("tornado.httpclient")
    client.AsyncHTTPClient = SimpleNamespace(configure=lambda _: None)  # type: ignore[attr-defined]
    path = folder("jupyterhub") / "files" / "jupyterhub_config.py"
    told = {"__file__": str(path), "c": Config(), "exec": ran.append, "print": lambda _: None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        patch.setitem(sys.modules, "z2jh", module)
        patch.setitem(sys.modules, "tornado.httpclient", client)
        exec(compile(path.read_text(), path, "exec"), told)  # the file is ours
    return ran


def test_hub_runs_the_code_of_the_directory(tmp_path: Path) -> None:
    directory, leaving = hub_code(deskside_values("jupyterhub"), tmp_path)
    assert "class DirectoryAuthenticator" in directory
    assert "class Leaving" in leaving


def test_hub_reads_its_config_from_the_values(tmp_path: Path) -> None:
    config = hub_config(deskside_values("jupyterhub"), tmp_path)
    assert config.LDAPAuthenticator.allowed_groups == ["cn=ai,cn=groups,dc=lab,dc=example"]
    assert config.JupyterHub.authenticator_class == "ldapauthenticator.LDAPAuthenticator"
    assert config.KubeSpawner.image == "quay.io/jupyter/scipy-notebook:hub-5.5.0"
    assert config.KubeSpawner.start_timeout == 1200
    assert [item["name"] for item in config.KubeSpawner.init_containers] == ["own-folders"]
    assert [item["mountPath"] for item in config.KubeSpawner.volume_mounts] == [
        "/home/jovyan",
        "/scratch",
        "/etc/ipython/ipython_config.json",
        "/etc/jupyter/jupyter_server_config.json",
    ]
    culler, own = config.JupyterHub.services
    assert "--timeout=86400" in culler["command"]
    assert own["name"] == "deskside"
    (role,) = [role for role in config.JupyterHub.load_roles if role["name"] == "deskside"]
    assert role["services"] == ["deskside"]
    assert not [scope for scope in role["scopes"] if scope.startswith("admin:")]


def test_hub_prefers_the_existing_secret(tmp_path: Path) -> None:
    existing = {
        "hub.config.JupyterHub.cookie_secret": "12" * 32,
        "hub.config.CryptKeeper.keys": "34" * 32,
        "hub.services.deskside.apiToken": "56" * 32,
        "values.yaml": "hub: {config: {LDAPAuthenticator: {server_port: 1}}}",
    }
    config = hub_config(deskside_values("jupyterhub"), tmp_path, existing)
    assert config.JupyterHub.services[-1]["api_token"] == "56" * 32
    assert config.JupyterHub.cookie_secret == "12" * 32
    assert config.CryptKeeper["keys"] == ["34" * 32]
    assert config.LDAPAuthenticator.server_port == 1


def test_hub_blocks_cloud_metadata_by_default(tmp_path: Path) -> None:
    config = hub_config({}, tmp_path)
    assert [item["name"] for item in config.KubeSpawner.init_containers] == ["block-cloud-metadata"]
    assert config.KubeSpawner.pvc_name_template == "claim-{user_server}"


def leaf_paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from leaf_paths(below, (*path, key))
    else:
        yield path


OTHER_WORDS = {
    "LoadBalancer": "ClusterIP",
    "sqlite-pvc": "sqlite-memory",
    "static": "none",
    "IfNotPresent": "Always",
}
"""Words for which the schema knows others."""


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return OTHER_WORDS.get(value, f"{value}x")
    return [*value, {"name": "more"}] if isinstance(value, list) else {"more": "x"}


def with_change(values: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    result = copy.deepcopy(dict(values))
    below = result
    for key in path[:-1]:
        below = below[key]
    below[path[-1]] = changed(below[path[-1]])
    return result


def seen(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what carries all values as they are: that a key arrives there says nothing of its effect."""
    objects = copy.deepcopy(objects)
    for item in objects:
        if item["kind"] == "Secret":
            item.get("data", {}).pop("values.yaml", None)
        template = item.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
        template.pop("checksum/values", None)
    return objects


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Helm as the rack has it: the recipe's binary, called by that name."""
    import asyncio

    from deskside.lab.recipes import build, default_cache

    built = asyncio.run(build(["kube"], cache=default_cache(), report=lambda name, line: None))
    link = tmp_path_factory.mktemp("helm") / "helm"
    link.symlink_to(built["kube"].path)
    return link


@pytest.fixture
def render(helm: Path) -> Render:
    def call(chart: str, values: Mapping[str, object]) -> list[dict[str, Any]]:
        argv: list[str | Path] = [helm, "template", "x", folder(chart), "-n", "ns", "-f", "-"]
        ended = subprocess.run(
            argv, input=yaml.safe_dump(values), capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return [item for item in yaml.safe_load_all(io.StringIO(ended.stdout)) if item]

    return call


@pytest.mark.rack
@pytest.mark.parametrize("chart", CHART_OF.values())
def test_helm_finds_nothing_wrong(helm: Path, chart: str) -> None:
    ended = subprocess.run(
        [helm, "lint", "--strict", folder(chart)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout


@pytest.mark.rack
@pytest.mark.timeout(300)
@pytest.mark.parametrize("release", CHART_OF)
def test_every_key_that_deskside_sets_moves_something(release: str, render: Render, tmp_path: Path) -> None:
    chart, values = CHART_OF[release], deskside_values(release)
    before = seen(render(chart, values))
    assert before == seen(render(chart, values)), "rendering repeats"
    hub = release == "jupyterhub"
    config = hub_config(values, tmp_path) if hub else None
    code = hub_code(values, tmp_path) if hub else None
    still = []
    for path in leaf_paths(values):
        other = with_change(values, path)
        if hub and (hub_config(other, tmp_path) != config or hub_code(other, tmp_path) != code):
            continue
        try:
            if seen(render(chart, other)) != before:
                continue
        except AssertionError as refused:
            # A stand-in that lacks something says so by the name of the key.
            if ".".join(path) in str(refused):
                continue
            raise
        still.append(".".join(path))
    assert still == []


@pytest.mark.rack
def test_policies_are_rendered_for_hub_proxy_and_desks(render: Render) -> None:
    found = render("jupyterhub", deskside_values("jupyterhub"))
    policies = {item["metadata"]["name"]: item for item in found if item["kind"] == "NetworkPolicy"}
    assert set(policies) == {"hub", "proxy", "singleuser"}
    private = {"ipBlock": {"cidr": "192.168.0.0/16"}}
    open_to = [rule["to"] for rule in policies["singleuser"]["spec"]["egress"] if "ports" not in rule]
    assert not any(private in to for to in open_to)
    assert any(private in rule["to"] for rule in policies["hub"]["spec"]["egress"] if "ports" not in rule)


@pytest.mark.rack
def test_tracked_crds_are_what_the_recipe_generates() -> None:
    import asyncio

    from deskside.lab.recipes import build, default_cache

    built = asyncio.run(build(["metallb-crds"], cache=default_cache(), report=lambda name, line: None))
    assert (folder("metallb") / "files" / "crds.yaml").read_bytes() == built["metallb-crds"].path.read_bytes()
