"""The pages that are looked at, in a real browser: charts drawn, nothing fetched from elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from builders import Station, wait_until

Serve = Callable[..., AbstractContextManager[Station]]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, model: Path, serve: Serve) -> Iterator[Station]:
    with serve(tmp_path_factory.mktemp("line"), model) as station:
        station.drop_surfaces(21)
        station.wait_for_images(21)
        yield station


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fetches_nothing_from_elsewhere(
    visit: Callable[..., Any], scheme: str
) -> None:
    boss = visit("otto", color_scheme=scheme)
    for path in ("/nowhere", "/images/999", "/images/1", "/model", "/audit", "/line"):
        boss.open(path)
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
    assert page.locator("svg.chart circle").count() >= 1
    assert page.locator("svg.chart polyline.limit").count() == 2
    assert page.locator("table.pareto tbody tr").count() >= 1
    before = int(page.locator(".tile .value").first.inner_text())
    line.drop_surfaces(2, first=1000)
    page.get_by_text(str(before + 2), exact=True).wait_for()
    page.get_by_label("Camera").select_option("top-1")
    page.wait_for_url("**/line?camera=top-1")
    assert int(page.locator(".tile .value").first.inner_text()) < before


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


def test_on_a_tablet_held_upright_nothing_sticks_out(visit: Callable[..., Any]) -> None:
    watched = visit("otto", viewport={"width": 768, "height": 1024}, has_touch=True)
    for path in ("/line", "/model", "/images/1", "/audit"):
        watched.open(path)
        wide = watched.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 768, path
