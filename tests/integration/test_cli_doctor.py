"""`millwatch doctor`: what an installer can get wrong is found, with what to do about it."""

import json
import os
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from builders import Station, surface_file, wait_until
from commands import Done, Millwatch
from filesystems import filesystem, hanging, obeying_permissions
from records import finding, open_store, record

from config.loading import load_settings
from config.settings import Settings
from daemon.doctor.checked import Checked, State
from daemon.doctor.examining import examine
from daemon.doctor.folders import camera_checks
from daemon.doctor.machine import clock_checks, gpu_check, processor_check
from daemon.doctor.page import certificate_checks, port_check
from daemon.doctor.storage import database_checks, disk_checks, last_recorded, model_checks
from daemon.doctor.trying import tried, tried_as
from daemon.doctor.unit import installed_unit, unit_checks
from daemon.systemd.units import DROP_IN, write_drop_ins

NOW = datetime.now(UTC)
NOBODY = 65534


def told(done: Done) -> list[Checked]:
    (line,) = [each for each in done.out.splitlines() if each.startswith("[{")]  # a daemon may log
    return [Checked(**{**each, "state": State(each["state"])}) for each in json.loads(line)]


def troubles(found: Iterable[Checked], state: State = State.BAD) -> dict[str, Checked]:
    return {each.check: each for each in found if each.state is state}


# --- the command -----------------------------------------------------------------------------------


def test_where_nothing_is_wrong_it_says_what_it_found_and_leaves_nothing_behind(
    millwatch: Millwatch, station: Station
) -> None:
    station.drop_surfaces(1)
    before = sorted(station.root.rglob("*"))
    done = millwatch("doctor", "--config", station.config)
    assert done.status == 0, done.out
    for line in (
        "good  camera top-1: moving: images are linked",
        "good  camera bottom-1: noticing: by inotify",
        "good  service: does not run now",
        "good  model: tiny-6-0 by torch",
        "good  page: web.enabled is false",
        "\n0 bad, ",
    ):
        assert line in done.out
    assert sorted(station.root.rglob("*")) == before


def test_a_daemon_that_runs_is_asked_what_is_wrong(millwatch: Millwatch, station: Station) -> None:
    with station.running():
        good = told(millwatch("doctor", "--json", "--config", station.config))
        assert "service: running" in troubles(good, State.GOOD)
        assert troubles(good) == {}
        shutil.rmtree(station.folder("top-1"))
        wait_until(lambda: "camera top-1" in station.troubles())
        done = millwatch("doctor", "--json", "--config", station.config)
    assert done.status == 1
    found = troubles(told(done))
    assert "cannot be read" in found["service: camera top-1"].found
    assert "does not exist" in found["configuration"].found
    assert all(each.remedy for each in found.values())


def test_a_configuration_that_is_wrong_is_told_key_by_key(
    millwatch: Millwatch, station: Station
) -> None:
    station.config.write_text(station.config.read_text() + "[intake]\n")
    done = millwatch("doctor", "--config", station.config)
    assert done.status == 1
    assert f"BAD   configuration: {station.config}" in done.out


def test_an_alarm_that_a_start_refuses_is_told(millwatch: Millwatch, station: Station) -> None:
    station.extra = '[[alarms]]\nname = "a"\nwhen = "trouble"\nto = ["mailto:a@plant.example"]\n'
    station.write_config()
    done = millwatch("doctor", "--json", "--config", station.config)
    assert "there is no mail server" in troubles(told(done))["configuration"].found


# --- as whom ---------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_as_root_everything_is_tried_as_the_services_user(station: Station) -> None:
    (told,) = tried_as("nobody-of-that-name", station.config, os.environ)
    assert "there is no user" in told.found
    (slow,) = tried_as("root", station.config, os.environ, seconds=0.01)
    assert "gives no answer within 0.01 s" in slow.found, "as where a share hangs"
    try:
        subprocess.run([sys.executable, "-c", "import daemon"], user=NOBODY, check=True, cwd="/")
        runs = True
    except (OSError, subprocess.CalledProcessError):
        runs = False
    found = tried_as("nobody", station.config, os.environ)
    if runs:
        assert found[0].found == "checked as the user nobody, whom the service runs as"
        assert "configuration" in troubles(found), "nobody may enter pytest's folders"
    else:
        assert "the user nobody cannot run Millwatch" in found[0].found
        assert sys.prefix in found[0].remedy


# --- folders ---------------------------------------------------------------------------------------


def test_files_that_the_camera_lets_nobody_read_are_told(station: Station) -> None:
    station.drop("top-1", "a.jpg", surface_file()).chmod(0)
    with obeying_permissions():
        found = troubles(camera_checks(station.settings(), NOW))
    assert "a.jpg cannot be read by" in found["camera top-1: files"].found
    assert "umask 0007" in found["camera top-1: files"].remedy  # with 0027 it would be copied


def test_folders_without_permission_are_told(station: Station) -> None:
    station.folder("top-1").chmod(0o500)
    with obeying_permissions():
        found = troubles(tried(station.config, {}, NOW))
    assert "the folder of camera top-1" in found["configuration"].found


@pytest.mark.fault(28)
def test_a_share_that_hangs_is_told_and_the_other_cameras_are_tried(station: Station) -> None:
    station.review.mkdir(exist_ok=True)
    with hanging(station.folder("top-1")), hanging(station.review):
        found = list(examine(station.config, {}, NOW, unit_folders=()))
    told = [each.found for each in found if "does not answer" in each.found]
    assert [each.partition(" (")[0].rpartition(": ")[2] for each in told] == [
        "the review folder",
        "the folder of camera top-1",
    ]
    tried_too = {each.check: each.found for each in found}
    assert tried_too["camera bottom-1: moving"].endswith("archive, quarantine, never copied")
    assert {"disk of state_dir", "model"} <= tried_too.keys()


def test_images_of_the_future_are_told(station: Station) -> None:
    later = (NOW + timedelta(days=1)).timestamp()
    os.utime(station.drop("top-1", "a.jpg", surface_file()), (later, later))
    found = troubles(camera_checks(station.settings(), NOW), State.REMARK)
    assert "Set the camera's clock" in found["camera top-1: clock"].remedy


def test_a_review_folder_to_which_images_must_be_copied_is_told(
    tmp_path: Path, model: Path
) -> None:
    station = Station(root=tmp_path, model=model, cameras=("top-1",))
    with filesystem(station.review, size="1m"):
        found = troubles(camera_checks(station.settings(), NOW), State.REMARK)
        assert list(station.review.iterdir()) == []
    assert str(station.review) in found["camera top-1: moving"].found
    assert str(station.state_dir) not in found["camera top-1: moving"].found


def test_a_disk_that_is_almost_full_and_one_without_inodes_are_told(
    tmp_path: Path, model: Path
) -> None:
    station = Station(root=tmp_path, model=model, cameras=("top-1",))
    with filesystem(station.state_dir, size="1m,nr_inodes=20"):
        assert troubles(disk_checks(station.settings())) == {}
        for number in range(19):
            (station.state_dir / str(number)).touch()
        (station.state_dir / "0").write_bytes(b"x" * (1020 << 10))
        bad = [each for each in disk_checks(station.settings()) if each.state is State.BAD]
    assert ["inodes are left" in bad[0].found, "pause_below_gb" in bad[1].found] == [True, True]


# --- database, clock, model, processor -------------------------------------------------------------


def test_a_database_that_is_no_database_or_in_another_mode_is_told(station: Station) -> None:
    station.state_dir.mkdir()
    open_store(station.state_dir).close()
    assert troubles(database_checks(station.settings())) == {}
    with closing(sqlite3.connect(station.database)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    assert (
        "in mode delete"
        in troubles(database_checks(station.settings()), State.REMARK)["database"].found
    )
    station.database.write_bytes(b"no database at all, but long enough to be looked at")
    assert "not a database" in troubles(database_checks(station.settings()))["database"].found


def test_a_clock_before_the_newest_record_or_before_the_installation_is_told(
    station: Station,
) -> None:
    station.state_dir.mkdir()
    store = open_store(station.state_dir)
    record(store, finding(1))
    store.close()
    settings = station.settings()
    newest = last_recorded(settings)
    assert newest == "2026-03-01T12:00:00Z"

    def bad(now: datetime, newest: str | None) -> dict[str, Checked]:
        return troubles(clock_checks(settings, now, last_recorded=newest))

    assert bad(NOW, None) == {}
    early = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
    assert newest in bad(early, newest)["clock"].found
    assert "was installed at" in bad(datetime(1970, 1, 2, tzinfo=UTC), None)["clock"].found


def test_a_rate_of_missed_defects_that_was_meant_in_percent_is_remarked(station: Station) -> None:
    def policy() -> Checked | None:
        found = tried(station.config, {}, NOW)
        return troubles(found, State.REMARK).get("policy")

    assert policy() is None
    station.tables["policy"] = {"max_missed_defect_rate": 0.5}
    station.write_config()
    told = policy()
    assert told is not None
    assert "50 % of the defects" in told.found
    assert "write 0.005" in told.remedy


def test_a_model_that_does_not_load_is_told(station: Station) -> None:
    found, runtime = model_checks(station.settings())
    assert (troubles(found), runtime[:5]) == ({}, "torch")
    station.tables["model"] = {"folder": str(station.root), "runtime": "torch"}
    station.write_config()
    found, runtime = model_checks(station.settings())
    assert str(station.root) in troubles(found)["model"].found
    assert runtime == ""


@pytest.mark.parametrize(
    ("flags", "state", "word"),
    [
        ("fpu avx avx2 avx512f avx512_vnni", State.GOOD, "avx512_vnni"),
        ("fpu avx avx2 avx_vnni", State.GOOD, "avx_vnni"),
        ("fpu avx avx2 avx512f", State.REMARK, "AVX-512 and without VNNI"),
        ("fpu avx avx2", State.REMARK, "AVX2 and without VNNI"),
        ("fpu sse4_2", State.REMARK, "without AVX2"),
    ],
)
def test_what_the_processor_can_do_is_told(flags: str, state: State, word: str) -> None:
    told = processor_check(f"model name\t: Some CPU\nflags\t\t: {flags}\n")
    assert told.state is state
    assert word in told.found
    assert "Some CPU" in told.found


@pytest.mark.skipif(not Path("/dev/nvidia0").exists(), reason="there is no GPU of NVIDIA's")
def test_a_gpu_that_judges_nothing_is_told() -> None:
    assert gpu_check(runtime="torch cuda", wanted="auto").state is State.GOOD
    assert gpu_check(runtime="openvino int8 on cpu", wanted="auto").state is State.REMARK


# --- page and certificate --------------------------------------------------------------------------


def with_web(station: Station, **web: object) -> Settings:
    station.tables["web"] = {"enabled": True, **web}
    station.write_config()
    return load_settings(station.config, {})


def test_a_port_that_another_program_has_is_told(station: Station) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = with_web(station, port=port)
        told = port_check(settings, daemon_runs=False)
        assert (told.state, "ss -ltnp" in told.remedy) == (State.BAD, True)
        assert port_check(settings, daemon_runs=True).state is State.GOOD
    assert port_check(settings, daemon_runs=False).state is State.GOOD
    reserved = with_web(station, port=1, host="127.0.0.1")
    assert port_check(reserved, daemon_runs=False).state is State.BAD
    elsewhere = with_web(station, host="192.0.2.1", insecure=True)
    assert "no such address" in port_check(elsewhere, daemon_runs=False).remedy


def certificate(folder: Path, name: str, days: int) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with (Debian: apt install openssl)")
    made, key = folder / f"{name}.pem", folder / f"{name}.key"
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=line"
    command = [*request.split(), "-days", str(days), "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    return made, key


def test_a_certificate_that_ends_or_does_not_fit_is_told(station: Station) -> None:
    good, key = certificate(station.root, "good", 100)
    soon, soon_key = certificate(station.root, "soon", 7)

    def told(made: Path, key: Path) -> list[Checked]:
        settings = with_web(station, tls_certificate=str(made), tls_key=str(key))
        return list(certificate_checks(settings, NOW))

    assert [(each.state, each.found[-8:]) for each in told(good, key)] == [(State.GOOD, "100 days")]
    assert [each.state for each in told(soon, soon_key)] == [State.REMARK]
    assert "key values mismatch" in troubles(told(good, soon_key))["certificate"].found.lower()
    assert "No such file" in troubles(told(station.root / "none.pem", key))["certificate"].found
    os.mkfifo(station.root / "pipe.pem")  # which nobody writes to
    for odd in (station.root / "pipe.pem", station.root):
        assert "cannot be used" in troubles(told(odd, key))["certificate"].found
    key.chmod(0o644)
    assert "everybody on this computer" in troubles(told(good, key))["certificate"].found


def test_a_certificate_whose_time_is_over_is_told(station: Station) -> None:
    over, key = certificate(station.root, "over", 100)
    # No openssl of today makes one that is over: the years are written over in its bytes.
    encoded = ssl.PEM_cert_to_DER_cert(over.read_text())
    past = re.sub(rb"(?<=\x17\x0d)\d\d(?=\d{10}Z)", b"20", encoded)
    over.write_text(ssl.DER_cert_to_PEM_cert(past))
    settings = with_web(station, tls_certificate=str(over), tls_key=str(key))
    assert "not valid today" in troubles(certificate_checks(settings, NOW))["certificate"].found


# --- systemd ---------------------------------------------------------------------------------------


def test_units_that_were_not_written_from_this_configuration_are_told(station: Station) -> None:
    units = station.root / "units"
    units.mkdir()
    folders = (units, station.root / "vendor")

    def told() -> Checked:
        (only,) = unit_checks(station.settings(), station.config, folders)
        return only

    assert told().found == "no unit millwatch.service is installed"
    root = Path(__file__).parents[2]
    text = (root / "systemd" / "millwatch.service").read_text()
    text = text.replace("/etc/millwatch/millwatch.toml", str(station.config))
    (units / "millwatch.service").write_text(text)
    unit = installed_unit(folders)
    assert unit is not None
    assert (unit.user, unit.config) == ("millwatch", station.config)
    assert told().state is State.BAD
    write_drop_ins(station.settings(), units)
    assert told().state is State.GOOD
    *_, unseen = unit_checks(station.settings(), station.config, folders, has_gpu=True)
    assert (unseen.check, unseen.state) == ("systemd: GPU", State.REMARK)
    assert "`make install GPU=1`, then `systemctl restart millwatch`" in unseen.remedy
    with filesystem(station.folder("top-1"), size="1m"):
        assert told().state is State.GOOD, "a share that has come"
        (units / "millwatch.service.d" / DROP_IN).unlink()
        write_drop_ins(station.settings(), units)
        assert told().state is State.GOOD
    assert told().state is State.GOOD, "a share that is away"
    station.tables["review"] = {"folder": "/srv/moved/elsewhere"}
    station.write_config()
    assert "millwatch.service.d/50-configuration.conf" in told().found
    # For root, `millwatch` is the wrapper that gives up what it takes to write there.
    assert told().remedy.startswith("`millwatch-configure`, as root")
    (other,) = unit_checks(station.settings(), station.root / "other.toml", folders)
    assert (other.state, str(station.config) in other.found) == (State.REMARK, True)


@pytest.mark.parametrize(
    ("lines", "user", "config"),
    [
        ("User = anna\nExecStart=/opt/x run \\\n  --config /srv/m.toml", "anna", "/srv/m.toml"),
        ("ExecStart=/opt/x run --config='/srv/my line.toml'\nUser=", "root", "/srv/my line.toml"),
        ('ExecStart=/opt/x run "--config', "root", None),
    ],
)
def test_a_unit_of_somebodys_own_is_read_as_systemd_reads_it(
    tmp_path: Path, lines: str, user: str, config: str | None
) -> None:
    (tmp_path / "millwatch.service").write_text(f"[Service]\n{lines}\n")
    unit = installed_unit([tmp_path])
    assert unit is not None
    assert (unit.user, unit.config) == (user, config and Path(config))
