"""Runs on a host, standard library only: the entries that the directory cannot do without.

Takes JSON on standard input, {"base", "entries": [{"dn", "attributes", "kept"}], "first_gid", "passwords":
{dn: text}, "write"}, prints {"answers", "missing", "differing", "refused"}: whether slapd answers, entries
that are not there, entries with another value than wanted, and accounts whose password is another one. With
`write` true it makes all of that right first, and waits for slapd. An attribute named in `kept` is set when
the entry is made and never afterwards; a group without a number gets the next free one. Comes as root by the
local socket. Passwords travel by standard input and lie in memory alone.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time

SOCKET = "ldapi:///"
AS_ROOT = ["-Q", "-Y", "EXTERNAL", "-H", SOCKET]
PATIENCE = 30.0
"""Seconds that a slapd which has just been started is waited for."""
NO_SERVER, NO_SUCH_OBJECT, REFUSED, UNKNOWN = 255, 32, 49, 50
Found = dict[str, dict[str, list[str]]]
"""Entries by their names in lower case: attribute in lower case -> values."""
MEMORY = "/dev/shm"  # noqa: S108  # a folder of its own is made there


def run(argv: list[str], given: str = "") -> subprocess.CompletedProcess[str]:
    """A program of ldap-utils."""
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        argv, input=given, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def parsed(printed: str) -> Found:
    """Entries of LDIF without wrapped lines: lower-case name -> lower-case attribute -> values."""
    found: Found = {}
    current: dict[str, list[str]] = {}
    for line in printed.splitlines():
        name, _, value = line.partition(":")
        if not line or line.startswith("#"):
            continue
        text = base64.b64decode(value[1:]).decode() if value.startswith(":") else value.strip()
        if name == "dn":
            current = found.setdefault(text.lower(), {})
        else:
            current.setdefault(name.lower(), []).append(text)
    return found


def ldif(dn: str, lines: list[tuple[str, str]], change: str = "") -> str:
    """One record; values in base64, so that none can be mistaken for another line."""
    record = [("dn", dn), *([("changetype", change)] if change else []), *lines]
    return "".join(f"{_line(name, value)}\n" for name, value in record) + "\n"


def _line(name: str, value: str) -> str:
    if name == "-":
        return name
    if name in ("changetype", "replace"):
        return f"{name}: {value}"
    return f"{name}:: {base64.b64encode(value.encode()).decode()}"


def replacing(dn: str, attributes: dict[str, list[str]]) -> str:
    """A record that gives attributes other values."""
    lines: list[tuple[str, str]] = []
    for name, values in attributes.items():
        lines += [("replace", name), *((name, value) for value in values), ("-", "")]
    return ldif(dn, lines, "modify")


def there(base: str) -> Found | None:
    """Everything but people; None when slapd does not answer."""
    search = ["ldapsearch", *AS_ROOT, "-LLL", "-o", "ldif-wrap=no", "-b", base, "(!(objectClass=person))"]
    done = run([*search, "*"])
    if done.returncode not in (0, NO_SUCH_OBJECT):
        return None
    return parsed(done.stdout)


def binds(dn: str, password: str) -> bool:
    """Whether the account's password is that one."""
    with tempfile.NamedTemporaryFile("w", dir=MEMORY if os.path.isdir(MEMORY) else None) as file:
        file.write(password)
        file.flush()
        done = run(["ldapwhoami", "-x", "-H", SOCKET, "-D", dn, "-y", file.name])
    return done.returncode == 0


def differing(wanted: dict[str, object], found: dict[str, list[str]]) -> list[str]:
    """Attributes of an entry that have other values than wanted."""
    attributes, kept = wanted["attributes"], wanted["kept"]
    assert isinstance(attributes, dict)
    assert isinstance(kept, list)
    return [
        name
        for name, values in attributes.items()
        if name not in kept and sorted(found.get(name.lower(), [])) != sorted(values)
    ]


def look(asked: dict[str, object]) -> dict[str, object]:
    """What is missing, differs or is refused."""
    entries, passwords = asked["entries"], asked["passwords"]
    assert isinstance(entries, list)
    assert isinstance(passwords, dict)
    found = there(str(asked["base"]))
    if found is None:
        names = [entry["dn"] for entry in entries]
        return {"answers": False, "missing": names, "differing": [], "refused": []}
    missing = [entry["dn"] for entry in entries if entry["dn"].lower() not in found]
    return {
        "answers": True,
        "missing": missing,
        "differing": [
            entry["dn"]
            for entry in entries
            if entry["dn"] not in missing and differing(entry, found[entry["dn"].lower()])
        ],
        "refused": [dn for dn, text in passwords.items() if dn not in missing and not binds(dn, text)],
    }


def numbered(entry: dict[str, object], found: Found, first: int) -> dict[str, list[str]]:
    """Attributes of a new entry; a group gets the first number that no group has, from `first` on."""
    attributes = entry["attributes"]
    assert isinstance(attributes, dict)
    if "posixGroup" not in attributes["objectClass"] or "gidNumber" in attributes:
        return attributes
    taken = {int(number) for other in found.values() for number in other.get("gidnumber", [])}
    return {**attributes, "gidNumber": [str(max([first - 1, *(one for one in taken if one >= first)]) + 1)]}


def changed(program: str, text: str) -> None:
    """Hand a change to slapd. Ends the program where it is refused."""
    done = run([program, *AS_ROOT], text)
    if done.returncode:
        sys.exit(f"{program}: {(done.stderr.strip().splitlines() or ['refused'])[-1]}")


def write(asked: dict[str, object]) -> None:
    """Make right what `look` finds."""
    entries, passwords, base = asked["entries"], asked["passwords"], str(asked["base"])
    assert isinstance(entries, list)
    assert isinstance(passwords, dict)
    end = time.monotonic() + PATIENCE
    while (found := there(base)) is None:
        if time.monotonic() > end:
            sys.exit("slapd does not answer on its local socket; look: journalctl -u deskside-directory")
        time.sleep(0.3)
    for entry in entries:
        dn = entry["dn"]
        have = found.get(dn.lower())
        if have is None:
            attributes = numbered(entry, found, int(str(asked["first_gid"])))
            if dn in passwords:
                attributes = {**attributes, "userPassword": [passwords[dn]]}
            lines = [(name, value) for name, values in attributes.items() for value in values]
            changed("ldapadd", ldif(dn, lines))
            found[dn.lower()] = {name.lower(): values for name, values in attributes.items()}
        elif wrong := differing(entry, have):
            values = entry["attributes"]
            changed("ldapmodify", replacing(dn, {name: values[name] for name in wrong}))
    for dn in look(asked)["refused"]:  # type: ignore[attr-defined]
        changed("ldapmodify", replacing(dn, {"userPassword": [passwords[dn]]}))


def main() -> None:
    """Write where that is asked, then look."""
    asked = json.load(sys.stdin)
    if asked["write"]:
        write(asked)
    found = look(asked)
    json.dump(found, sys.stdout)
    if asked["write"] and (found["missing"] or found["differing"] or found["refused"]):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except FileNotFoundError:
        # ldap-utils are not installed yet.
        json.dump({"answers": False, "missing": None, "differing": [], "refused": []}, sys.stdout)
