"""The command `handout`, which asks no host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.running import EXAMPLE, Runner
from cli.sites import CANARY, misused, no_host, refused, write_site

DEVICES = {"router": "managed", "synology": "synology", "okta": "okta"}
"""With a kind of directory that each fits."""


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    no_host(monkeypatch)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Missing argument '{router|synology|okta}'"),
        (("toaster",), "'toaster' is not one of"),
        (("router", "okta"), "unexpected extra argument"),
        (("router", "--out", str(EXAMPLE)), "is a file"),
    ],
)
def test_what_the_command_line_does_not_know(deskside: Runner, words: tuple[str, ...], said: str) -> None:
    misused(deskside("handout", *words), said)


@pytest.mark.parametrize("device", DEVICES)
def test_text_document_and_files_say_the_same_and_no_secret(
    deskside: Runner, tmp_path: Path, device: str
) -> None:
    site, out = write_site(tmp_path, DEVICES[device]), tmp_path / "handout/new"
    text = deskside("-f", site, "handout", device)
    document = deskside("-f", site, "handout", device, "--json")
    written = deskside("-f", site, "handout", device, "--out", out)
    assert [ran.status for ran in (text, document, written)] == [0, 0, 0]
    assert text.out.startswith((out / f"{device}.txt").read_text())
    assert f"{out / device}.txt: written" in written.err
    assert written.out == ""
    found = json.loads(document.out)
    assert {path.name for path in out.iterdir()} == {f"{device}.txt", *found["files"]}
    assert all(step in text.out for step in found["steps"])
    for ran in (text, document, written):
        assert CANARY not in ran.out + ran.err


@pytest.mark.parametrize("device", DEVICES)
def test_it_needs_nothing_beside_the_site_file(deskside: Runner, tmp_path: Path, device: str) -> None:
    site = write_site(tmp_path, DEVICES[device])
    for path in tmp_path.iterdir():
        if path.suffix in (".pem", ".secret"):
            path.unlink()
    assert deskside("-f", site, "handout", device).status == 0


@pytest.mark.parametrize("kind", ["ldap", "synology", "openldap"])
def test_there_is_nothing_to_enter_at_okta_for_another_kind(
    deskside: Runner, tmp_path: Path, kind: str
) -> None:
    ran = deskside("-f", write_site(tmp_path, kind), "handout", "okta", "--out", tmp_path / "out")
    refused(
        ran, 3, f"identity.kind is {kind}: there is nothing to enter at Okta", "write identity.kind: okta"
    )
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_a_sentence(deskside: Runner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = deskside("-f", write_site(tmp_path, "ldap"), "handout", "router", "--out", tmp_path / "file/out")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == f"error: {tmp_path / 'file/out'}: Not a directory\n"
