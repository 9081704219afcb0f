"""From the command to READY, and the memory of a daemon with its page. Nothing is asserted."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from statistics import median

import pytest
from builders import Station, clean_environment, wait_until
from speed import SMALL, jpegs, machine, recorded, resident_mib, shipped_station

STARTS = 6
IMAGES = 3000


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_start_to_ready_and_memory(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    station = shipped_station(tmp_path, web={"enabled": True, "port": port})
    print(f"\n{machine()}")
    seconds = []
    for number in range(STARTS):
        process, taken = _start(station)
        seconds.append(taken)
        if number < STARTS - 1:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
    print(
        f"start to READY: {seconds[0]:.2f} s on a new state folder, then median "
        f"{median(seconds[1:]):.2f} s of {STARTS - 1}"
    )
    try:
        wait_until(lambda: _page_answers(port), what="the page answers")
        print(f"resident with the page, before an image: {resident_mib(process.pid):.0f} MiB")
        files = jpegs(SMALL, 50)
        for number in range(IMAGES):
            camera = station.cameras[number % 2]
            station.drop(camera, f"{number:05d}.jpg", files[number % len(files)])
        wait_until(lambda: recorded(station) == IMAGES, seconds=300, every=0.2)
        print(
            f"after {IMAGES} images: {resident_mib(process.pid):.0f} MiB, "
            f"at most {resident_mib(process.pid, 'VmHWM'):.0f} MiB"
        )
    finally:
        process.kill()
        process.wait()


def _start(station: Station) -> tuple["subprocess.Popen[bytes]", float]:
    """The daemon, and the seconds until it told the service manager that it is ready."""
    address = str(station.root / "notify.sock")
    with suppress(FileNotFoundError):
        os.unlink(address)  # noqa: PTH108 -- a socket's address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(60)
        start = time.perf_counter()
        with (station.root / "daemon.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "daemon.cli", "run", "--config", station.config],
                stdout=log,
                stderr=log,
                env={**clean_environment(), "NOTIFY_SOCKET": address},
            )
        while b"READY=1" not in manager.recv(4096):
            pass
        return process, time.perf_counter() - start


def _page_answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/login", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
