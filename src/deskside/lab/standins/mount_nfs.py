#!/usr/bin/python3
"""STAND-IN for mount.nfs, written by the rack: the kernel of this host has no NFS client.

It asks the NAS whether the folder is exported, as the real one would, then binds the NAS's own folder, which
the rack keeps below the place that /etc/rack-exports.conf names. So owners, modes, locks and sub-paths are
those of a true POSIX file system, and a NAS that is off or cut away refuses a mount. What is mounted already
does not feel an outage.
"""

import os
import socket
import subprocess
import sys

PORT = 2049
SECONDS = 10
CONF = "/etc/rack-exports.conf"
GENERAL = {
    "ro",
    "rw",
    "nosuid",
    "suid",
    "nodev",
    "dev",
    "noexec",
    "exec",
    "noatime",
    "relatime",
    "nodiratime",
}


def fail(text: str, status: int = 32) -> int:
    """Say it as mount.nfs would."""
    sys.stderr.write(f"mount.nfs: {text}\n")
    return status


def parse(words: list[str]) -> tuple[list[str], set[str], bool]:
    """Source and target, mount options, and whether nothing is to be done."""
    plain: list[str] = []
    options: set[str] = set()
    fake = False
    rest = iter(words)
    for word in rest:
        if word == "-o":
            options.update(next(rest, "").split(","))
        elif word.startswith("-"):
            fake = fake or "f" in word
        else:
            plain.append(word)
    return plain, options, fake


def ask(address: str, path: str) -> str:
    """What the NAS says about an export: `granted` or why not."""
    with socket.create_connection((address, PORT), SECONDS) as connection:
        connection.sendall(f"{path}\n".encode())
        return connection.makefile().readline().strip()


def main(words: list[str]) -> int:
    """Mount; returns the exit status that mount(8) documents."""
    plain, options, fake = parse(words)
    if len(plain) != 2 or ":" not in plain[0]:
        return fail("usage: mount.nfs HOST:/FOLDER TARGET [-fnrsvw] [-o OPTIONS]", 1)
    server, _, path = plain[0].partition(":")
    path = os.path.normpath(path)
    with open(CONF) as file:
        nas, exports = file.read().split()
    try:
        address = socket.gethostbyname(server)
    except OSError:
        return fail(f"Failed to resolve server {server}: Name or service not known")
    try:
        answer = ask(address, path)
    except OSError as error:
        return fail(f"Connection to {server} failed: {error}")
    if answer != "granted" or address != nas:
        return fail(f"access denied by server while mounting {plain[0]}")
    if fake:
        return 0
    # _netdev is kept for systemd to read: else it takes the mount for a local one as soon as it is made, and
    # whatever waits for remote-fs.target in the same boot waits for ever.
    bound = subprocess.run(["mount", "-i", "-o", "bind,_netdev", exports + path, plain[1]], check=False)
    if bound.returncode:
        return bound.returncode
    chosen = sorted(options & GENERAL - {"rw"})
    if chosen:
        again = ["mount", "-i", "-o", ",".join(["remount", "bind", "_netdev", *chosen]), plain[1]]
        return subprocess.run(again, check=False).returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
