"""What `check --write-unit` writes, and what systemd says of it where it is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from builders import Station
from filesystems import hanging

from config.oversight import Alarm, Webhook
from config.settings import Camera, Model, Retraining, Review, Settings
from config.web import Web
from daemon.retraining.folders import runs_folder
from daemon.systemd.units import DROP_IN, UnitError, drop_ins, together, write_drop_ins

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = ("millwatch.service", "millwatch-retrain.service", "millwatch-backup.service")
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed here")


def settings(
    state: Path | str = "/var/lib/millwatch", *cameras: Path | str, **tables: object
) -> Settings:
    listed = [Camera(name=f"top-{n}", folder=Path(each)) for n, each in enumerate(cameras)]
    return Settings(state_dir=Path(state), cameras=tuple(listed), **tables)  # type: ignore[arg-type]


def service(of: Settings) -> list[str]:
    return drop_ins(of)[f"millwatch.service.d/{DROP_IN}"].splitlines()


def test_folders_of_one_disk_become_one_entry_so_that_images_are_linked_and_not_copied(
    tmp_path: Path,
) -> None:
    (tmp_path / "cameras").mkdir()
    wanted = settings(
        tmp_path / "state",
        tmp_path / "cameras" / "top",
        tmp_path / "cameras" / "side",
        review=Review(folder=tmp_path / "review"),
    )
    assert [line for line in service(wanted) if line.startswith("ReadWritePaths")] == [
        f'ReadWritePaths="-{tmp_path}"'
    ]


def test_what_lies_on_two_disks_or_under_a_folder_of_everybody_stays_apart(tmp_path: Path) -> None:
    other_disk = Path("/dev/shm/review")  # noqa: S108 -- another filesystem; nothing is made there
    assert together([tmp_path / "a", other_disk]) == sorted([tmp_path / "a", other_disk])
    apart = [Path("/var/lib/one"), Path("/var/lib/two")]
    assert together(apart) == apart


@pytest.mark.fault(28)
def test_a_share_that_hangs_is_not_waited_for_while_the_line_stands_still(tmp_path: Path) -> None:
    """An upgrade writes the units between the stop and the start."""
    here, share = tmp_path / "here", tmp_path / "share"
    for each in (here, share):
        each.mkdir()
    with hanging(share):
        assert together([here, share, here / "in"]) == [here, share]


def test_the_disk_of_the_database_must_be_mounted_and_a_camera_s_share_is_only_awaited() -> None:
    lines = service(
        settings("/data/millwatch", "/mnt/nas/top 1", review=Review(folder=Path("/srv/review")))
    )
    assert 'RequiresMountsFor="/data/millwatch"' in lines
    assert 'RequiresMountsFor="/srv/review"' in lines
    for own_disk in ("archive", "quarantine"):
        assert f'RequiresMountsFor="/data/millwatch/{own_disk}"' in lines
    assert r"Wants=mnt-nas-top\x201.mount" in lines
    assert r"After=mnt-nas.mount" in lines
    assert not any(line.startswith("RequiresMountsFor") and "nas" in line for line in lines)


def test_alarms_and_a_page_for_others_lift_the_wall_and_a_page_for_this_computer_does_not() -> None:
    open_page = Web(host="0.0.0.0", insecure=True)  # noqa: S104 -- only written into a unit
    assert "IPAddressDeny=" in service(settings(web=open_page))
    alarm = Alarm(name="night", when="trouble", to=("https://plant.example/hook",))
    assert "IPAddressDeny=" in service(settings(alarms=(alarm,)))
    assert "IPAddressDeny=" not in service(settings())


def test_a_percent_sign_is_no_specifier_and_a_quote_is_refused() -> None:
    assert 'RequiresMountsFor="/srv/100%% steel"' in service(settings("/srv/100% steel"))
    with pytest.raises(UnitError, match="holds a quote"):
        drop_ins(settings('/srv/"quoted"'))


def test_homes_are_hidden_unless_an_image_lies_in_one() -> None:
    assert "ProtectHome=read-only" in service(settings("/srv/state", "/home/camera/out"))
    assert "ProtectHome=read-only" not in service(settings("/srv/state", "/srv/cameras"))


def test_a_certificate_and_a_secret_in_a_home_are_seen_as_doctor_and_check_see_them() -> None:
    web = Web(tls_certificate=Path("/home/it/page.pem"), tls_key=Path("/etc/page.key"))
    for tables in ({"web": web}, {"webhook": Webhook(token_file=Path("/root/token"))}):
        assert "ProtectHome=read-only" in service(settings("/srv/state", "/srv/out", **tables))


def test_the_file_that_asks_for_a_retraining_is_one_for_the_path_unit_and_what_it_starts() -> None:
    written = drop_ins(settings("/srv/two words/100 %"))
    asked = "/srv/two words/100 %%/runs/requested"
    assert f"PathChanged={asked}" in written[f"millwatch-retrain.path.d/{DROP_IN}"]
    started = written[f"millwatch-retrain.service.d/{DROP_IN}"].splitlines()
    assert f'Environment="RETRAINING_REQUESTED={asked}"' in started
    of_unit = f"{runs_folder(Settings())}/requested"
    assert f"PathChanged={of_unit}\n" in (UNITS / "millwatch-retrain.path").read_text()
    assert f"RETRAINING_REQUESTED={of_unit}\n" in (UNITS / "millwatch-retrain.service").read_text()


def test_the_limits_of_the_slice_are_those_of_the_configuration() -> None:
    wanted = settings(retraining=Retraining(threads=3, max_memory_gb=2.5))
    slice_ = drop_ins(wanted)[f"millwatch-retrain.slice.d/{DROP_IN}"]
    assert "CPUQuota=300%" in slice_
    assert "MemoryMax=2500000000" in slice_


def test_only_what_differs_is_written_again(station: Station, tmp_path: Path) -> None:
    first = write_drop_ins(station.settings(), tmp_path / "etc")
    assert {path.parent.name for path in first} >= {
        "millwatch.service.d",
        "millwatch-retrain.path.d",
    }
    assert write_drop_ins(station.settings(), tmp_path / "etc") == []


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units as they are installed, with drop-ins; programs that exist stand for those of /opt."""
    folder = tmp_path_factory.mktemp("units")
    (folder / "there").mkdir()
    for unit in UNITS.glob("millwatch*.[spt]*"):
        text = unit.read_text()
        for program in ("bin/millwatch", "bin/python"):
            text = text.replace(f"/opt/millwatch/current/{program}", "/bin/true")
        (folder / unit.name).write_text(text)
    strange = settings(folder / "there", folder / "100% top", model=Model(folder=folder / "there"))
    write_drop_ins(strange, folder)
    return folder


@needs_systemd
@pytest.mark.parametrize("unit", [*SERVICES, "millwatch-retrain.path", "millwatch-backup.timer"])
def test_systemd_has_nothing_to_say_against_the_units(installed: Path, unit: str) -> None:
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"./{unit}"],
        cwd=installed,
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in said.stderr.splitlines() if "millwatch" in line]
    assert (said.returncode, ours) == (0, [])


@needs_systemd
@pytest.mark.parametrize(("gpu", "most"), [(False, 1.5), (True, 1.5)])
@pytest.mark.parametrize("unit", SERVICES)
def test_the_units_are_as_little_exposed_as_promised(
    tmp_path: Path, unit: str, gpu: bool, most: float
) -> None:
    shutil.copy(UNITS / unit, tmp_path)
    if gpu:
        (tmp_path / f"{unit}.d").mkdir()
        shutil.copy(UNITS / "millwatch-gpu.conf", tmp_path / f"{unit}.d")
    said = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=yes",
            f"--threshold={round(most * 10)}",
            f"./{unit}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Overall exposure level" in said.stdout + said.stderr
    assert said.returncode == 0, said.stdout[-400:]
