"""Models that people brought: what `model.folder` names, and folders that were copied to the registry."""

import shutil
from pathlib import Path

import pytest
from builders import Station
from composed import by_hand
from promoting import kept, promoter_of

from daemon.process.control import RefusedError
from daemon.serving import registry_folder


def statuses(station: Station) -> dict[str, str]:
    return dict(station.query("SELECT version, status FROM model_versions"))


def test_the_model_that_the_configuration_names_is_never_removed_with_old_versions(
    station: Station, model: Path, commissioned_model: Path
) -> None:
    """The state folder is where the service may read: people put their model beside the others."""
    station.model = registry_folder(station.settings()) / kept(station, model, "ours")
    station.tables = {"retraining": {"keep_versions": 2}}
    station.write_config()
    with by_hand(station.settings()) as line:
        promoter = promoter_of(station, line)
        for version in ("first", "second", "third"):
            promoter.promote(kept(station, commissioned_model, version), "eva")
    left = {each.name for each in registry_folder(station.settings()).iterdir() if each.is_dir()}
    assert left == {"ours", "second", "third"}


def test_a_model_that_was_configured_meanwhile_is_recorded_when_it_is_gone_back_to(
    station: Station, model: Path, commissioned_model: Path, tmp_path: Path
) -> None:
    with by_hand(station.settings()) as line:
        promoter_of(station, line).promote(kept(station, commissioned_model, "second"), "eva")
    station.model = shutil.move(
        registry_folder(station.settings()) / kept(station, model, "ours"), tmp_path / "ours"
    )
    station.write_config()
    with by_hand(station.settings()) as line:
        assert promoter_of(station, line).roll_back("eva") == "ours"
    assert statuses(station) == {"tiny-6-0": "retired", "second": "rejected", "ours": "current"}


def test_a_folder_in_the_registry_that_is_not_named_by_its_version_is_refused_in_words(
    station: Station, commissioned_model: Path
) -> None:
    version = kept(station, commissioned_model, "second")
    registry = registry_folder(station.settings())
    (registry / version).rename(registry / "ours")
    with by_hand(station.settings()) as line:
        promoter = promoter_of(station, line)
        for asked in ("ours", version):
            with pytest.raises(RefusedError, match=f"{registry / 'ours'}.*rename.* {version}"):
                promoter.promote(asked, "eva")
        (registry / "ours").rename(registry / version)
        promoter.promote(version, "eva")
    assert statuses(station) == {"tiny-6-0": "retired", version: "current"}
