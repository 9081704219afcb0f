"""What the pages tell, whatever was asked for and recorded."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest
from pages import Page, open_page
from sqlalchemy import event

from daemon.store import review_files
from daemon.store.review_files import Problem, ReviewFile
from daemon.web.api.documents import ManyLabels
from daemon.web.app import create_app
from models.taxonomy import Verdict


@pytest.fixture
def page(tmp_path: Path, model: Path) -> Iterator[Page]:
    with open_page(tmp_path, model, open_on_loopback=True) as made:
        yield made


def at(moment: str) -> int:
    """A time of a file, in nanoseconds."""
    return int(datetime.fromisoformat(moment).timestamp()) * 1_000_000_000


def images_today(html: str) -> int:
    found = re.search(r'"value">(\d+)</span><span class="what">inspected today', html)
    assert found is not None
    return int(found[1])


def test_the_start_is_told_as_that_of_the_service_and_not_of_a_model_that_was_promoted_since(
    page: Page,
) -> None:
    html = page.browser().get("/line/now").text
    assert f"Model {page.model.version} on" in html
    assert "; Millwatch has run since 2026-03-02 00:00:00<" in html


@pytest.mark.parametrize("part", ["/line", "/line/now"])
def test_who_chooses_all_cameras_again_sees_the_images_of_all(page: Page, part: str) -> None:
    page.add_image(1)
    page.add_image(2, camera="side")
    browser = page.browser()
    assert images_today(browser.get(part).text) == 2
    assert images_today(browser.get(f"{part}?camera=side").text) == 1
    form = "camera="  # as a browser sends the choice "all"
    assert images_today(browser.get(f"{part}?{form}").text) == 2


def test_a_camera_that_there_is_not_is_told_on_the_line_page(page: Page) -> None:
    page.add_image(1, camera="taken-away")  # once, so that it has a history
    browser = page.browser()
    assert "There is no camera nope" in browser.get("/line?camera=nope").text
    for known in ("side", "taken-away", ""):
        assert "There is no camera" not in browser.get(f"/line?camera={known}").text


def test_the_review_page_tells_how_much_of_the_folder_is_not_in_order_and_what(page: Page) -> None:
    browser = page.browser()
    assert "Not in order" not in browser.get("/queue").text
    image = page.add_image(1)
    labelled = page.settings.review_folder / "labelled"
    strangers = [
        ReviewFile(
            path=labelled / f"<b>{number}.jpg",
            signature=None,
            sha256=None,
            image_id=image if number == 0 else None,
            problem=Problem.STRANGER,
            reason="no camera delivered it",
        )
        for number in range(51)
    ]
    review_files.remember(page.database, strangers, page.now)
    told = browser.get("/queue").text
    assert "Not in order in the review folder: 51." in told
    assert f"<code>{labelled}/&lt;b&gt;0.jpg</code>: no camera delivered it" in told
    assert f'<a href="/images/{image}">' in told
    assert told.count("no camera delivered it") == 50
    assert "<code>millwatch review conflicts</code> lists all" in told


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


def test_today_begins_at_the_midnight_of_a_zone_of_half_hours(page: Page) -> None:
    settings = page.settings.model_copy(update={"time_zone": "Asia/Kolkata"})
    page.app = create_app(replace(page.desk, settings=settings))
    for number, there in enumerate(("2026-03-01T23:45", "2026-03-02T00:45")):
        page.add_image(number, mtime_ns=at(there + "+05:30"))
    assert images_today(page.browser().get("/line").text) == 1


def test_today_begins_at_the_first_of_two_midnights(page: Page) -> None:
    settings = page.settings.model_copy(update={"time_zone": "America/Havana"})
    page.app = create_app(replace(page.desk, settings=settings))
    page.now = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)  # half past midnight, for the second time
    page.add_image(1, mtime_ns=at("2026-11-01T04:15Z"))
    assert images_today(page.browser().get("/line").text) == 1


def test_an_image_that_a_wrong_clock_dates_ahead_is_in_no_figure_of_now(page: Page) -> None:
    ahead = at("2031-01-01T00:00Z")
    page.add_image(1, mtime_ns=ahead, verdict=Verdict.DEFECT, reason="")
    html = page.browser().get("/line").text
    assert images_today(html) == 0
    assert "No image in this time." in html
    assert "No defect in this time." in html
    page.add_image(2, verdict=Verdict.DEFECT, reason="")
    assert images_today(page.browser().get("/line").text) == 1


def test_the_line_page_is_renewed_from_the_counts_of_some_days_however_many_years_there_are(
    page: Page,
) -> None:
    page.add_image(1, camera="side")
    browser = page.browser()
    assert ">side</option>" in browser.get("/line").text
    asked: list[str] = []
    event.listen(
        page.database.engine, "before_cursor_execute", lambda *told: asked.append(str(told[2]))
    )
    assert images_today(browser.get("/line/now").text) == 1
    of_counts = [each for each in asked if "tally" in each or "defect_rate" in each]
    assert of_counts
    assert all("hour >=" in each for each in of_counts)


def test_who_labels_many_at_once_selects_no_more_than_are_taken_and_takes_all_of_them_back() -> (
    None
):
    taken = ManyLabels.model_json_schema()["properties"]["images"]["maxItems"]
    static = files("daemon.web.pages") / "static"
    script = (static / "review.js").read_text() + (static / "labels.js").read_text()
    limits = dict(re.findall(r"const (MOST_\w+) = (\d+);", script))
    assert int(limits["MOST_AT_ONCE"]) == taken <= int(limits["MOST_DONE"])
