"""Many pictures labelled at once in a real browser, and taken back."""

from collections.abc import Callable
from typing import Any

from browsing import labels, shown
from builders import Station, wait_until

Visit = Callable[..., Any]


def test_many_are_labelled_at_once_by_keys(visit: Visit, line: Station) -> None:
    anna = visit("anna")
    shown(anna)
    already = len(labels(line))
    anna.page.keyboard.press("g")
    anna.page.locator("#grid button").first.wait_for()
    anna.assert_accessible()
    anna.page.keyboard.press("Space")
    anna.page.keyboard.press("ArrowRight")
    anna.page.keyboard.press("ArrowRight")
    anna.page.keyboard.press("Space")
    assert anna.page.locator("#selected").inner_text() == "2"
    anna.page.keyboard.press("4")
    anna.page.get_by_text("2 images: patches").wait_for()
    assert len(labels(line)) == already + 2


def test_many_that_were_labelled_at_once_are_taken_back_at_once_and_the_keys_go_on_where_they_were(
    visit: Visit, line: Station
) -> None:
    anna = visit("anna")
    anna.page.clock.install()
    first = shown(anna)
    anna.page.keyboard.press("5")
    wait_until(lambda: shown(anna) != first)
    before = labels(line)
    anna.page.keyboard.press("g")
    anna.page.keyboard.press("ArrowRight")
    for _ in range(3):
        anna.page.keyboard.press("Space")
        anna.page.keyboard.press("ArrowRight")
    anna.page.keyboard.press("4")
    anna.page.get_by_text("3 images: patches").wait_for()
    anna.page.keyboard.press("Space")
    anna.page.locator("#selected").get_by_text("1", exact=True).wait_for()
    anna.page.locator("#many").get_by_role("button", name="undo").click()
    anna.page.get_by_text("3 images are to be checked again").wait_for()
    assert labels(line) == before
    assert (first, "pitted_surface", "anna") in before
    anna.page.clock.run_for(400)  # two at once count once
    anna.page.keyboard.press("u")
    anna.page.get_by_text(f"Image {first} is to be checked again").wait_for()
    assert first not in {image for image, _, _ in labels(line)}


def test_who_labels_some_of_many_is_shown_the_next_beside_those_that_are_left(
    visit: Visit, line: Station
) -> None:
    before = line.count()
    line.drop_surfaces(40, first=1000)
    line.wait_for_images(before + 40)
    anna = visit("anna")
    shown(anna)
    anna.page.keyboard.press("g")
    pictures = anna.page.locator("#grid button")
    pictures.first.wait_for()
    assert pictures.count() == 24
    left = pictures.nth(20).get_attribute("data-id")
    for number in range(10):
        pictures.nth(number).click()
    anna.page.keyboard.press("4")
    anna.page.get_by_text("10 images: patches").wait_for()
    assert pictures.count() >= 24
    assert anna.page.locator(f'#grid button[data-id="{left}"]').count() == 1
