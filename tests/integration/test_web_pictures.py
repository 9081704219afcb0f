"""The pictures on the page: the image that was judged, or nothing."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from builders import surface_file
from fastapi.testclient import TestClient
from pages import Page, open_page
from pictures import encoded
from PIL import Image
from records import rows

from daemon.names import from_text
from training.synthetic import draw_surface


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("pictures"), model) as made:
        yield made


@pytest.fixture(scope="module")
def browser(page: Page) -> TestClient:
    return page.logged_in("anna")


def path_of(page: Page, image_id: int) -> Path:
    ((path,),) = rows(page.database, "SELECT path FROM image WHERE id = ?", image_id)
    return Path(from_text(path))


def shown(browser: TestClient, image_id: int, what: str = "picture") -> Image.Image:
    answer = browser.get(f"/api/inspections/{image_id}/{what}")
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_what_browsers_know_is_sent_as_it_was_delivered(page: Page, browser: TestClient) -> None:
    data = surface_file(seed=1)
    image_id = page.add_image(1, data=data)
    answer = browser.get(f"/api/inspections/{image_id}/picture")
    assert answer.content == data
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "private" in answer.headers["cache-control"]
    seen = {"if-none-match": answer.headers["etag"]}
    assert browser.get(f"/api/inspections/{image_id}/picture", headers=seen).status_code == 304


@pytest.mark.parametrize("form", ["TIFF", "BMP", "PPM"])
def test_what_browsers_do_not_know_is_sent_as_png(
    page: Page, browser: TestClient, form: str
) -> None:
    pixels = draw_surface("patches", seed=3, height=48, width=96)
    image_id = page.add_image(
        {"TIFF": 11, "BMP": 12, "PPM": 13}[form], data=encoded(Image.fromarray(pixels), form)
    )
    made = shown(browser, image_id)
    assert made.format == "PNG"
    assert np.array_equal(np.asarray(made), pixels)


def test_thumbnails_keep_the_shape_of_the_picture(page: Page, browser: TestClient) -> None:
    wide = Image.fromarray(draw_surface("patches", seed=3, height=400, width=1600))
    image_id = page.add_image(20, data=encoded(wide, "PNG"))
    assert shown(browser, image_id, "thumbnail").size == (320, 80)


def test_the_heatmap_is_the_picture_with_the_models_evidence(
    page: Page, browser: TestClient
) -> None:
    image_id = page.add_image(30)
    plain, heated = shown(browser, image_id), shown(browser, image_id, "heatmap")
    assert heated.size == plain.size
    assert heated.mode == "RGB"
    colours = np.asarray(heated).astype(int)
    assert np.abs(colours[..., 0] - colours[..., 2]).max() > 60


@pytest.mark.fault(41)
@pytest.mark.parametrize("what", ["picture", "thumbnail", "heatmap"])
def test_a_file_that_is_gone_or_another_is_not_shown(
    page: Page, browser: TestClient, what: str
) -> None:
    first = 100 + 10 * len(what)
    gone, other, link, pipe = (page.add_image(first + n) for n in range(4))
    path_of(page, gone).unlink()
    path_of(page, other).write_bytes(surface_file(seed=99))
    for image_id in (link, pipe):
        path_of(page, image_id).unlink()
    secret = page.root / f"secret-{what}.jpg"
    secret.write_bytes(surface_file(seed=first + 2))  # the very bytes, by way of a link
    path_of(page, link).symlink_to(secret)
    os.mkfifo(path_of(page, pipe))
    for image_id, words in (
        (gone, "missing"),
        (other, "no longer the one that was judged"),
        (link, "missing"),
        (pipe, "missing"),
        (10_000, "no image 10000"),
    ):
        answer = browser.get(f"/api/inspections/{image_id}/{what}")
        assert answer.status_code == 404
        assert words in answer.json()["detail"]


@pytest.mark.fault(20, 39)
def test_names_that_would_harm_a_page_are_only_text(page: Page, browser: TestClient) -> None:
    names = ("<script>alert(1)</script>.jpg", "a\nb.jpg", '=HYPERLINK("x").jpg', "\udcff'\".jpg")
    for number, name in enumerate(names, start=200):
        image_id = page.add_image(number, filename=name)
        html = browser.get(f"/images/{image_id}").text
        assert "<script>alert" not in html
        assert browser.get(f"/api/inspections/{image_id}").status_code == 200
    assert "\\xff" in html
