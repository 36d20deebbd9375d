"""Runs on a host, standard library only: looks at a directory as a given account, by ldapsearch.

Takes JSON on standard input, {"url", "starttls", "ca", "dn", "password", "entries": [names]}, and prints
{"status", "said", "entries": {name: [attributes] or null}}: the exit status of the first search (49: the
password is refused), what it said, and each entry's attributes, null for one that is not there. Ends with 68
where the host knows the address of no server, and with 127 where it has no ldapsearch. Changes nothing.
"""

import json
import os
import socket
import sys
from urllib.parse import urlsplit

from deskside.identity.on_host.speak import spoken_to

NO_SUCH_OBJECT = 32


def is_known(url: str) -> bool:
    """Whether the host knows an address of a server."""
    try:
        return bool(socket.getaddrinfo(urlsplit(url).hostname, None))
    except OSError:
        return False


def attributes(printed: str) -> "list[str]":
    """Names of the attributes of one entry."""
    lines = [line.partition(":")[0] for line in printed.splitlines() if line and line[0] not in " #"]
    return sorted({name for name in lines if name != "dn"})


def main() -> None:
    """Search entry by entry; stop at the first answer that is none."""
    asked = json.load(sys.stdin)
    if not any(map(is_known, asked["url"].split())):
        sys.exit(os.EX_NOHOST)
    entries: dict[str, list[str] | None] = {}
    status, said = 0, ""
    with spoken_to(asked) as speak:
        for entry in asked["entries"]:
            # Only the names of attributes are read.
            done = speak("ldapsearch", ["-LLL", "-A", "-l", "4", "-s", "base", "-b", entry, "*", "+"])
            if done.returncode not in (0, NO_SUCH_OBJECT):
                status, said = done.returncode, done.stderr.strip()
                break
            entries[entry] = attributes(done.stdout) if done.returncode == 0 else None
    json.dump({"status": status, "said": said, "entries": entries}, sys.stdout)


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError:
        sys.exit(127)
