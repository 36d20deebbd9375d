"""Charts are packed the same each time, and a site's own chart stands for the train's."""

import tarfile
from pathlib import Path

import pytest

from deskside.errors import SiteError, StepFailed
from deskside.model.artifact import Artifact, Kind
from deskside.store.charts import SiteCharts, packed

WANTED = [Artifact("metallb-chart", "site", Kind.CHART)]


def chart(folder: Path) -> Path:
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("name: mine\nversion: 1.0.0\n")
    (folder / "templates/a.yaml").write_text("a: 1\n")
    return folder


def quiet(name: str, line: str) -> None:
    del name, line


def test_two_copies_pack_to_the_same_bytes_and_the_version_can_be_set(tmp_path: Path) -> None:
    one, two = chart(tmp_path / "1/mine"), chart(tmp_path / "2/mine")
    assert packed(one) == packed(two)
    (tmp_path / "c.tgz").write_bytes(packed(one, "2.0.0"))
    with tarfile.open(tmp_path / "c.tgz") as archive:
        file = archive.extractfile("mine/Chart.yaml")
        assert file is not None
        assert b"version: 2.0.0" in file.read()


async def test_a_folder_is_locked_as_it_is_now_and_served(tmp_path: Path) -> None:
    source = SiteCharts({"metallb-chart": chart(tmp_path / "mine")}, tmp_path / "cache")
    (first,) = await source.lock(WANTED, quiet)
    assert (await source.fetch(first)).read_bytes() == packed(tmp_path / "mine")
    (tmp_path / "mine/templates/a.yaml").write_text("a: 2\n")
    (second,) = await source.lock(WANTED, quiet)
    assert first.sha256 != second.sha256


async def test_what_is_no_chart_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, said in ((tmp_path / "empty", "no Chart.yaml"), (tmp_path / "absent", "cannot be read")):
        with pytest.raises(SiteError, match=said):
            await SiteCharts({"metallb-chart": path}, tmp_path / "cache").lock(WANTED, quiet)


async def test_a_chart_that_went_away_is_a_sentence(tmp_path: Path) -> None:
    source = SiteCharts({"metallb-chart": chart(tmp_path / "mine")}, tmp_path / "cache")
    (found,) = await source.lock(WANTED, quiet)
    for path in (tmp_path / "cache/site-charts").iterdir():
        path.unlink()
    with pytest.raises(StepFailed, match="changed during the run"):
        await source.fetch(found)
