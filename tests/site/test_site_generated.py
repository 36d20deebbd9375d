"""The JSON Schema and the settings reference are those of the models, and say something about every field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deskside.site import generate
from deskside.site.known import LATER_KEYS, LATER_VALUES, keys_of, settings
from deskside.site.values import Memory

HERE = Path(__file__).parent
SCHEMA = json.loads(generate.schema_text())


def test_generated_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().out


def test_a_stale_file_is_named_and_updated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "SCHEMA", tmp_path / "site.schema.json")
    monkeypatch.setattr(generate, "REFERENCE", tmp_path / "reference/settings.md")
    assert generate.main(["--check"]) == 1
    assert "site.schema.json is stale" in capsys.readouterr().out
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "reference/settings.md").write_text("old")
    assert generate.main(["--check"]) == 1


def test_every_field_is_described_and_in_the_reference() -> None:
    reference = generate.reference_text()
    for path, setting in settings().items():
        assert (setting.info.description or "").strip().endswith((".", "stands here.")), path
        assert f"| `{path}` |" in reference or f"## `{path}`" in reference, path
    assert "free |" in reference


def test_every_required_field_has_an_example_or_is_a_section() -> None:
    for path, setting in settings().items():
        if setting.info.is_required():
            assert setting.example or setting.section, path


def test_what_is_later_is_not_there_yet() -> None:
    assert not set(LATER_KEYS) & set(settings())
    assert set(LATER_VALUES) <= set(settings())
    assert "pods" in keys_of("network")
    assert "serial" in keys_of("hosts[].data")
    assert set(keys_of("hosts")) >= {"name", "data"}
    assert "site" in keys_of("")


def test_free_values_are_called_values() -> None:
    """The reader gives types to scalars below that key, and to no others."""
    free = [path for path in settings() if generate._type(settings()[path]) == "free"]
    assert free
    assert all(path.endswith(".values") for path in free)


def accepts(document: object) -> bool:
    """Whether an editor would accept a document."""
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(document))


def as_an_editor_reads(text: str) -> Any:
    """Values by YAML 1.2, in which the key `on` is no boolean."""
    return yaml.safe_load(re.sub(r"\bon:", "'on':", text))


def test_the_schema_knows_good_from_bad() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    example = as_an_editor_reads((HERE.parents[1] / "docs/examples/site.yaml").read_text("utf-8"))
    assert accepts(example)
    for place, value in (
        (("network", "gatway"), "10.20.0.1"),
        (("network", "pod_network"), "calico"),
        (("hosts", 0, "roles"), ["wroker"]),
        (("hosts", 0, "data"), {"device": "/dev/sdb"}),
        (("identity", "allow"), {}),
        (("identity", "allow"), {"group": "cn=ai,dc=lab", "all": True}),
        (("notebooks", "profiles", 0, "memory"), "4GB"),
        (("verify", "user", "password"), "hunter2"),
        (("addons",), {}),
    ):
        changed = json.loads(json.dumps(example))
        around = changed
        for part in place[:-1]:
            around = around[part]
        around[place[-1]] = value
        assert not accepts(changed), place


def test_values_print_as_they_are_written() -> None:
    assert str(Memory.parse("512Mi")) == "512Mi"
    assert Memory.parse("1Ti").bytes == 1024**4
