"""The page while a share hangs: it says so, and all that does not lie there is served."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from builders import surface_file, wait_until
from filesystems import hanging, obeying_permissions, unmount_lazily
from pages import PASSWORD, Page, served_page
from records import rows
from slow_share import slow

from daemon.files.shares import Shares, SilentError
from daemon.review.promptly import PromptLabeller
from daemon.web.door.users import Role

_BROWSERS = 48
"""More requests than the server has threads for."""


@pytest.fixture
def page(tmp_path: Path, model: Path) -> Iterator[Page]:
    with served_page(tmp_path, model) as made:
        yield made


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


@pytest.mark.fault(28)
def test_pictures_that_come_slowly_keep_nobody_from_the_rest_of_the_page(
    page: Page, anna: httpx.Client
) -> None:
    data = surface_file(seed=1)
    data += bytes(page.settings.intake.max_bytes - len(data))
    image_id = page.add_image(1, data=data)
    label, picture, thumbnail = (
        f"/api/inspections/{image_id}/{what}" for what in ("label", "picture", "thumbnail")
    )
    with (
        ThreadPoolExecutor(_BROWSERS) as browsers,
        slow(page.settings.review_folder, seconds=0.6) as share,
    ):
        asked = [browsers.submit(anna.get, picture) for _ in range(_BROWSERS - 1)]
        asked.append(browsers.submit(anna.get, thumbnail))
        wait_until(lambda: share.reading >= 8)
        for other in ("/login", "/metrics", "/api/queue", f"/api/inspections/{image_id}"):
            assert anna.get(other).status_code == 200
        given = {"label": "patches", "seen": 1}
        # On a busy machine it may be told to try again, as the share answers from this process.
        wait_until(lambda: anna.post(label, json=given).status_code == 409, what="it was looked at")
        assert not any(each.done() for each in asked), "and they still come"
        share.hurry.set()
        came = [each.result() for each in asked]
    assert {each.status_code for each in came} == {200}
    assert all(each.content == data for each in came[:-1])


@pytest.mark.fault(28)
def test_a_drop_folder_that_hangs_is_told_to_who_pushes_until_it_answers_or_is_mounted_anew(
    page: Page, anna: httpx.Client
) -> None:
    pushed = "/api/inspections?camera=top-1&filename=a.jpg&wait_seconds=0"
    folder, data = page.root / "cameras" / "top-1", surface_file(seed=1)
    assert anna.post(pushed, content=data).status_code == 202
    with ThreadPoolExecutor(_BROWSERS) as cameras, hanging(folder):
        waiting = [cameras.submit(anna.post, pushed, content=data) for _ in range(_BROWSERS)]
        assert {each.result().status_code for each in waiting} == {503}
        assert f"the drop folder {folder}" in waiting[0].result().json()["detail"]
        assert anna.get("/login").status_code == 200
        assert anna.post(pushed.replace("top-1", "side"), content=data).status_code == 202
        unmount_lazily(folder)  # and what looked into the share hangs there on
        assert anna.post(pushed, content=data).status_code == 202


@pytest.mark.fault(28)
def test_a_review_folder_that_is_not_mounted_is_told_and_no_image_is_called_missing(
    page: Page, anna: httpx.Client
) -> None:
    review, away = page.settings.review_folder, page.root / "away"
    image_id = page.add_image(5)
    review.rename(away)
    review.mkdir()
    picture, thumbnail = (
        anna.get(f"/api/inspections/{image_id}/{what}") for what in ("picture", "thumbnail")
    )
    for answer in (
        anna.get("/api/queue"),
        patches(anna, image_id),
        picture,
        thumbnail,
    ):
        assert answer.status_code == 503
        assert "mount its share" in answer.json()["detail"]
    review.rmdir()
    away.rename(review)
    (image,) = anna.get("/api/queue").json()["images"]
    assert (image["id"], image["missing"]) == (image_id, False)


def patches(client: httpx.Client, image_id: int) -> httpx.Response:
    wanted = {"label": "patches", "seen": 0}
    return client.post(f"/api/inspections/{image_id}/label", json=wanted)


@pytest.mark.fault(28)
def test_a_label_whose_file_cannot_follow_is_given_and_said_to_be(page: Page) -> None:
    first, second = page.add_image(6), page.add_image(7)
    anna, labelled = prompt(page), page.settings.review_folder / "labelled"
    labelled.mkdir()
    with hanging(labelled):
        given = anna.label(first, "patches", "anna", seen=0)
        assert in_force(page) == [(given, first, "patches", "anna")]
        with pytest.raises(SilentError, match="nothing was changed: the review folder"):
            anna.label(second, "patches", "anna", seen=0)
        with pytest.raises(
            SilentError, match=r"nothing was changed: .* once Millwatch is restarted"
        ):
            anna.undo(first, "anna", seen=given)
    wait_until(lambda: not page.labeller.lock.locked())
    assert [label for _, _, label, _ in in_force(page)] == ["patches"]


@pytest.mark.fault(28)
def test_a_label_that_was_said_not_to_be_given_is_never_given_later(page: Page) -> None:
    first, second = page.add_image(8), page.add_image(9)
    otto = prompt(page)
    with page.labeller.lock, pytest.raises(SilentError, match="nothing was changed"):
        otto.label(first, "patches", "otto", seen=0)
    wait_until(lambda: is_given(otto, second))
    assert [image_id for _, image_id, _, _ in in_force(page)] == [second]


def prompt(page: Page) -> PromptLabeller:
    shares = Shares(page.settings)
    return PromptLabeller(page.labeller, database=page.database, shares=shares, seconds=0.5)


def is_given(by_otto: PromptLabeller, image_id: int) -> bool:
    try:
        return by_otto.label(image_id, "crazing", "otto", seen=0) > 0
    except SilentError:  # what was given up is not at its end yet
        return False


def in_force(page: Page) -> list[tuple[int, int, str, str]]:
    return rows(  # type: ignore[return-value]
        page.database,
        "SELECT id, image_id, label, labelled_by FROM label WHERE undone_at IS NULL ORDER BY id",
    )


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
