"""What a changed configuration changes at once, and what it leaves for a restart."""

import io
import os
import signal
from pathlib import Path

import pytest
from builders import Station, surface_file, wait_until
from filesystems import filesystem
from PIL import Image
from receivers import WebServer, listening

from config.problems import ConfigurationError
from config.settings import Intake, Policy, Retention, Settings
from daemon.reloading import merged
from daemon.systemd.units import drop_ins


def test_thresholds_and_retention_change_at_once_and_folders_wait_for_a_restart() -> None:
    old = Settings()
    new = Settings(
        state_dir=Path("/srv/other"),
        policy=Policy(min_defect_confidence=0.9, on_pass="leave"),  # noqa: S106 -- no password
        retention=Retention(archive_days=30),
        intake=Intake(quiet_seconds=5),
    )
    settings, changed, waiting = merged(old, new)
    assert changed == ["policy.min_defect_confidence", "retention.archive_days"]
    assert waiting == ["state_dir", "intake.quiet_seconds", "policy.on_pass"]
    assert settings.policy == Policy(min_defect_confidence=0.9)
    assert settings.retention.archive_days == 30
    assert settings.state_dir == old.state_dir


def test_what_is_the_same_changes_nothing() -> None:
    assert merged(Settings(), Settings()) == (Settings(), [], [])


def test_a_daemon_takes_over_a_changed_policy_and_alarms_on_sighup_and_goes_on_after_a_mistake(
    station: Station,
) -> None:
    web = WebServer()
    with listening(web), station.process() as daemon:
        station.tables = {
            "policy": {"min_defect_confidence": 1.0},
            "drift": {"images_in_a_row": 2},
        }
        station.write_config()
        daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration reloaded" in _log(station))
        station.drop("top-1", "patches.jpg", surface_file("patches", seed=1))
        station.wait_for_images(1)
        assert station.query("SELECT verdict FROM inspections") == [("unsure",)]
        for number in range(2):
            station.drop("top-1", f"{number}.png", _black(number))
        wait_until(lambda: "black top-1" in station.troubles())

        station.extra = _alarm(web.url)
        station.write_config()
        daemon.send_signal(signal.SIGHUP)
        (post,) = wait_until(lambda: web.posts)
        assert "the last 2 images of camera top-1 are black" in post["began"][0]
        station.tables["drift"]["enabled"] = False
        station.write_config()
        daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: station.troubles() == {})

        station.extra = 2 * _alarm(web.url)
        station.write_config()
        daemon.send_signal(signal.SIGHUP)
        told = wait_until(lambda: station.troubles().get("configuration"))
        assert 'another alarm is named "office" already' in told
        station.extra, station.tables = "", {"policy": {"min_defect_confidence": 2.0}}
        station.write_config()
        daemon.send_signal(signal.SIGHUP)
        wait_until(
            lambda: "policy.min_defect_confidence" in station.troubles()["configuration"],
            what="the next mistake is told",
        )
        assert daemon.poll() is None


def _fill_but(left: int, folder: Path) -> bool:
    """Whether a file takes all but so many bytes: not where another has taken some meanwhile."""
    room = os.statvfs(folder)
    with (folder / "filler").open("wb") as filler:
        try:
            os.posix_fallocate(filler.fileno(), 0, room.f_bavail * room.f_frsize - left)
        except OSError:
            filler.truncate(0)
            return False
    return True


def test_a_daemon_stands_still_below_another_room_on_sighup(model: Path, tmp_path: Path) -> None:
    keep = {"make_room_below_gb": 0, "pause_below_gb": 0}
    state = tmp_path / "small"
    station = Station(root=tmp_path, model=model, state=state, tables={"retention": keep})
    with filesystem(state, size="40m"), station.process() as daemon:
        wait_until(station.database.with_name(f"{station.database.name}.reserve").exists)
        wait_until(lambda: _fill_but(200_000, state), what="the disk is full")
        for gigabytes in (1, 0):  # of which no more than a hundredth of the disk is asked for
            station.tables = {"retention": {**keep, "pause_below_gb": gigabytes}}
            station.write_config()
            daemon.send_signal(signal.SIGHUP)
            wait_until(lambda below=gigabytes: ("space" in station.troubles()) == bool(below))


LONGEST = {
    "retention": {"archive_days": 365_000, "quarantine_days": 365_000, "rows_days": 365_000},
    "intake": {"rescan_seconds": 86_400},
    "retraining": {"max_memory_gb": 1e6},
}


def test_the_longest_times_that_can_be_set_serve_and_longer_ones_are_refused(
    tmp_path: Path, model: Path
) -> None:
    station = Station(root=tmp_path, model=model, tables=LONGEST)
    with station.running():
        station.drop_surfaces(2)
        station.wait_for_images(2)
    assert drop_ins(station.settings())
    for table, keys in LONGEST.items():
        for key, most in keys.items():
            station.tables = {table: {key: most + 1}}
            station.write_config()
            with pytest.raises(ConfigurationError, match=f"{table}.{key}: must be at most"):
                station.settings()


def _alarm(url: str) -> str:
    return f'[[alarms]]\nname = "office"\nwhen = "trouble"\nto = ["{url}"]\n'


def _black(number: int) -> bytes:
    """Each a file of its own."""
    file = io.BytesIO()
    picture = Image.new("L", (96, 96))
    picture.putpixel((number, 0), 1)
    picture.save(file, "png")
    return file.getvalue()


def _log(station: Station) -> str:
    return (station.root / "daemon.log").read_text()
