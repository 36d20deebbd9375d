from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deskside.oses.debian import DEBIAN
from deskside.oses.ubuntu import UBUNTU
from deskside.steps.updates import DROP_IN, HELD, PERIODIC, drop_in_text, periodic_text, security_updates

from .test_baseline import resources

apt_config = pytest.mark.skipif(shutil.which("apt-config") is None, reason="needs apt-config")


def test_what_is_installed_and_switched_on() -> None:
    assert list(resources(security_updates)) == [
        "packages unattended-upgrades",
        f"file {PERIODIC}",
        f"file {DROP_IN}",
        "file /etc/systemd/system/apt-daily.service.d/50-deskside.conf",
        "unit apt-daily.timer",
        "file /etc/systemd/system/apt-daily-upgrade.service.d/50-deskside.conf",
        "unit apt-daily-upgrade.timer",
    ]


@pytest.mark.parametrize(
    "package",
    [
        *("linux-image-6.1.0-28-amd64", "linux-image-generic", "linux-modules-6.8.0-45-generic"),
        *("linux-modules-nvidia-570-generic", "linux-headers-amd64", "linux-generic-hwe-24.04"),
        *("nvidia-driver-570-open", "libnvidia-compute-570", "cuda-drivers", "nvidia-container-toolkit"),
        *("kubeadm", "kubelet", "kubectl", "kubernetes-cni", "cri-tools"),
        *("containerd", "containerd.io", "runc", "docker.io", "docker-ce"),
    ],
)
def test_kernel_driver_and_kubernetes_are_held(package: str) -> None:
    assert any(re.match(pattern, package) for pattern in HELD)


@pytest.mark.parametrize("package", ["openssl", "linux-libc-dev", "linux-firmware", "libc6", "sudo", "kmod"])
def test_everything_else_is_updated(package: str) -> None:
    assert not any(re.match(pattern, package) for pattern in HELD)


@apt_config
@pytest.mark.parametrize("system", [DEBIAN, UBUNTU], ids=lambda system: system.id)
def test_apt_reads_it_so_and_lists_of_the_package_are_gone(system: object, tmp_path: Path) -> None:
    assert system in (DEBIAN, UBUNTU)
    known = DEBIAN if system is DEBIAN else UBUNTU
    shipped = (
        'Unattended-Upgrade::Allowed-Origins { "${distro_id}:${distro_codename}"; };\n'
        'Unattended-Upgrade::Origins-Pattern { "origin=Debian,codename=${distro_codename},label=Debian"; };\n'
        'Unattended-Upgrade::Automatic-Reboot "true";\n'
    )
    parts = {"50unattended-upgrades": shipped, "52deskside": drop_in_text(known), "20auto": periodic_text()}
    (tmp_path / "parts").mkdir()
    for name, text in parts.items():
        (tmp_path / "parts" / name).write_text(text)
    main = tmp_path / "apt.conf"
    main.write_text(f'Dir::Etc::parts "{tmp_path}/parts";\nDir::Etc::main "/dev/null";\n')
    said = subprocess.run(
        ["apt-config", "dump"], env={"APT_CONFIG": str(main)}, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    values: dict[str, list[str]] = {}
    for line in said:
        name, _, value = line.partition(" ")
        values.setdefault(name, []).append(value.strip('";'))
    assert values["Unattended-Upgrade::Origins-Pattern::"] == list(known.security)
    assert "Unattended-Upgrade::Allowed-Origins::" not in values
    assert values["Unattended-Upgrade::Package-Blacklist::"] == list(HELD)
    assert values["Unattended-Upgrade::Automatic-Reboot"] == ["false"]
    assert values["APT::Periodic::Unattended-Upgrade"] == ["1"]
