"""Runs on a host, standard library only: looks at a directory as a given account, by ldapsearch.

Takes JSON on standard input, {"url", "starttls", "ca", "dn", "password", "entries": [names]}, and prints
{"status", "said", "entries": {name: [attributes] or null}}: the exit status of the first search (49: the
password is refused), what it said, and each entry's attributes, null for one that is not there. Password and
certificate lie in memory alone while it runs, readable by root alone. Changes nothing.
"""

import json
import os
import subprocess
import sys
import tempfile

NO_SUCH_OBJECT = 32
SECONDS = "4"
MEMORY = "/dev/shm"  # noqa: S108  # a folder of its own is made there


def search(asked: "dict[str, str]", folder: str, entry: str) -> "subprocess.CompletedProcess[str]":
    """Read one entry's attribute names, with the server's certificate checked."""
    trusted = {"LDAPTLS_REQCERT": "demand"}
    if asked["ca"]:
        trusted["LDAPTLS_CACERT"] = os.path.join(folder, "ca")
    argv = ["ldapsearch", "-x", "-LLL", "-A", "-e", "ppolicy", "-o", f"nettimeout={SECONDS}", "-l", SECONDS]
    argv += ["-H", asked["url"], "-D", asked["dn"], "-y", os.path.join(folder, "password")]
    argv += ["-ZZ"] if asked["starttls"] else []
    argv += ["-s", "base", "-b", entry, "*", "+"]
    environment = {**os.environ, **trusted, "LC_ALL": "C"}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=20)


def attributes(printed: str) -> "list[str]":
    """Names of the attributes of one entry."""
    lines = [line.partition(":")[0] for line in printed.splitlines() if line and line[0] not in " #"]
    return sorted({name for name in lines if name != "dn"})


def main() -> None:
    """Search entry by entry; stop at the first answer that is none."""
    asked = json.load(sys.stdin)
    entries: dict[str, list[str] | None] = {}
    status, said = 0, ""
    memory = MEMORY if os.path.isdir(MEMORY) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        for name, text in (("ca", asked["ca"]), ("password", asked["password"])):
            with open(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(text)
        for entry in asked["entries"]:
            done = search(asked, folder, entry)
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
