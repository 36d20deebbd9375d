"""Good and bad site files: the number and the text of what is said about them."""

from __future__ import annotations

import hashlib
import os
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml

from deskside.errors import SiteError
from deskside.site.load import load, problems
from deskside.site.schema import Role, pod_range
from deskside.site.trains import load_train

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "docs/examples/site.yaml"
GOOD = (HERE / "good.yaml").read_text("utf-8")
CASES = yaml.safe_load((HERE / "cases.yaml").read_text("utf-8"))


def written(folder: Path, text: str | bytes) -> Path:
    """A site file with that content."""
    path = folder / "site.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def spoiled(*changes: tuple[str, str]) -> str:
    """The good file with each first text replaced by its second; each must be there."""
    text = GOOD
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def said(folder: Path, text: str | bytes) -> list[str]:
    """What is said about a file, without its path."""
    path = written(folder, text)
    return [str(problem).removeprefix(f"{path}") for problem in problems(path)]


def test_good_file_has_no_problems_and_its_values(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    loaded = load(path)
    site = loaded.site
    assert loaded.warnings == ()
    assert loaded.digest == hashlib.sha256(GOOD.encode()).hexdigest()
    assert loaded.folder == tmp_path
    assert (site.name, site.api_name) == ("lab.example", "api.lab.example")
    assert site.fqdn("ws2") == site.fqdn(site.hosts[1]) == "ws2.lab.example"
    assert [host.name for host in site.servers] == ["ws1"]
    assert [host.name for host in site.workers] == ["ws1", "ws2"]
    assert [host.name for host in site.storage_hosts] == ["nas"] == [site.homes_host.name]
    assert [host.name for host in site.managed_hosts] == ["ws1", "ws2"] == [host.name for host in site.nodes]
    assert site.host("ws1").roles == (Role.SERVER, Role.WORKER)
    assert site.host("ws1").mac == "02:00:00:00:00:11"
    assert site.train == "2026-11"
    assert site.kubernetes.version == "1.36"
    assert site.ldap is not None
    assert (site.ldap.server.starttls, site.ldap.server.port) == (False, 636)
    assert site.ldap.user_dn == "uid={username},cn=users,dc=lab,dc=example"
    assert site.ldap.user("ann") == "uid=ann,cn=users,dc=lab,dc=example"
    assert IPv4Address("10.20.0.205") in site.network.load_balancer
    assert len(site.network.load_balancer) == 21
    assert site.notebooks.profiles[0].memory.bytes == 4 * 1024**3
    assert pod_range(site, site.host("ws2")) == IPv4Network("10.42.12.0/24")
    with pytest.raises(KeyError):
        site.host("ws9")


def test_the_example_of_the_documentation_has_no_problems() -> None:
    assert problems(EXAMPLE) == ()


def test_numbers_in_text_fields_keep_what_was_written(tmp_path: Path) -> None:
    text = spoiled(("02:00:00:00:00:11", "10:20:30:40:50:10"), ("name: CPU desk", "name: 1.10"))
    site = load(written(tmp_path, text)).site
    assert site.hosts[0].mac == "10:20:30:40:50:10"
    assert site.notebooks.profiles[0].name == "1.10"


def test_values_of_charts_are_typed_and_free(tmp_path: Path) -> None:
    more = "  values: {hub: {n: 3, f: 0.5, on: true, none: ~, day: 2026-11-02, text: '3', list: [1]}}\n"
    more += "releases:\n  local-path:\n    chart: {path: charts/lp.tgz}\n    values: {a: {b: 1}}\n"
    site = load(written(tmp_path, spoiled(("verify:\n", f"{more}verify:\n")))).site
    # `on` is a key here: keys are texts, whatever YAML 1.1 thinks of them.
    assert site.release("jupyterhub").values == {
        "hub": {"n": 3, "f": 0.5, "on": True, "none": None, "day": "2026-11-02", "text": "3", "list": [1]}
    }
    assert site.release("local-path").values == {"a": {"b": 1}}
    chart = site.release("local-path").chart
    assert chart is not None
    assert chart.path == Path("charts/lp.tgz")
    assert site.release("metallb").chart is None


@pytest.mark.parametrize("case", CASES["one_change"], ids=lambda case: case["case"])
def test_one_change(case: dict[str, Any], tmp_path: Path) -> None:
    assert said(tmp_path, spoiled((case["old"], case["new"]))) == case["said"]
    assert "hunter2" not in str(said(tmp_path, spoiled((case["old"], case["new"]))))


@pytest.mark.parametrize("case", CASES["later"], ids=lambda case: case["text"])
def test_what_a_later_version_will_know(case: dict[str, str], tmp_path: Path) -> None:
    assert f":1: {case['said']}" in said(tmp_path, case["text"])


def test_everything_at_once(tmp_path: Path) -> None:
    """Errors of fields and rules between fields come in one report, in the order of lines."""
    text = spoiled(
        ("site: lab.example", "site: lab.local"),
        ("gateway: 10.20.0.1", "gateway: 10.20.0.11\n  dhcp: {}"),
        ("name: ws2", "name: ws1, gpu: 1"),
        ("roles: [worker]", "roles: [wrker]"),
        ("nas:/volume1", "nsa:/volume1"),
        ("cpu: 2", "cpu: -2"),
    )
    with pytest.raises(SiteError) as raised:
        load(written(tmp_path, text))
    assert [problem.field for problem in raised.value.problems] == [
        "site", "network.dhcp.provider", "network.dhcp.range", "hosts[0].address", "hosts[1].gpu",
        "hosts[1].name", "hosts[1].roles[0]", "storage.homes.source", "notebooks.profiles[0].cpu",
    ]  # fmt: skip
    assert raised.value.message == f"{tmp_path / 'site.yaml'} has 9 problems"
    assert raised.value.exit_code == 3


def test_warnings_refuse_nothing(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, spoiled(("roles: [worker]", "roles: [server, worker]"))))
    assert [warning.field for warning in loaded.warnings] == ["hosts"]
    assert len(loaded.site.servers) == 2


def test_starttls_and_port(tmp_path: Path) -> None:
    server = load(written(tmp_path, spoiled(("ldaps://nas.lab", "ldap://nas.lab")))).site.identity.server
    assert server is not None
    assert (server.starttls, server.port, str(server)) == (True, 389, "ldap://nas.lab.example")
    text = spoiled(("ldaps://nas.lab.example", "ldaps://nas.lab.example:1636"))
    assert str(load(written(tmp_path, text)).site.identity.server) == "ldaps://nas.lab.example:1636"


def test_allow_all(tmp_path: Path) -> None:
    text = spoiled(('{group: "cn=ai,cn=groups,dc=lab,dc=example"}', "{all: true}"))
    assert load(written(tmp_path, text)).site.identity.allow.all is True
    assert said(tmp_path, text.replace("all: true", "all: false")) != []


def test_a_disk_by_its_serial_number(tmp_path: Path) -> None:
    text = spoiled(("roles: [worker]", "roles: [worker], data: {device: /dev/sdb, serial: 0012345}"))
    data = load(written(tmp_path, text)).site.hosts[1].data
    assert data is not None
    assert not isinstance(data, str)
    assert data.serial == "0012345"


@pytest.mark.parametrize("case", CASES["whole_file"], ids=lambda case: case["case"])
def test_file_that_cannot_be_used_at_all(case: dict[str, str], tmp_path: Path) -> None:
    assert said(tmp_path, case["content"].encode("latin-1")) == [case["said"]]


def test_file_that_is_too_much(tmp_path: Path) -> None:
    deep = ":1: is nested deeper than 20 levels; correct the indentation"
    large = ": is larger than 64 KiB; a site file has a few kilobytes; name the right file"
    many = ":2500: holds more than 5000 values; name the right file"
    assert said(tmp_path, b"[" * 60_000) == [deep]
    assert said(tmp_path, b"a: {" * 15_000) == [deep]
    assert said(tmp_path, b"a:\n" * 20_000) == [many]
    assert said(tmp_path, b"#" * (64 * 1024 + 1)) == [large]


def test_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "absent.yaml", "there is no such file"),
        (tmp_path, "is no ordinary file"),
        (tmp_path / "pipe", "is no ordinary file"),
        (Path("/dev/zero"), "is no ordinary file"),
        (Path("nul\0"), "is no name of a file"),
        (tmp_path / ("x" * 300), "cannot be read"),
    ):
        (problem,) = problems(path)
        assert words in problem.message
        with pytest.raises(SiteError):
            load(path)


def test_a_broken_file_names_its_line(tmp_path: Path) -> None:
    (line,) = said(tmp_path, "site: x\nadmin: {user: ops\nnetwork: 3\n")
    assert line.startswith(":3: is no YAML: ")


def test_what_a_file_says_cannot_reach_the_terminal_raw(tmp_path: Path) -> None:
    texts = ('"\\e[31mred": 1\n', 'site: "\\e]0;x\\a"\n', '"\\ud800": 1\n', f"{'k' * 5000}: 1\n", '"": 1\n')
    for text in texts:
        for line in said(tmp_path, text):
            assert line.isprintable()
            assert len(line) < 800
            line.encode()


def test_byte_order_mark_and_carriage_returns_are_fine(tmp_path: Path) -> None:
    assert said(tmp_path, b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()) == []


def test_keys_that_are_no_text(tmp_path: Path) -> None:
    lines = said(tmp_path, "? [a]\n: 1\nsite: lab.example\n")
    assert ":1: has a key that is no text; write KEY: VALUE" in [line.replace(" :", "", 1) for line in lines]


def test_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    text = spoiled(("verify:", "  values: {a: .inf, b: 0b_}\nverify:"))
    assert said(tmp_path, text) == [
        ":32: notebooks.values.a: is a number that JSON does not have; write another, or quote it",
        ":32: notebooks.values.b: is a number that JSON does not have; write another, or quote it",
    ]


def test_the_train_that_a_site_names_is_known(tmp_path: Path) -> None:
    site = load(written(tmp_path, GOOD)).site
    assert load_train(site.train).kubernetes_minor == site.kubernetes.version
