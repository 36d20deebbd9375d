"""The command `user`, as far as it goes without real hosts: what is refused, said and handed over."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from cli.running import Runner
from cli.sites import CANARY, misused, no_host, on_fake_host, private, refused, write_site

COMMANDS = (
    ("user", "list"),
    ("user", "show", "ann"),
    ("user", "add", "dan", "--password-file", "x.secret"),
    ("user", "passwd", "ann", "--password-file", "x.secret"),
    ("user", "remove", "ann"),
    ("group", "list"),
    ("group", "add", "vision"),
    ("group", "remove", "vision"),
    ("group", "join", "ai", "ann"),
    ("group", "leave", "ai", "ann"),
)
CHANGES = tuple(words for words in COMMANDS if words[1] not in ("list", "show"))
HEAD = "name,full_name,mail,groups,password\n"
BROKEN = f"{HEAD}Dan,,,,{CANARY}\neve,,,,{CANARY}\neve,,,,\nfay,,no mail,,\ngil,,\n"


def said_of(words: tuple[str, ...]) -> str:
    return " ".join(words[:2])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("user", "frob"), "No such command 'frob'"),
        (("user", "list", "ann"), "unexpected extra argument"),
        (("user", "show"), "Missing argument 'NAME'"),
        (("user", "add"), "Missing argument 'NAME'"),
        (("user", "add", "-dan"), "No such option"),
        (("user", "add", "dan", "--password", "x"), "No such option"),
        (("user", "passwd"), "Missing argument 'NAME'"),
        (("user", "passwd", "dan", "--password-file", "."), "is a directory"),
        (("user", "remove"), "Missing argument 'NAME'"),
        (("user", "import"), "Missing argument 'FILE'"),
    ],
)
def test_what_the_command_line_does_not_know(deskside: Runner, words: tuple[str, ...], said: str) -> None:
    misused(deskside(*words), said)


@pytest.mark.parametrize("words", COMMANDS, ids=said_of)
def test_people_of_a_provider_are_looked_after_there(
    deskside: Runner, tmp_path: Path, words: tuple[str, ...]
) -> None:
    site = write_site(tmp_path, "okta")
    (tmp_path / "okta.secret").unlink()
    ran = deskside("-f", site, *words)
    refused(ran, 2, "people of https://lab.okta.com/oauth2/default are looked after there", "admin console")
    assert ("does not change them" in ran.err) is (words in CHANGES)
    assert "okta.secret" not in ran.err


@pytest.mark.parametrize("words", CHANGES, ids=said_of)
@pytest.mark.parametrize(("kind", "place"), [("read", "directory's tools"), ("synology", "DSM, LDAP Server")])
def test_without_a_manager_nobody_is_changed_and_nobody_asked(
    deskside: Runner, tmp_path: Path, words: tuple[str, ...], kind: str, place: str
) -> None:
    refused(deskside("-f", write_site(tmp_path, kind), *words), 2, "identity.manager names no account", place)


@pytest.mark.parametrize("words", COMMANDS, ids=said_of)
def test_all_that_is_missing_is_said_at_once(
    deskside: Runner, tmp_path: Path, words: tuple[str, ...]
) -> None:
    site = write_site(tmp_path, "ldap", "  break_glass: {name: rescue, password: {file: rescue.secret}}\n")
    (tmp_path / "nas-ca.pem").unlink()
    lines = site.read_text().splitlines()
    ran = deskside("-f", site, *words)
    account = "identity.manager" if words in CHANGES else "identity.bind"
    refused(ran, 3, f"{site} needs 3 things", f"{account} names no account")
    places = {account: "identity:", "identity.ca.file": "ca:", "identity.break_glass.password": "break_"}
    for field, place in places.items():
        line = next(number for number, text in enumerate(lines, 1) if text.strip().startswith(place))
        assert f"{site}:{line}: {field}" in ran.err
    assert ran.err.count("identity.ca.file") == 1


def test_each_thing_that_is_missing_alone_is_one_sentence(deskside: Runner, tmp_path: Path) -> None:
    refused(deskside("-f", write_site(tmp_path, "ldap"), "user", "list"), 2, "identity.bind names no account")
    site = write_site(tmp_path, "read")
    (tmp_path / "nas-ca.pem").write_bytes(b"\xff")
    ran = deskside("-f", site, "user", "list")
    refused(ran, 3, f"error: identity.ca.file: {tmp_path / 'nas-ca.pem'} cannot be read: it is no text")


@pytest.mark.parametrize(
    "name",
    [
        "Dan",
        "1dan",
        "dan smith",
        "dan,ou=x",
        "dan*",
        "d\nan",
        "d\u00e4n",
        "../dan",
        "",
        "x" * 33,
        "root",
        "ops",
    ],
)
def test_names_that_nobody_can_have(deskside: Runner, tmp_path: Path, name: str) -> None:
    ran = deskside("-f", write_site(tmp_path, "managed"), "user", "add", name)
    refused(ran, 2, f"name: {name!r}")


def test_everything_that_is_wrong_with_somebody_new(deskside: Runner, tmp_path: Path) -> None:
    words = ("user", "add", "Dan", "--name", "D\tan", "--mail", "no mail")
    ran = deskside("-f", write_site(tmp_path, "managed"), *words)
    refused(ran, 2, "name: 'Dan' is no name", "full name: holds characters", "mail: 'no mail' is no mail")


@pytest.mark.parametrize(
    "text", [None, f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n", "", f"ssh-dss {CANARY}\n"]
)
def test_a_key_that_is_none_is_not_shown(deskside: Runner, tmp_path: Path, text: str | None) -> None:
    key = tmp_path / "key"
    if text is not None:
        key.write_text(text)
    refused(deskside("-f", write_site(tmp_path, "managed"), "user", "add", "dan", "--key", key), 2, str(key))


@pytest.mark.parametrize("words", [("user", "add", "dan"), ("user", "passwd", "ann")], ids=said_of)
@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (None, 0o600, "No such file"),
        (CANARY, 0o644, "can be read by others (mode 0644)"),
        (CANARY, 0o660, "chmod 600"),
        ("", 0o600, "is empty"),
        ("\n", 0o600, "is empty"),
        (f"{CANARY}\n{CANARY}\n", 0o600, "on one line"),
    ],
)
def test_password_files_that_are_refused_before_a_host_is_asked(
    deskside: Runner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    text: str | None,
    mode: int,
    said: str,
) -> None:
    no_host(monkeypatch)
    file = tmp_path / "new.secret"
    if text is not None:
        private(file, text, mode)
    ran = deskside("-f", write_site(tmp_path, "managed"), *words, "--password-file", file)
    refused(ran, 3, str(file), said)


def test_without_a_terminal_nothing_is_asked(
    deskside: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_host(monkeypatch)
    site = write_site(tmp_path, "managed")
    for command in ("add", "passwd"):
        refused(deskside("-f", site, "user", command, "dan"), 2, "no terminal", "--password-file FILE")
    refused(deskside("-f", site, "user", "remove", "ann"), 2, "run: deskside user remove ann --yes")


def test_accounts_that_deskside_uses_itself_are_not_removed(deskside: Runner, tmp_path: Path) -> None:
    rescue = "  break_glass: {name: rescue, password: {file: rescue.secret}}\n"
    private(tmp_path / "rescue.secret", f"{CANARY}-of-the-hub\n")
    site = write_site(tmp_path, "managed", rescue)
    refused(deskside("-f", site, "user", "remove", "rescue", "--yes"), 2, "identity.break_glass")
    refused(deskside("-f", site, "user", "remove", "root2", "--yes"), 2, "identity.manager")


@pytest.mark.parametrize("kind", ["managed", "openldap", "read", "ldap", "synology", "okta"])
@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--json",)])
def test_every_broken_line_is_named_whatever_the_directory(
    deskside: Runner, tmp_path: Path, kind: str, more: tuple[str, ...]
) -> None:
    file = tmp_path / "people.csv"
    file.write_text(BROKEN)
    ran = deskside("-f", write_site(tmp_path, kind), "user", "import", file, *more)
    refused(ran, 2, f"{file} has 4 problems")
    named = [line for line in ran.err.splitlines() if line.startswith(f"{file}:")]
    assert [line.split(":")[1] for line in named] == ["2", "4", "5", "6"]
    assert {path.name for path in tmp_path.glob("people*")} == {"people.csv"}


def test_a_broken_file_and_a_missing_authority_come_together(deskside: Runner, tmp_path: Path) -> None:
    file, site = tmp_path / "people.csv", write_site(tmp_path, "managed")
    file.write_text(BROKEN)
    (tmp_path / "nas-ca.pem").unlink()
    (tmp_path / "manager.secret").chmod(0o644)
    ran = deskside("-f", site, "user", "import", file)
    refused(
        ran, 2, f"{file}:2: name: 'Dan'", ": identity.ca.file: ", ": identity.manager.password: ", "4 prob"
    )


def test_a_file_that_cannot_be_read(deskside: Runner, tmp_path: Path) -> None:
    site = write_site(tmp_path, "managed")
    for path in (tmp_path / "none.csv", tmp_path):
        refused(deskside("-f", site, "user", "import", path), 2, f"{path} cannot be read", "name,full_name")
    (tmp_path / "people.csv").write_bytes(b"name\nd\xe4n\n")
    ran = deskside("-f", site, "user", "import", tmp_path / "people.csv")
    refused(ran, 2, f"{tmp_path / 'people.csv'}:2: is not UTF-8; save the file as CSV UTF-8")


@pytest.mark.parametrize(
    ("kind", "end", "how", "line"),
    [
        ("okta", ".okta.csv", "Import Users From CSV", "dan@lab.example,Dan,Example,dan@lab.example"),
        ("synology", ".synology.csv", "Manage Users, Create, Import", f"dan,{CANARY},Dan Example,dan@lab.ex"),
        ("ldap", ".ldif", "ldapmodify -f FILE", "uid: dan"),
    ],
)
def test_where_nobody_may_write_a_file_for_a_person_s_hands_is_made(
    deskside: Runner, tmp_path: Path, kind: str, end: str, how: str, line: str
) -> None:
    file = tmp_path / "people.csv"
    file.write_text(f"{HEAD}dan,Dan Example,dan@lab.example,,{CANARY}\n")
    site, target = write_site(tmp_path, kind), tmp_path / f"people{end}"
    # Nothing of this needs the authority of the directory.
    (tmp_path / "nas-ca.pem").unlink()
    refused(deskside("-f", site, "user", "import", file, "--dry-run"), 2, "Deskside")
    assert not target.exists()
    refused(deskside("-f", site, "user", "import", file), 2, f"{target} was written", how)
    assert line in target.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    before = target.read_text()
    refused(deskside("-f", site, "user", "import", file), 2, f"{target} is there already", "move it away")
    assert target.read_text() == before


def test_silent_hosts_are_a_sentence(deskside: Runner, tmp_path: Path) -> None:
    site = write_site(tmp_path, "openldap")
    private(tmp_path / "x.secret")
    for words in (("list",), ("show", "ann"), ("remove", "ann", "--yes")):
        refused(deskside("-f", site, "user", *words), 4, "ws1")
    refused(deskside("-f", site, "user", "passwd", "ann", "--password-file", tmp_path / "x.secret"), 4, "ws1")


def test_people_are_shown(deskside: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_fake_host(monkeypatch)
    site = write_site(tmp_path, "read")
    text, found = deskside("-f", site, "user", "list"), deskside("-f", site, "user", "list", "--json")
    assert "Ann \u00c4hnl" in text.out
    assert [one["name"] for one in json.loads(found.out)["people"]] == ["ann", "nobody2"]
    assert deskside("-f", site, "user", "show", "ann").status == 0
    assert json.loads(deskside("-f", site, "user", "show", "ann", "--json").out)["groups"] == ["ai"]
    refused(deskside("-f", site, "user", "show", "dan"), 2, "nobody is called 'dan'", "deskside user list")


def test_somebody_is_added_changed_and_removed(
    deskside: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, site = on_fake_host(monkeypatch), write_site(tmp_path, "managed")
    given = ("--password-file", private(tmp_path / "new.secret", f"{CANARY}-new\n"))
    added = deskside("-f", site, "user", "add", "dan", *given, "--json")
    assert json.loads(added.out) == {"added": ["dan"], "groups": ["ai"]}
    changed = deskside("-f", site, "user", "passwd", "ann", *given, "--json")
    assert json.loads(changed.out) == {"changed": ["ann"]}
    assert deskside("-f", site, "user", "passwd", "ann", *given).out == "ann has a new password\n"
    assert all(f"{CANARY}-new" in str(action["stdin"]) for action in host.done)
    (gone,) = json.loads(deskside("-f", site, "user", "remove", "ann", "--yes", "--json").out)["removed"]
    assert (gone["name"], gone["hub"], gone["at_once"]) == ("ann", "put out", True)
    for ran in (added, changed):
        assert CANARY not in ran.out + ran.err


def test_who_is_there_or_is_not_there(
    deskside: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, site = on_fake_host(monkeypatch), write_site(tmp_path, "managed")
    given = ("--password-file", private(tmp_path / "new.secret"))
    refused(deskside("-f", site, "user", "add", "ann", *given), 2, "ann is in the directory already")
    refused(deskside("-f", site, "user", "add", "dan", "--group", "no", *given), 2, "no group no")
    refused(deskside("-f", site, "user", "passwd", "dan", *given), 2, "nobody is called 'dan'")
    assert host.done == []


def test_an_import(deskside: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host, site = on_fake_host(monkeypatch), write_site(tmp_path, "managed")
    file = tmp_path / "people.csv"
    file.write_text(f"{HEAD}dan,,,,\neve,,,,{CANARY}\n")
    tried = deskside("-f", site, "user", "import", file, "--dry-run", "--json")
    assert json.loads(tried.out) == {"would_add": ["dan", "eve"], "there": [], "passwords": ""}
    assert host.done == []
    ran, passwords = deskside("-f", site, "user", "import", file, "--json"), tmp_path / "people.passwords.csv"
    assert json.loads(ran.out) == {"added": ["dan", "eve"], "there": [], "passwords": str(passwords)}
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
    (_, line) = passwords.read_text().splitlines()
    assert line.startswith("dan,")
    assert not any(secret in ran.out + ran.err for secret in (CANARY, line.partition(",")[2]))
    file.write_text(f"{HEAD}ann,,,,\ndan,,,nogroup,\n")
    refused(deskside("-f", site, "user", "import", file), 2, f"{file}:2: name:", f"{file}:3: groups:")
