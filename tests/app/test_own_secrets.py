"""The authority and the passwords of a directory of one's own: made once, found again, made anew in time."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from deskside.app import own_secrets as module
from deskside.app.certificates import belongs, serves
from deskside.app.own_secrets import FOLDER, OwnSecrets, own_secrets
from deskside.errors import SiteError
from deskside.site.schema import Site
from steps.sites import make_site


def site() -> Site:
    return make_site(identity={"kind": "openldap", "on": "ws1", "replica": "ws3", "allow": {"group": "ai"}})


def plain(found: OwnSecrets) -> tuple[Any, ...]:
    keys = {name: key.reveal() for name, (_, key) in found.own.certificates.items()}
    return found.ca, found.reader.reveal(), found.own.replicator.reveal(), keys


def test_made_once_and_found_again(tmp_path: Path) -> None:
    first = own_secrets(site(), tmp_path)
    assert set(first.own.certificates) == {"ws1", "ws3"}
    assert plain(own_secrets(site(), tmp_path)) == plain(first)
    place = tmp_path / FOLDER
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    private = [path for path in place.iterdir() if path.suffix in (".key", ".secret")]
    assert len(private) == 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert (place / ".gitignore").read_text().endswith("*\n")
    assert "PRIVATE" not in repr(first)
    assert plain(first)[1] not in repr(first)


def test_a_certificate_is_for_its_host_and_signed_by_the_authority(tmp_path: Path) -> None:
    found = own_secrets(site(), tmp_path)
    certificate, key = found.own.certificates["ws3"]
    names, signed = ("ws3.lab.example", "ws3"), (certificate.encode(), found.ca.encode())
    assert serves(*signed, names, "10.20.0.13", days=600)
    assert not serves(*signed, names, "10.20.0.11", days=600)
    assert not serves(*signed, ("ws1.lab.example", "ws1"), "10.20.0.13", days=600)
    assert not serves(*signed, names, "10.20.0.13", days=800)
    other = tmp_path / "other"
    other.mkdir()
    assert not serves(
        certificate.encode(), own_secrets(site(), other).ca.encode(), names, "10.20.0.13", days=1
    )
    assert belongs(certificate.encode(), key.reveal().encode())


def test_a_certificate_is_made_anew_before_it_ends_and_when_its_key_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = plain(own_secrets(site(), tmp_path))
    (tmp_path / FOLDER / "ws3.key").unlink()
    second = plain(own_secrets(site(), tmp_path))
    assert second[:3] == first[:3]
    assert second[3]["ws1"] == first[3]["ws1"]
    assert second[3]["ws3"] != first[3]["ws3"]
    monkeypatch.setattr(module, "RENEWED_DAYS", 900)
    assert plain(own_secrets(site(), tmp_path))[3]["ws1"] != first[3]["ws1"]


def test_two_commands_at_once_make_one_authority(tmp_path: Path) -> None:
    found: list[OwnSecrets] = []
    threads = [threading.Thread(target=lambda: found.append(own_secrets(site(), tmp_path))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({repr(plain(one)) for one in found}) == 1


@pytest.mark.parametrize(
    ("spoil", "said", "hint"),
    [
        (lambda place: (place / "authority.key").unlink(), "authority.key is gone", "from your copy"),
        (lambda place: (place / "reader.secret").chmod(0o644), "can be read by others", "chmod 600"),
        (lambda place: (place / "reader.secret").write_text(""), "is empty", "write the password"),
        (lambda place: (place / "authority.pem").write_text("x"), "is damaged", "from your copy"),
        (lambda place: (place / "ws1.key").chmod(0o640), "ws1.key can be read by others", "chmod 600"),
    ],
)
def test_what_is_broken_is_said_and_nothing_is_replaced(
    tmp_path: Path, spoil: Any, said: str, hint: str
) -> None:
    own_secrets(site(), tmp_path)
    place = tmp_path / FOLDER
    spoil(place)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    with pytest.raises(SiteError) as refused:
        own_secrets(site(), tmp_path)
    assert said in refused.value.message
    assert hint in refused.value.hint
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("")
    with pytest.raises(SiteError) as refused:
        own_secrets(site(), tmp_path)
    assert os.fspath(tmp_path / FOLDER) in refused.value.message
