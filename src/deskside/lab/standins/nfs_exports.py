#!/usr/bin/python3
"""STAND-IN for an NFS server, written by the rack onto its NAS: it only says which folders are exported.

It answers on the NFS port, a line in and a line out. The bytes of files do not pass here; see mount_nfs.py.
"""

import os
import socket
import socketserver

PORT = 2049
EXPORTS = "/etc/exports"


def exported(path: str) -> bool:
    """Whether a folder is, or lies in, one that /etc/exports names."""
    with open(EXPORTS) as file:
        folders = [line.split()[0] for line in file if line.strip() and not line.startswith("#")]
    return os.path.isdir(path) and any(path == one or path.startswith(one + "/") for one in folders)


class Answer(socketserver.StreamRequestHandler):
    """One question."""

    timeout = 10

    def handle(self) -> None:
        """Read a folder's name, answer whether it may be mounted."""
        path = os.path.normpath(self.rfile.readline(4096).decode(errors="replace").strip() or "/nothing")
        self.wfile.write(b"granted\n" if exported(path) else b"denied\n")


class Server(socketserver.ThreadingTCPServer):
    """Answers several hosts at once."""

    allow_reuse_address = True
    daemon_threads = True


def tell_ready() -> None:
    """Tell systemd that the port is open."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", path.replace("@", "\0", 1) if path.startswith("@") else path)


if __name__ == "__main__":
    with Server(("", PORT), Answer) as server:
        tell_ready()
        server.serve_forever()
