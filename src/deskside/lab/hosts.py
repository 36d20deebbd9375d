"""The rack's hosts: what an installer would have left on each, and starting, stopping and reaching them.

A host is bare: a name, an address, SSH with the rack's key, a user `ops` with sudo. Nothing that Deskside is
to install may be put there. The stand-in for the kernel's missing NFS client is, under its own name.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from deskside.errors import DesksideError, StepFailed
from deskside.lab import disks
from deskside.lab.machine import Machine, kill_tree
from deskside.lab.process import Ran, run
from deskside.lab.spec import Layout, RackHost, Report

USER = "ops"
STANDINS = Path(__file__).parent / "standins"
EXPORTS = "/var/lib/rack-exports"
"""Where a host finds the NAS's volume behind the stand-in for mount.nfs; for root's eyes only."""
NSPAWN_RUN = Path("/run/systemd/nspawn")
NAS_PORTS = (389, 636, 2049)
"""LDAP, LDAPS, exports."""
BOOT_SECONDS = 180.0
"""A boot takes three seconds; on a machine that builds artifacts meanwhile, much longer."""
START_SECONDS = 20.0
"""After this a host without a supervisor will not come."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def make_key(layout: Layout) -> None:
    """Make the rack's SSH key, once."""
    if layout.key.exists():
        return
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"rack {layout.name}", "-f", layout.key],
        check=True,
        stdin=subprocess.DEVNULL,
    )


async def install(layout: Layout, host: RackHost, machine: Machine) -> None:
    """Put on a fresh disk what an installer asks for. The last file written says that it is complete."""
    root = layout.root(host)
    done = layout.place(host) / "installed"
    if done.exists():
        return
    write_file(root, "etc/hostname", f"{host.name}\n")
    write_file(
        root, "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {host.name}\n::1 localhost ip6-localhost\n"
    )
    write_file(root, "etc/machine-id", secrets.token_hex(16) + "\n", 0o444)
    write_file(root, "etc/resolv.conf", _resolver())
    write_file(root, "etc/systemd/network/20-wired.network", _network(layout, host))
    write_file(root, "etc/sudoers.d/ops", f"{USER} ALL=(ALL) NOPASSWD: ALL\n", 0o440)
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)
    if machine.first_unit:
        write_file(root, "etc/systemd/system/rack-cgroups.service", _first_unit(machine))
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    await run(["ssh-keygen", "-A", "-f", root], f"making the SSH keys of {host.name}")
    await run(
        ["chroot", root, "sh", "-ec", _accounts(machine)],
        f"making the accounts of {host.name}",
        env=host_env(),
    )
    home = root / "home" / USER
    write_file(root, f"home/{USER}/.ssh/authorized_keys", layout.key.with_suffix(".pub").read_text(), 0o600)
    owner = home.stat()
    for path in (home / ".ssh", home / ".ssh/authorized_keys"):
        os.chown(path, owner.st_uid, owner.st_gid)
    (home / ".ssh").chmod(0o700)
    if host.managed and layout.nas:
        _install_standins(layout, root)
    done.touch()


def write_file(root: Path, name: str, text: str, mode: int = 0o644) -> None:
    """Put a text file into a host's root, never through a link that is there."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def host_env() -> dict[str, str]:
    """Environment of programs that run inside a host."""
    return {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def name_servers() -> tuple[str, ...]:
    """IPv4 addresses of the machine's own name servers."""
    words = [line.split() for line in _resolver().splitlines()]
    return tuple(word[1] for word in words if word[0] == "nameserver" and ":" not in word[1])


def _resolver() -> str:
    """The machine's own name servers; never the stub of systemd-resolved, which answers only the machine."""
    for file in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
        if file.exists():
            return "".join(
                f"{line}\n"
                for line in file.read_text().splitlines()
                if line.startswith(("nameserver", "search", "options")) and " 127." not in line
            )
    return ""


def _network(layout: Layout, host: RackHost) -> str:
    return f"""\
[Match]
MACAddress={layout.mac(host.number)}

[Network]
Address={layout.address(host)}/24
Gateway={layout.gateway}
IPv6AcceptRA=no
"""


def _first_unit(machine: Machine) -> str:
    return f"""\
[Unit]
Description=Rack: give this host its own cgroups
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c '{machine.first_unit.replace("$", "$$")}'

[Install]
WantedBy=sysinit.target
"""


def _accounts(machine: Machine) -> str:
    units = [
        "systemd-networkd.service",
        "ssh.service",
        *(["rack-cgroups.service"] if machine.first_unit else []),
    ]
    return f"""
id {USER} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {USER}
systemctl enable --quiet {" ".join(units)}
"""


def _install_standins(layout: Layout, root: Path) -> None:
    """The kernel may have no NFS client: a `mount.nfs` that says what it is takes its place."""
    nas = layout.nas
    assert nas
    text = (STANDINS / "mount_nfs.py").read_text()
    for name in ("mount.nfs", "mount.nfs4"):
        write_file(root, f"usr/sbin/{name}", text, 0o755)
    # Deskside installs nfs-common, whose own programs must not take the stand-ins' place.
    diversions = (root / "var/lib/dpkg/diversions").read_text()
    for name in ("mount.nfs", "mount.nfs4"):
        if f"/sbin/{name}\n" not in diversions:
            diversions += f"/sbin/{name}\n/sbin/{name}.of-nfs-common\n:\n"
    write_file(root, "var/lib/dpkg/diversions", diversions)
    # And its mount of the kernel's NFS interface would fail at every boot.
    masked = root / "etc/systemd/system/run-rpc_pipefs.mount"
    masked.unlink(missing_ok=True)
    masked.symlink_to("/dev/null")
    write_file(root, "etc/rack-exports.conf", f"{layout.address(nas)} {EXPORTS}\n")
    (root / EXPORTS.lstrip("/")).mkdir(mode=0o700, parents=True, exist_ok=True)


def nspawn_command(layout: Layout, host: RackHost) -> list[str]:
    """How a host is booted."""
    argv = [
        *(
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            f"--machine={layout.machine_name(host)}",
        ),
        f"--directory={layout.root(host)}",
        f"--network-bridge={layout.bridge}",
        # One kernel with the machine: a host may neither set its clock nor load modules.
        *("--capability=all", "--drop-capability=CAP_SYS_TIME,CAP_SYS_MODULE"),
        "--system-call-filter=@keyring bpf perf_event_open",
        *("--resolv-conf=off", "--timezone=off", "--link-journal=no", f"--hostname={host.name}"),
        *("--bind=/dev/kmsg", "--bind=/dev/fuse"),
    ]
    if host.managed and layout.nas:
        argv.append(f"--bind={layout.root(layout.nas)}/volume1:{EXPORTS}/volume1")
    return [*argv, "--boot", "--console=pipe"]


def forget_containers(layout: Layout) -> None:
    """Remove what systemd-nspawn keeps about hosts in /run; they are off, their disks still mounted."""
    places = [NSPAWN_RUN / "propagate" / layout.machine_name(host) for host in layout.hosts]
    for place in places:
        with suppress(OSError):
            place.rmdir()
    for host in layout.hosts:
        with suppress(OSError):
            root = layout.root(host).stat()
            (NSPAWN_RUN / "locks" / f"inode-{root.st_dev}:{root.st_ino}").unlink()
    for place in (NSPAWN_RUN / "propagate", NSPAWN_RUN / "locks", NSPAWN_RUN):
        with suppress(OSError):
            place.rmdir()


def supervised(layout: Layout, host: RackHost) -> bool:
    """Whether the host's supervisor is alive: it holds a lock as long as it lives."""
    try:
        with (layout.place(host) / "supervisor.lock").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def leader(layout: Layout, host: RackHost) -> int | None:
    """Process id of the host's init, as this machine sees it; None when the host is off."""
    if not supervised(layout, host):
        return None
    try:
        pid = int((layout.place(host) / "leader").read_text())
    except (OSError, ValueError):
        return None
    return pid if Path(f"/proc/{pid}").exists() else None


async def start(layout: Layout, host: RackHost, machine: Machine) -> None:
    """Start a host's supervisor, which boots it; nothing when it runs. Leftovers are killed first."""
    if supervised(layout, host):
        return
    await asyncio.to_thread(kill_tree, machine, layout.name, host.name)
    (layout.place(host) / "leader").unlink(missing_ok=True)
    argv = [sys.executable, "-m", "deskside.lab.supervise", str(layout.folder), host.name]
    log = layout.place(host) / "supervisor.log"
    command = machine.supervisor_command(layout.name, host.name, argv)
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file, cwd="/"
        )
        if await process.wait() != 0:
            said = log.read_text(errors="replace").splitlines()[-1:]
            raise StepFailed(f"starting {host.name}: {' '.join(said) or 'its supervisor did not start'}")


async def stop(layout: Layout, host: RackHost, machine: Machine) -> None:
    """Cut a host's power: its supervisor and every process, at once."""
    pid_file = layout.place(host) / "supervisor.pid"
    if supervised(layout, host) and pid_file.exists():
        await run(["kill", "-KILL", pid_file.read_text().strip()])
    await asyncio.to_thread(kill_tree, machine, layout.name, host.name)


async def execute(
    layout: Layout, host: RackHost, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0
) -> Ran:
    """Run a program inside a host as root, past SSH. Raises DesksideError when the host is off."""
    pid = leader(layout, host)
    if pid is None:
        raise DesksideError(
            f"{host.name} of rack {layout.name} is off", hint=f"deskside lab up --rack {layout.name}"
        )
    # With the host's capabilities and not this machine's: what is refused to a host is refused here.
    less = "-sys_time,-sys_module"
    enter = ["setpriv", f"--bounding-set={less}", f"--inh-caps={less}", "nsenter", f"--target={pid}", "--all"]
    # nsenter's own fork stops with its child when a host shuts down, and the host then waits for it.
    enter += ["--wdns=/root", "--no-fork", "--", "sh", "-c", '"$@"; exit $?', "sh"]
    return await run([*enter, *argv], stdin=stdin, timeout=timeout, env=host_env())


async def wait_ready(layout: Layout, host: RackHost, report: Report) -> None:
    """Wait until the host answers on SSH and its systemd has started everything. Raises StepFailed."""
    started = time.monotonic()
    while time.monotonic() - started < BOOT_SECONDS:
        if leader(layout, host) is not None and await answers_ssh(layout.address(host)):
            break
        if time.monotonic() - started > START_SECONDS and not supervised(layout, host):
            raise StepFailed(
                f"{host.name} does not start: {' '.join(_last_lines(layout, host, 'supervisor.log', 1))}",
                hint=f"deskside lab logs {host.name} --rack {layout.name}",
            )
        await asyncio.sleep(0.1)
    else:
        last = "".join(f"\n  {line}" for line in _last_lines(layout, host, "console.log", 3))
        raise StepFailed(
            f"{host.name} did not answer on {layout.address(host)}:22 within {BOOT_SECONDS:.0f} s{last}",
            hint=f"deskside lab logs {host.name} --rack {layout.name}",
        )
    ran = await execute(layout, host, ["systemctl", "is-system-running", "--wait"], timeout=BOOT_SECONDS)
    if not host.managed:
        await _wait_served(layout, host)
    said = ran.out.strip() or ran.err.strip()
    if said != "running":
        failed = await execute(
            layout, host, ["systemctl", "list-units", "--failed", "--plain", "--no-legend"]
        )
        units = ", ".join(line.split()[0] for line in failed.out.splitlines() if line.strip())
        said = f"{said}: {units or 'no failed unit'}"
    report(
        host.name, f"up at {layout.address(host)}, {said}, {time.monotonic() - started:.1f} s after power on"
    )


async def _wait_served(layout: Layout, host: RackHost) -> None:
    """Wait until the NAS's directory and exports answer. Raises StepFailed."""
    address, end = layout.address(host), time.monotonic() + BOOT_SECONDS
    for port in NAS_PORTS:
        while not await _listens(address, port):
            if time.monotonic() > end:
                raise StepFailed(
                    f"{host.name} serves nothing on {address}:{port}",
                    hint=f"deskside lab logs {host.name} --rack {layout.name}",
                )
            await asyncio.sleep(0.1)


async def _listens(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True


async def answers_ssh(address: str, timeout: float = 2.0) -> bool:
    """Whether an SSH server says its name there."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(address, 22)
            try:
                return (await reader.read(4)) == b"SSH-"
            finally:
                writer.close()
    except OSError:  # TimeoutError is one
        return False


def _last_lines(layout: Layout, host: RackHost, name: str, lines: int) -> list[str]:
    try:
        text = (layout.place(host) / name).read_text(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-lines:]


def pins(layout: Layout) -> str:
    """The hosts' public SSH keys as a known_hosts file: one line a host, by name, full name and address."""
    lines = []
    for host in layout.hosts:
        kind, key = (layout.root(host) / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2]
        lines.append(f"{host.name},{layout.fqdn(host)},{layout.address(host)} {kind} {key}\n")
    return "".join(lines)


async def bring_disk(layout: Layout, host: RackHost, tree: Path) -> None:
    """Make and mount the host's disk."""
    await disks.make_disk(layout, host, tree)
    await disks.mount_disk(layout, host)
