"""What systemd is told, and that it is told nothing more when the work stands still."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from builders import Station, assert_every_image_accounted_for, surface_file, wait_until
from composed import Wrapped
from numpy.typing import NDArray

from daemon.clock import now_utc
from daemon.service import Service
from daemon.serving import load_serving_model
from daemon.store.upgrading import prepare_database
from models.runtimes.protocol import Outputs

PING_SECONDS = 0.2


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Systemd's end of the socket, which wants to hear something every half second."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", str(round(PING_SECONDS / 0.4 * 1e6)))
        yield listener


@dataclass
class Hanging(Wrapped):
    """A runtime that does not come back until it is let, as a driver does that has lost its device."""

    entered: threading.Event = field(default_factory=threading.Event)
    let: threading.Event = field(default_factory=threading.Event)

    def infer(self, images: NDArray[np.uint8], *, with_maps: bool = False) -> Outputs:
        self.entered.set()
        assert self.let.wait(60)
        return self.sound.infer(images, with_maps=with_maps)


def heard(systemd: socket.socket) -> list[str]:
    return systemd.recv(1 << 12).decode().splitlines()


def hear_out(systemd: socket.socket) -> None:
    while True:
        heard(systemd)


def test_systemd_is_told_of_the_start_of_life_and_of_the_end(
    station: Station, systemd: socket.socket
) -> None:
    with station.running():
        assert heard(systemd) == ["READY=1", "STATUS=0 images recorded"]
        assert heard(systemd)[0] == "WATCHDOG=1"
        station.drop("top-1", "x.jpg", surface_file(seed=1))
        wait_until(lambda: heard(systemd) == ["WATCHDOG=1", "STATUS=1 image recorded"])
    wait_until(lambda: heard(systemd) == ["STOPPING=1"])


@pytest.mark.fault(37)
def test_an_inference_that_hangs_ends_the_pings_so_that_systemd_restarts(
    station: Station, systemd: socket.socket
) -> None:
    settings = station.settings()
    settings.state_dir.mkdir(parents=True)
    model = load_serving_model(settings)
    hanging = Hanging(model.runtime)
    database = prepare_database(
        settings.database_file, backups=settings.state_dir / "backups", now=now_utc()
    )
    stopping = threading.Event()
    service = Service(
        settings,
        database=database,
        model=replace(model, runtime=hanging),
        stopping=stopping,
        clock=now_utc,
    )
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        assert heard(systemd)[0] == "READY=1"
        assert heard(systemd)[0] == "WATCHDOG=1"
        station.drop("top-1", "x.jpg", surface_file(seed=1))
        assert hanging.entered.wait(60)
        systemd.settimeout(10 * PING_SECONDS)
        with pytest.raises(TimeoutError):
            hear_out(systemd)  # one may have been on its way
        hanging.let.set()
        systemd.settimeout(60)
        assert heard(systemd)[0] == "WATCHDOG=1"
        station.wait_for_images(1)
    finally:
        hanging.let.set()
        stopping.set()
        thread.join(timeout=60)
        database.close()
    assert_every_image_accounted_for(station)


def test_without_systemd_nothing_is_said_and_nothing_fails(
    station: Station, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody listens"))
    with station.running():
        station.drop("top-1", "x.jpg", surface_file(seed=1))
        station.wait_for_images(1)
