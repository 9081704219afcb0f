"""The pages that are looked at, in a real browser: charts drawn, nothing fetched from elsewhere."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from builders import Station, surface_file, wait_until
from commands import Millwatch
from playwright.sync_api import Browser

from models.taxonomy import KNOWN_DEFECTS, NO_DEFECT

_OLD = 36
Serve = Callable[..., AbstractContextManager[Station]]


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory, model: Path, commissioned_model: Path, serve: Serve
) -> Iterator[Station]:
    root = tmp_path_factory.mktemp("line")
    shutil.copytree(commissioned_model, root / "state/models/tiny-7-0")
    with serve(root, model) as station:
        _drop_half_a_day(station)
        station.wait_for_images(_OLD)
        station.drop_surfaces(40)
        station.wait_for_images(_OLD + 40)
        yield station


def _drop_half_a_day(station: Station) -> None:
    """Images of the last twelve hours, as if the line had stood while they were judged."""
    for number in range(_OLD):
        camera = station.cameras[number % 2]
        surface = KNOWN_DEFECTS[number // 4 % 6] if number % 4 == 0 else NO_DEFECT
        data = surface_file(surface, seed=100 + number)
        partial = station.folder(camera) / ".delivery.part"
        partial.write_bytes(data)
        taken = time.time() - 1200 * number
        os.utime(partial, (taken, taken))
        station.expect(camera, f"old-{number}.jpg", data)
        partial.rename(station.folder(camera) / f"old-{number}.jpg")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fetches_nothing_from_elsewhere(
    visit: Callable[..., Any], scheme: str
) -> None:
    boss = visit("otto", color_scheme=scheme)
    for path in ("/nowhere", "/images/999", "/images/1", "/model", "/audit", "/password", "/line"):
        boss.open(path)
        boss.page.get_by_role("heading", level=1).wait_for()
        boss.assert_accessible()
    boss.page.get_by_role("button", name="Log out").click()
    boss.page.get_by_label("Password").wait_for()
    boss.assert_accessible()


def test_the_line_page_draws_its_charts_and_renews_them(
    visit: Callable[..., Any], line: Station
) -> None:
    watched = visit("anna")
    watched.open("/line")
    page = watched.page
    watched.photograph("line")
    assert page.locator("svg.chart circle").count() >= 1
    assert page.locator("svg.chart polyline.limit").count() == 2
    page.get_by_role("columnheader", name="Last image").wait_for()
    assert page.locator("table.pareto tbody tr").count() >= 1
    before = int(page.locator(".tile .value").first.inner_text())
    assert before > 0
    line.drop_surfaces(2, first=1000)
    page.get_by_text(str(before + 2), exact=True).wait_for()
    page.get_by_label("Camera", exact=True).select_option("top-1")
    page.wait_for_url("**/line?camera=top-1")
    assert int(page.locator(".tile .value").first.inner_text()) < before


def test_a_line_that_is_slow_to_answer_is_asked_one_thing_at_a_time(
    visit: Callable[..., Any],
) -> None:
    page = visit("lena").page
    page.clock.install()
    page.goto(page.url.replace("/queue", "/line"))
    requests: list[Any] = []
    page.route("**/line/now", lambda route: requests.append(route))  # noqa: PLW0108 -- no builtin
    for _ in range(4):
        page.clock.fast_forward(3_000)
        wait_until(lambda: page.evaluate("true") and requests)
    assert len(requests) == 1
    requests.pop().continue_()
    wait_until(lambda: page.clock.fast_forward(3_000) or requests)
    requests.pop().continue_()


def test_who_reads_a_page_stays_where_it_is_while_that_is_renewed(
    visit: Callable[..., Any],
) -> None:
    page = visit("otto", viewport={"width": 600, "height": 900}).page
    page.clock.install()
    page.goto(page.url.replace("/queue", "/model"))
    trained = iter(range(100))

    def go_on(route: Any) -> None:
        found = route.fetch()
        told = found.text().replace("No training goes on.", f"step {next(trained)} is done")
        route.fulfill(response=found, body=told)

    page.route("**/model/now", go_on)
    table, button = page.locator(".scroll"), page.get_by_role("button", name="Promote").first
    for held, step in ((table, 0), (button, 1)):
        held.focus()
        table.evaluate("table => { table.scrollLeft = 60; }")
        page.clock.fast_forward(3_000)
        page.get_by_text(f"step {step} is done").wait_for()
        assert held.evaluate("held => held === document.activeElement")
        assert table.evaluate("table => table.scrollLeft") == 60


def test_reports_are_pages_that_are_accessible_and_fetch_nothing(
    chromium: Browser,
    line: Station,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    monkeypatch.delenv("MILLWATCH_SCREENSHOTS", raising=False)  # it is no key
    millwatch = Millwatch(capsys)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for report, more in (
        ("rates", "hour"),
        ("chart", "hour"),
        ("pareto", "camera"),
        ("review", "day"),
    ):
        out = tmp_path / f"{report}.html"
        command = ("report", report, "--config", line.config, "--by", more, "--format", "html")
        assert millwatch(*command, "--out", out).status == 0
        page.goto(out.as_uri())
        page.get_by_role("heading", level=1).wait_for()
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        periods = page.locator("th", has_text="period").or_(page.locator("th", has_text="given in"))
        for period in periods.all():
            assert period.bounding_box()["width"] > 80, "it is not written letter below letter"
    assert {urlsplit(address).scheme for address in asked} == {"file"}
    assert len(asked) == 4
    page.close()


def test_a_heatmap_comes_and_goes_by_a_key(visit: Callable[..., Any]) -> None:
    watched = visit("lena")
    watched.open("/images/1")
    picture = watched.page.locator(".picture img")
    plain = picture.get_attribute("src")
    watched.page.keyboard.press("h")
    assert str(picture.get_attribute("src")).endswith("/heatmap")
    wait_until(lambda: picture.evaluate("picture => picture.complete && picture.naturalWidth > 0"))
    watched.page.keyboard.press("h")
    assert picture.get_attribute("src") == plain


def test_why_a_picture_is_not_to_be_seen_is_told_beside_all_about_its_image(
    visit: Callable[..., Any], line: Station
) -> None:
    ((image, path),) = line.query(
        "SELECT id, path FROM inspections WHERE verdict = 'unsure' LIMIT 1"
    )
    watched, data = visit("lena"), Path(str(path)).read_bytes()
    Path(str(path)).write_bytes(data[:-1] + b"!")
    try:
        watched.open(f"/images/{image}")
        told = watched.page.locator("#unseen")
        told.get_by_text("Not to be seen: the file is no longer the one").wait_for()
        watched.assert_accessible()
    finally:
        Path(str(path)).write_bytes(data)
    watched.page.keyboard.press("h")
    told.wait_for(state="hidden")


@pytest.mark.parametrize("width", [768, 640, 360, 320])  # 1280 at twice and four times the size
def test_on_a_tablet_held_upright_and_on_a_phone_nothing_sticks_out(
    visit: Callable[..., Any], width: int
) -> None:
    watched = visit("otto", viewport={"width": width, "height": 1024}, has_touch=True)
    for path in ("/line", "/model", "/images/1", "/audit", "/queue"):
        watched.open(path)
        if path == "/queue":
            watched.page.locator("#strip img").nth(7).wait_for(state="attached")
        wide = watched.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, path
        assert watched.page.locator("nav").bounding_box()["height"] < 110, "two lines at most"


def test_on_a_phone_the_control_chart_can_be_read_and_its_latest_hour_is_seen_first(
    visit: Callable[..., Any],
) -> None:
    page = visit("lena", viewport={"width": 390, "height": 844}, has_touch=True).page
    page.goto(page.url.replace("/queue", "/line"))
    latest = page.locator(".chart circle").last.bounding_box()
    assert latest["x"] < 390
    letters = page.locator(".chart .axis").first.bounding_box()
    assert letters["height"] > 9, "in pixels; it was 6"


def test_on_paper_what_a_dark_screen_shows_is_dark_on_white(visit: Callable[..., Any]) -> None:
    page = visit("lena", color_scheme="dark").page
    page.goto(page.url.replace("/queue", "/line"))

    def ink() -> str:
        return str(page.evaluate("getComputedStyle(document.body).color"))

    assert ink() == "rgb(232, 238, 243)"
    page.emulate_media(media="print", color_scheme="dark")
    assert ink() == "rgb(22, 34, 44)"
    assert not page.locator("header").is_visible()


def test_in_high_contrast_too_it_is_seen_which_page_is_open_and_what_is_pressed(
    visit: Callable[..., Any],
) -> None:
    watched = visit("lena", forced_colors="active")

    def outline(selector: str) -> Any:
        found = watched.page.locator(selector).first
        return found.evaluate("found => getComputedStyle(found).outlineStyle")

    watched.open("/images/1")
    assert outline("nav a") == outline("#heat") == "none"
    watched.page.keyboard.press("h")
    watched.page.locator("#heat[aria-pressed=true]").wait_for()
    assert outline("#heat") == "solid"
    watched.open("/line")
    assert outline("nav a[aria-current]") == "solid"


def test_an_administrator_promotes_a_model_and_goes_back(
    visit: Callable[..., Any], line: Station
) -> None:
    boss = visit("otto")
    boss.open("/model")
    boss.page.on("dialog", lambda dialog: dialog.accept())
    boss.page.get_by_role("row", name="tiny-7-0").get_by_role("button", name="Promote").press(
        "Enter"
    )
    boss.page.locator(".big").get_by_text("tiny-7-0").wait_for()
    boss.page.get_by_role("row", name="tiny-7-0").get_by_text("serves").wait_for()
    line.drop_surfaces(1, first=2000)
    wait_until(lambda: line.query("SELECT 1 FROM inspections WHERE model_version = 'tiny-7-0'"))
    boss.assert_accessible()
    boss.photograph("model")
    boss.page.get_by_role("button", name="Roll back").press("Enter")
    boss.page.locator(".big").get_by_text("tiny-6-0").wait_for()
    assert line.status()["model_version"] == "tiny-6-0"
    boss.open("/audit")
    assert boss.page.get_by_role("row", name="promote tiny-7-0").count() == 1
    assert boss.page.get_by_role("row", name="rollback").count() == 1
    anna = visit("anna")
    anna.open("/model")
    assert anna.page.get_by_role("button", name="Promote").count() == 0


def test_without_a_script_models_are_promoted_and_labels_taken_back(
    visit: Callable[..., Any], line: Station
) -> None:
    ((image,),) = line.query("SELECT id FROM inspections WHERE verdict = 'unsure' LIMIT 1")
    line.ask("review label", image=image, label="crazing", by="anna")
    boss = visit("otto", java_script_enabled=False)
    boss.open("/model")
    row = boss.page.get_by_role("row", name="tiny-7-0")
    row.get_by_role("button", name="Promote").click()  # not yet sure: the browser wants to know
    assert line.status()["model_version"] == "tiny-6-0"
    row.get_by_label("Let tiny-7-0 serve from the next batch on?").check()
    row.get_by_role("button", name="Promote").click()
    boss.page.locator(".big").get_by_text("tiny-7-0").wait_for()
    boss.page.get_by_label("Go back to the model that served before?").check()
    boss.page.get_by_role("button", name="Roll back").click()
    boss.page.locator(".big").get_by_text("tiny-6-0").wait_for()
    boss.open(f"/images/{image}")
    boss.page.get_by_label("Take this label back?").check()
    boss.page.get_by_role("button", name="Take back").click()
    boss.page.get_by_text("taken back or replaced").wait_for()
    heatmap = boss.page.get_by_role("link", name="heatmap").get_attribute("href")
    assert boss.page.request.get(boss.page.url.partition("/images")[0] + heatmap).ok


def test_a_filter_shows_what_is_filtered_also_after_going_back_and_by_a_kept_link(
    visit: Callable[..., Any],
) -> None:
    page = visit("lena").page

    def chosen(which: str) -> str:
        choice = page.locator(f"#{which}")
        return str(choice.evaluate("choice => choice.selectedOptions[0].text"))

    page.goto(page.url.replace("/queue", "/line"))
    everything = page.locator(".tile .value").first.inner_text()
    page.get_by_label("Camera", exact=True).select_option("top-1")
    page.wait_for_url("**/line?camera=top-1")
    page.go_back()
    assert page.locator(".tile .value").first.inner_text() == everything
    assert chosen("camera") == "all"
    page.goto(page.url.replace("/line", "/line?camera=taken-away"))
    assert chosen("camera") == "taken-away"
    page.goto(page.url.replace("/line?camera=taken-away", "/queue?class=roll_mark"))
    page.get_by_text("Nothing to check here of what is chosen above").wait_for()
    assert chosen("filter-class") == "roll mark"
    page.goto(page.url.replace("class=roll_mark", "camera=taken-away"))
    page.locator("#empty").get_by_text("there is no camera 'taken-away'").wait_for()
    assert chosen("filter-camera") == "taken-away"
