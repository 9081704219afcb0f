"""What the pages tell, whatever was asked for and recorded."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pages import Page, open_page

from daemon.web.app import create_app


@pytest.fixture
def page(tmp_path: Path, model: Path) -> Iterator[Page]:
    with open_page(tmp_path, model, open_on_loopback=True) as made:
        yield made


def images_today(html: str) -> int:
    found = re.search(r'"value">(\d+)</span><span class="what">images today', html)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("part", ["/line", "/line/now"])
def test_who_chooses_all_cameras_again_sees_the_images_of_all(page: Page, part: str) -> None:
    page.add_image(1)
    page.add_image(2, camera="side")
    browser = page.browser()
    assert images_today(browser.get(part).text) == 2
    assert images_today(browser.get(f"{part}?camera=side").text) == 1
    form = "camera="  # as a browser sends the choice "all"
    assert images_today(browser.get(f"{part}?{form}").text) == 2


def test_an_image_of_a_camera_whose_clock_is_at_the_end_of_time_hides_no_other(page: Page) -> None:
    settings = page.settings.model_copy(update={"time_zone": "Asia/Tokyo"})
    page.app = create_app(replace(page.desk, settings=settings))
    first, last = page.add_image(1), page.add_image(2, mtime_ns=1 << 70)
    browser = page.browser()
    shown = {
        each["id"]: each["captured_local"] for each in browser.get("/api/queue").json()["images"]
    }
    assert shown == {first: "2026-03-02 19:00:01", last: "9999-12-31 23:59:59"}
    assert "9999-12-31 23:59:59" in browser.get(f"/images/{last}").text
