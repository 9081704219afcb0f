"""The page while a share hangs: it says so, and all that does not lie there is served."""

import hashlib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from builders import surface_file, wait_until
from filesystems import hanging, obeying_permissions
from pages import PASSWORD, Page, open_page

from daemon.web.server import WebServer
from daemon.web.users import Role

_BROWSERS = 48
"""More requests than the server has threads for."""


@pytest.fixture
def page(tmp_path: Path, model: Path) -> Iterator[Page]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open_page(tmp_path, model, port=port) as made:
        server = WebServer(made.desk)
        server.start()
        try:
            yield made
        finally:
            server.stop()
            server.thread.join(timeout=30.0)


@pytest.fixture
def anna(page: Page) -> Iterator[httpx.Client]:
    page.add_user("anna", Role.LABEL)
    address = f"http://127.0.0.1:{page.settings.web.port}"
    limits = httpx.Limits(max_connections=2 * _BROWSERS)
    with httpx.Client(
        base_url=address, auth=("anna", PASSWORD), limits=limits, timeout=10.0
    ) as client:
        wait_until(lambda: _answers(client))
        yield client


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/login").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.fault(28)
def test_a_review_folder_that_hangs_is_told_and_the_rest_of_the_page_is_served(
    page: Page, anna: httpx.Client
) -> None:
    data = surface_file(seed=1)
    image_id = page.add_image(1, data=data)
    picture, label = (f"/api/inspections/{image_id}/{what}" for what in ("picture", "label"))
    asked = ["/api/queue", "/api/classes", picture, f"/api/inspections/{image_id}/thumbnail"]
    assert anna.get(picture).content == data
    with ThreadPoolExecutor(_BROWSERS) as browsers, hanging(page.settings.review_folder):
        began = time.monotonic()
        waiting = [browsers.submit(anna.get, asked[n % len(asked)]) for n in range(_BROWSERS)]
        told = [each.result() for each in waiting]
        assert time.monotonic() - began < 8.0
        assert {each.status_code for each in told} == {503}
        assert all("the review folder" in each.json()["detail"] for each in told)
        refused = anna.post(label, json={"label": "patches", "seen": 0})
        assert refused.status_code == 503
        both = {"label": "patches", "images": [{"id": image_id, "seen": 0}]}
        (one,) = anna.post("/api/labels", json=both).json()["refused"]
        assert "does not answer" in one["detail"]
        for other in ("/login", "/metrics", "/api/status", f"/api/inspections/{image_id}"):
            assert anna.get(other).status_code == 200
    wait_until(lambda: anna.get(picture).status_code == 200)
    (image,) = anna.get("/api/queue").json()["images"]
    assert (image["id"], image["missing"]) == (image_id, False), "nothing was labelled meanwhile"
    assert anna.post(label, json={"label": "patches", "seen": 0}).status_code == 200


@pytest.mark.fault(21)
def test_a_review_folder_that_cannot_be_looked_into_is_told(page: Page) -> None:
    image_id = page.add_image(3)
    review = page.settings.review_folder
    browser = page.logged_in("otto")
    review.chmod(0)
    try:
        with obeying_permissions():
            found = browser.get("/api/queue")
            wanted = {"label": "patches", "seen": 0}
            refused = browser.post(f"/api/inspections/{image_id}/label", json=wanted)
    finally:
        review.chmod(0o755)
    for answer in (found, refused):
        assert answer.status_code == 503
        told = f"the review folder {review} cannot be looked into: Permission denied"
        assert answer.json()["detail"] == told


def test_a_picture_that_takes_several_reads_arrives_whole(page: Page, anna: httpx.Client) -> None:
    data = surface_file(seed=2)
    data += bytes(page.settings.intake.max_bytes - len(data))
    image_id = page.add_image(2, data=data)
    found = anna.get(f"/api/inspections/{image_id}/picture").content
    assert hashlib.sha256(found).digest() == hashlib.sha256(data).digest()
