"""Connections to the page that break: tablets that leave the network, and pushes that end midway."""

import base64
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from builders import wait_until
from pages import PASSWORD, Page, served_page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Page]:
    with served_page(tmp_path_factory.mktemp("page"), model) as made:
        made.add_user("camera")
        wait_until(lambda: _answers(made.settings.web.port))
        yield made


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/login").status_code == 200
    except httpx.TransportError:
        return False


def test_a_tablet_that_left_the_network_is_asked_for_and_holds_no_connection_for_good(
    page: Page,
) -> None:
    port = page.settings.web.port
    with socket.create_connection(("127.0.0.1", port)) as tablet:
        ends = f":{port:04X} 0100007F:{tablet.getsockname()[1]:04X} "

        def timer() -> str:
            """What the kernel waits for at the server's end (proc(5)): 02 is to ask whether it is there."""
            lines = Path("/proc/net/tcp").read_text().splitlines()
            return next((line.split()[5][:2] for line in lines if ends in line), "")

        assert wait_until(timer) == "02"


def test_a_push_that_ends_midway_leaves_nothing_and_is_no_failure_of_the_page(
    page: Page, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = page.root / "cameras" / "top-1"
    password = base64.b64encode(f"camera:{PASSWORD}".encode()).decode()
    asked = (
        "POST /api/inspections?camera=top-1&filename=a.jpg HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Authorization: Basic {password}\r\nContent-Length: 100\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", page.settings.web.port)) as camera:
        camera.sendall(asked.encode() + b"half of it")
        wait_until(lambda: list(folder.iterdir()))
    wait_until(lambda: not list(folder.iterdir()))
    told = wait_until(lambda: capfd.readouterr().out)
    assert "a request was broken off" in told
    assert "Traceback" not in told + capfd.readouterr().err
