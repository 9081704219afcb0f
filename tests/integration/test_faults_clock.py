"""A clock that jumps (row 26)."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from builders import Station, assert_every_image_accounted_for, surface_file, wait_until

from daemon.clock import SteadyMoment, moment, now_utc

YEAR = timedelta(days=365)


@pytest.mark.fault(26)
def test_a_clock_that_jumps_by_a_year_to_and_fro_hurries_and_delays_no_image(
    tmp_path: Path, model: Path
) -> None:
    intake = {"quiet_seconds": 0.2, "give_up_seconds": 60.0, "rescan_seconds": 0.3}
    station = Station(root=tmp_path, model=model, tables={"intake": intake})
    jumps = [timedelta(), YEAR, -YEAR]
    data = surface_file(seed=1)
    half = station.folder("top-1") / "half.jpg"
    half.write_bytes(data[:-700])

    def clock() -> datetime:
        return now_utc() + jumps[-1]

    def recorded(name: str) -> int:
        return len(station.query("SELECT 1 FROM inspections WHERE filename = ?", name))

    with station.running(clock=clock):
        for number in range(6):
            jumps.append(jumps[number])  # to and fro
            name = f"waited-for-{number}.jpg"
            station.drop_unannounced("bottom-1", name, surface_file(seed=10 + number))
            wait_until(lambda name=name: recorded(name), what=f"{name} is recorded")
        assert not recorded("half.jpg"), "it was given up before its time"
        with half.open("ab") as file:
            file.write(data[-700:])
        station.expect("top-1", "half.jpg", data)
        station.wait_for_images(7)
        assert station.troubles().keys() <= {"clock"}
    assert_every_image_accounted_for(station)
    moments = [moment for (moment,) in station.query("SELECT recorded_at FROM inspections")]
    assert len({moment[:4] for moment in moments}) == 3, "the clock did not jump"


@pytest.mark.fault(26)
def test_a_clock_that_is_set_puts_no_start_and_no_last_image_into_the_time_to_come(
    station: Station,
) -> None:
    ahead = [timedelta(days=1)]

    def clock() -> datetime:
        return now_utc() + ahead[-1]

    with station.running(clock=clock):
        station.drop_surfaces(1)
        station.wait_for_images(1)
        for days in (0, -1, 1):
            ahead.append(timedelta(days=days))
            now, told = clock(), station.status()
            (last,) = [each["last_image"] for each in told["cameras"] if each["last_image"]]
            for what in (told["since"], last):
                assert now - timedelta(seconds=60) < moment(what) <= clock(), f"{days} days"


def test_a_clock_that_is_kept_right_moves_no_moment_that_was() -> None:
    begun = now_utc()
    start = SteadyMoment(begun)
    assert start.told(now_utc() + timedelta(seconds=30)) == begun
    assert begun < start.told(now_utc() + timedelta(hours=1))
