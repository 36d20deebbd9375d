"""The arithmetic of a rack: names, addresses, site file, rules. No root, no hosts."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from deskside.errors import DesksideError, UsageError
from deskside.lab import breaks, disks, hosts, kernel, nas, network
from deskside.lab.machine import Machine
from deskside.lab.rack import find
from deskside.lab.sitefile import site_text
from deskside.lab.spec import (
    LINK_LENGTH,
    Layout,
    RackHost,
    RackSpec,
    load_layout,
    racks_folder,
    recorded_racks,
    workstations,
)
from deskside.site.load import load

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", fullmatch=True)


def layout_in(folder: Path, **kind: int) -> Layout:
    folder.mkdir(parents=True, exist_ok=True)
    return Layout(RackSpec("t-lab", workstations(kind.get("servers", 1), kind.get("workers", 2))), 7, folder)


@given(NAMES, NAMES)
def test_link_names_fit_and_carry_the_rack(rack: str, host: str) -> None:
    layout = Layout(RackSpec(rack, (RackHost(host, 11, ("server",)),)), 7, Path("/x"))
    one = layout.hosts[0]
    assert len(layout.link(one)) <= LINK_LENGTH
    assert len(layout.bridge) <= LINK_LENGTH
    other = Layout(RackSpec("z" + rack[:19].rstrip("-"), layout.hosts), 7, Path("/x"))
    if other.name != rack:
        assert layout.link(one) != other.link(one)
        assert layout.bridge != other.bridge
        assert layout.table != other.table
        assert layout.mac(11) != other.mac(11) or layout.mac(1)[:11] == other.mac(1)[:11]


def test_a_layout_survives_its_record(tmp_path: Path) -> None:
    layout = layout_in(tmp_path / "t-lab", servers=3, workers=1)
    layout.save()
    assert load_layout(layout.folder) == layout
    assert recorded_racks(tmp_path) == {"t-lab": layout}


@pytest.mark.parametrize("text", ["", "{}", '{"spec": 1}', "[]", "\x00"])
def test_a_torn_record_is_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "rack.json").write_text(text)
    with pytest.raises(DesksideError, match=r"rack\.json"):
        load_layout(tmp_path)


@pytest.mark.parametrize("name", ["", "Demo", "-x", "x-", "a_b", "a" * 21, "../x", "1a"])
def test_names_that_cannot_be_a_rack(name: str) -> None:
    with pytest.raises(UsageError):
        RackSpec(name)


def test_hosts_may_not_share_name_or_number() -> None:
    one = RackHost("ws1", 11, ("server",))
    for other in (replace(one, number=12), replace(one, name="ws2")):
        with pytest.raises(UsageError):
            RackSpec("t-lab", (one, other))


def test_three_servers_and_one_small_host() -> None:
    assert [host.roles for host in workstations(3, 0, nas=False)] == [("server", "worker")] * 3
    small = workstations(1, 0, disk=6)
    assert [(host.name, host.disk, host.managed) for host in small] == [("ws1", 6, True), ("nas", 6, False)]


def test_subnets_are_free_and_the_same_each_time() -> None:
    assert network.free_subnet("demo", []) == 0
    assert network.free_subnet("demo", [IPv4Network("10.77.0.0/23")]) == 2
    first = network.free_subnet("t-lab", [])
    assert first == network.free_subnet("t-lab", [IPv4Network("192.0.2.0/24")])
    assert network.free_subnet("t-lab", [IPv4Network(f"10.77.{first}.0/24")]) == (first + 1) % 255
    with pytest.raises(DesksideError, match="in use"):
        network.free_subnet("t-lab", [IPv4Network("10.0.0.0/8")])


@pytest.mark.parametrize("kind", [{}, {"servers": 3, "workers": 0}, {"workers": 0}])
def test_the_site_file_is_valid(tmp_path: Path, kind: dict[str, int]) -> None:
    layout = layout_in(tmp_path, **kind)
    nas.make_secrets(layout)
    layout.key.with_suffix(".pub").write_text("ssh-ed25519 AAAA rack\n")
    layout.site_file.write_text(site_text(layout))
    site = load(layout.site_file).site
    assert site.site == "t-lab.example"
    assert [host.name for host in site.hosts] == [host.name for host in layout.hosts]
    assert str(site.network.api) == layout.api
    assert site.homes_host.name == "nas"
    assert site.identity.allow.group == "cn=ai,cn=groups,dc=t-lab,dc=example"


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    nas.make_secrets(layout)
    before = {path: path.read_bytes() for path in tmp_path.glob("*.secret")}
    assert len(before) == 4
    assert len(set(before.values())) == 4
    nas.make_secrets(layout)
    assert before == {path: path.read_bytes() for path in tmp_path.glob("*.secret")}
    for path in (*before, tmp_path / "secrets/nas-ca.key"):
        assert path.stat().st_mode & 0o077 == 0


def test_the_certificate_has_the_names_of_the_nas(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    nas.make_secrets(layout)
    certificate = x509.load_pem_x509_certificate(nas.leaf(layout)[0])
    known = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert known.get_values_for_type(x509.DNSName) == ["nas.t-lab.example", "nas"]
    assert [str(one) for one in known.get_values_for_type(x509.IPAddress)] == ["10.77.7.20"]
    authority = x509.load_pem_x509_certificate((tmp_path / nas.AUTHORITY).read_bytes())
    certificate.verify_directly_issued_by(authority)
    expired = x509.load_pem_x509_certificate(nas.leaf(layout, days=-1)[0])
    assert expired.not_valid_after_utc < certificate.not_valid_before_utc


def test_rules_spare_what_stays_on_the_switch(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    assert f'oifname != "{layout.bridge}" masquerade' in network.rules(layout)


def test_a_host_may_not_set_the_clock_or_load_modules(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    argv = hosts.nspawn_command(layout, layout.hosts[0])
    assert "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE" in argv
    assert any(word.endswith("/volume1:/var/lib/rack-exports/volume1") for word in argv)
    assert layout.nas
    assert not any("rack-exports" in word for word in hosts.nspawn_command(layout, layout.nas))


def test_cgroups_of_each_kind_of_machine() -> None:
    laptop = Machine(2, systemd=True)
    assert [str(one) for one in laptop.cgroups("demo", "ws1")] == [
        "/sys/fs/cgroup/system.slice/deskside-rack-demo-ws1.service/host"
    ]
    assert laptop.supervisor_command("demo", "ws1", ["x"])[:2] == ["systemd-run", "--quiet"]
    assert laptop.first_unit == ""
    plain = Machine(2, systemd=False)
    assert [str(one) for one in plain.cgroups("demo", "ws1")] == ["/sys/fs/cgroup/deskside/demo/ws1"]
    assert plain.supervisor_command("demo", "ws1", ["x"]) == ["setsid", "--fork", "x"]
    assert "remount,bind,rw" in Machine(1, systemd=False).first_unit


def test_room_is_looked_at_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disks, "ROOM_WANTED", 2**60)
    assert "GB free" in disks.room_warning(tmp_path / "not/there/yet")
    monkeypatch.setattr(disks, "ROOM_LEAST", 2**60)
    with pytest.raises(DesksideError, match="needs"):
        disks.room_warning(tmp_path)


def test_no_rack_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESKSIDE_RACKS", str(tmp_path))
    assert racks_folder() == tmp_path
    with pytest.raises(DesksideError, match="no rack"):
        find("t-none")


def test_breaks_are_on_record(tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    ws1, ws2, *_ = layout.hosts
    assert breaks.broken(layout) == ()
    (tmp_path / "breaks.json").write_text('[{"kind": "cable", "host": "ws1", "what": "", "before": ""}]')
    assert breaks.cable_is_cut(layout, ws1)
    assert not breaks.cable_is_cut(layout, ws2)


async def test_what_cannot_be_broken(tmp_path: Path) -> None:
    layout, machine = layout_in(tmp_path), Machine(1, systemd=False)
    for words in (("fan", "ws1"), ("service", "ws1"), ("cable", "ws1", "x"), ("cable", "ws9")):
        with pytest.raises(UsageError):
            await breaks.make_break(layout, machine, *words)
    # Off: there is no service to ask for.
    with pytest.raises(DesksideError, match="is off"):
        await breaks.make_break(layout, machine, "service", "ws1", "ssh.service")
    assert breaks.broken(layout) == ()


def test_kernel_settings_leave_out_what_moves() -> None:
    found = kernel.settings()
    assert "vm/overcommit_memory" in found
    assert not any(name.startswith(("kernel/random/", "vm/drop_caches")) for name in found)
