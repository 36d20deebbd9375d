"""A secret leaves by reveal() alone, and comes from a place that others cannot read."""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import pickle
import traceback
from dataclasses import dataclass
from pathlib import Path
from pprint import pformat

import pytest
import rich.console
import rich.pretty
import rich.traceback
from pydantic import ValidationError

from deskside.errors import SiteError
from deskside.site.secrets import Secret, SecretSource

WORD = "correct horse"


@dataclass(frozen=True)
class Holder:
    name: str
    password: Secret


def test_no_way_of_showing_shows_it() -> None:
    secret = Secret(WORD)
    shown = [
        repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", f"{secret:x}", "%s %r" % (secret, secret),  # noqa: UP031
        f"{secret}", ascii(secret), pformat({"a": [secret]}), repr(Holder("ann", secret)),
        rich.pretty.pretty_repr(secret), repr([secret]), str(dir(secret)),
        str(getattr(secret, "__dict__", "")),
        json.dumps({"a": secret}, default=str),
    ]  # fmt: skip
    assert not any(WORD in text for text in shown)
    with pytest.raises(TypeError):
        vars(secret)
    assert secret.reveal() == WORD


def test_it_cannot_be_stored() -> None:
    secret = Secret(WORD)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be stored"):
            pickle.dumps(Holder("ann", secret), protocol)
    with pytest.raises(TypeError) as raised:
        json.dumps({"password": secret})
    assert WORD not in str(raised.value)
    with pytest.raises(TypeError, match="cannot be stored"):
        secret.__getstate__()
    with pytest.raises(AttributeError):
        secret.text = "other"
    assert copy.copy(secret) is secret
    assert copy.deepcopy(Holder("ann", secret)).password is secret


def test_comparing() -> None:
    assert Secret(WORD) == Secret(WORD)
    assert Secret(WORD) != Secret("other")
    assert Secret("é") == Secret("é")
    assert (Secret(WORD) == WORD) is False
    assert not Secret("")
    assert Secret(WORD)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret(WORD))


def test_logs_and_tracebacks_with_locals(caplog: pytest.LogCaptureFixture) -> None:
    def fails(secret: Secret) -> None:
        holder = Holder("ann", secret)
        raise ValueError(f"cannot use {holder}")

    out = io.StringIO()
    console = rich.console.Console(file=out, width=200)
    try:
        fails(Secret("".join(["correct", " ", "horse"])))
    except ValueError as error:
        logging.getLogger("test").exception("failed")
        seen = rich.traceback.Traceback.from_exception(
            type(error), error, error.__traceback__, show_locals=True
        )
        console.print(seen)
        detailed = traceback.TracebackException.from_exception(error, capture_locals=True)
        out.write("".join(detailed.format()))
    rich.inspect(Secret(WORD), console=console, all=True)
    assert "<secret>" in out.getvalue()
    assert WORD not in out.getvalue()
    assert WORD not in caplog.text


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    """A file with that content and mode."""
    path = folder / "ann.secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [b"correct horse", b"correct horse\n", b"correct horse\r\n"])
def test_from_a_file(content: bytes, tmp_path: Path) -> None:
    secret_file(tmp_path, content)
    assert SecretSource(file=Path("ann.secret")).resolve(tmp_path).reveal() == WORD
    secret_file(tmp_path, content, 0o400)
    assert SecretSource(file=tmp_path / "ann.secret").resolve(Path("/")).reveal() == WORD


def test_from_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    secret_file(tmp_path, WORD.encode())
    assert SecretSource(file=Path("~/ann.secret")).resolve(Path("/")).reveal() == WORD


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o601, 0o777])
def test_a_file_that_others_can_read(mode: int, tmp_path: Path) -> None:
    path = secret_file(tmp_path, WORD.encode(), mode)
    with pytest.raises(SiteError, match="can be read by others") as raised:
        SecretSource(file=path).resolve(tmp_path)
    assert raised.value.hint == f"run: chmod 600 {path}"


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff\xfe", b"a\0b", b"x" * 65537])
def test_a_file_that_holds_no_password(content: bytes, tmp_path: Path) -> None:
    path = secret_file(tmp_path, content)
    with pytest.raises(SiteError, match="is empty, too long or not") as raised:
        SecretSource(file=path).resolve(tmp_path)
    frames = traceback.walk_tb(raised.tb.tb_next)  # without this test's own frame
    shown = "".join(traceback.StackSummary.extract(frames, capture_locals=True).format())
    assert "_from_file" in shown
    assert "two" not in shown
    assert "xxxx" not in shown


def test_a_file_that_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("absent", "pipe", ".", "nul\0"):
        with pytest.raises(SiteError, match="a secret cannot be read from") as raised:
            SecretSource(file=Path(name)).resolve(tmp_path)
        assert raised.value.hint


def test_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SecretSource(env="ANN_PASSWORD")
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("ANN_PASSWORD", raising=False)
        else:
            monkeypatch.setenv("ANN_PASSWORD", value)
        with pytest.raises(SiteError, match="ANN_PASSWORD, which is not set") as raised:
            source.resolve(tmp_path)
        assert "export ANN_PASSWORD" in raised.value.hint
    monkeypatch.setenv("ANN_PASSWORD", WORD)
    assert source.resolve(tmp_path).reveal() == WORD


def test_exactly_one_place() -> None:
    for wrong in ({}, {"env": "A", "file": "b"}, {"env": "a b"}, {"plain": "x"}):
        with pytest.raises(ValidationError):
            SecretSource.model_validate(wrong)


@pytest.mark.parametrize("text", ["one\ntwo", "one\rtwo", "one\udcff"])
def test_a_variable_of_more_than_a_line(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would add a line to the settings that it is written to."""
    monkeypatch.setenv("READER", text)
    with pytest.raises(SiteError, match="READER is not one line of UTF-8 text") as refused:
        SecretSource(env="READER").resolve(tmp_path)
    assert "two" not in f"{refused.value}{refused.value.hint}"
