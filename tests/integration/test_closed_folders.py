"""What another user left in Millwatch's folders, or closed to it: told in words, before anything is touched."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import Station
from commands import Millwatch
from filesystems import obeying_permissions

from daemon.doctor.examining import examine
from daemon.doctor.trying import tried
from daemon.process.instance import NotAllowedError, instance_lock
from daemon.store.upgrading import prepare_database

NOW = datetime.now(UTC)


@pytest.fixture
def used(station: Station) -> Station:
    """A line with a database."""
    station.state_dir.mkdir()
    prepare_database(station.database, backups=station.state_dir / "backups", now=NOW).close()
    return station


@pytest.mark.parametrize("name", ["millwatch.lock", "millwatch.db", "crash.txt"])
def test_a_file_that_root_left_in_the_state_folder_is_a_problem_and_no_crash_loop(
    millwatch: Millwatch, used: Station, name: str
) -> None:
    file = used.state_dir / name
    file.touch()
    file.chmod(0)
    with obeying_permissions():
        ran = millwatch("run", "--config", used.config)
        checked = millwatch("check", "--config", used.config)
        (doctor, *_) = tried(used.config, {}, NOW)
    assert (ran.status, checked.status) == (78, 78)
    assert f"state_dir: {file} cannot be read and written by" in ran.err
    assert checked.out.splitlines() == ran.err.splitlines()
    assert "chown -R" in doctor.remedy
    assert "restore" not in ran.err, "no backup has to be put back for that"


@pytest.mark.parametrize("name", ["millwatch.lock", "millwatch.sock"])
def test_a_folder_in_the_place_of_a_file_of_the_state_folder_is_told_with_what_to_do(
    millwatch: Millwatch, used: Station, name: str
) -> None:
    (used.state_dir / name).mkdir()
    ran = millwatch("run", "--config", used.config)
    checked = millwatch("check", "--config", used.config)
    assert (ran.status, checked.status) == (78, 78)
    assert f"state_dir: {used.state_dir / name} is no file" in ran.err
    assert "Move it away" in ran.err
    assert checked.out.splitlines() == ran.err.splitlines()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_in_the_place_of_the_trace_of_crashes_keeps_nobody_waiting(
    millwatch: Millwatch, used: Station, make: Callable[[Path], None]
) -> None:
    """The pipe held up the start for ever."""
    make(used.state_dir / "crash.txt")
    done = millwatch("check", "--config", used.config)
    assert (done.status, "crash.txt is no file" in done.out) == (78, True)


def test_a_state_folder_below_a_closed_one_is_told_once(
    millwatch: Millwatch, tmp_path: Path, model: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o600)
    station = Station(root=tmp_path, model=model, state=closed / "state")
    with obeying_permissions():
        done = millwatch("check", "--config", station.config)
    assert done.status == 78
    assert done.err == "1 problem in the configuration\n"
    assert "cannot make it in" in done.out


def test_commands_say_what_is_closed_to_whom(millwatch: Millwatch, used: Station) -> None:
    used.state_dir.chmod(0o600)
    with obeying_permissions():
        for command in (["users", "list"], ["alarms", "list"], ["audit"], ["report", "rates"]):
            done = millwatch(*command, "--config", used.config)
            assert done.status == 1
            assert done.err.startswith(f"millwatch: {used.database} is closed to the user")
    used.state_dir.chmod(0o700)
    (used.state_dir / "millwatch.lock").touch(mode=0o400)
    with obeying_permissions():
        done = millwatch("users", "remove", "anna", "--config", used.config)
        assert done.status == 1
        assert "nothing was changed" in done.err
        assert "run it as the user that Millwatch runs as" in done.err
        with pytest.raises(NotAllowedError), instance_lock(used.state_dir):
            pass


def test_a_backup_of_a_closed_database_names_its_permissions(
    millwatch: Millwatch, used: Station
) -> None:
    used.database.chmod(0)
    with obeying_permissions():
        done = millwatch("db", "backup", "--config", used.config)
    assert done.status == 1
    assert "Mend its permissions and those of its folder" in done.err
    assert "put back" not in done.err


def test_the_doctor_goes_on_past_what_is_closed_to_it(used: Station) -> None:
    used.folder("top-1").parent.chmod(0o600)
    used.state_dir.chmod(0o600)
    with obeying_permissions():
        found = [*examine(used.config, {}, NOW, unit_folders=[])]
    told = [each.found for each in found if each.check == "configuration"]
    assert any(f"({used.folder('top-1')}) cannot be listed" in each for each in told)
    assert any(f"({used.state_dir}) cannot be listed" in each for each in told)
    (database,) = [each for each in found if each.check == "database"]
    assert f"{used.database} cannot be seen by" in database.found
    assert {"clock", "memory", "page", "systemd"} <= {each.check for each in found}
