"""Many pictures labelled at once in a real browser, and taken back."""

from collections.abc import Callable
from typing import Any

import pytest
from browsing import answer, held, labels, shown, wait_for_request
from builders import Station, wait_until

from daemon.process.control import ask

Visit = Callable[..., Any]


def deliver_forty(line: Station, *, first: int) -> None:
    before = line.count()
    line.drop_surfaces(40, first=first)
    line.wait_for_images(before + 40)


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
    deliver_forty(line, first=1000)
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


def is_selected(pictures: Any, already: int, many: int) -> bool:
    """Whether so many are; else the next one is clicked."""
    if already < many:
        pictures.nth(already).click()
    return already >= many


def select_in_grid(watched: Any, many: int) -> list[int]:
    """So many pictures, from the first on; the grid shows what one has come past."""
    for _ in range(many):
        watched.page.keyboard.press("ArrowRight")
    watched.page.keyboard.press("g")
    pictures = watched.page.locator("#grid button")
    wait_until(lambda: pictures.count() >= many)
    selected = watched.page.locator("#selected")
    # One by one: a grid that is drawn anew meanwhile takes a click away.
    wait_until(lambda: is_selected(pictures, int(selected.inner_text()), many))
    return [int(str(pictures.nth(number).get_attribute("data-id"))) for number in range(many)]


def test_many_are_labelled_and_taken_back_in_parts_and_who_waits_sees_how_far_it_is(
    visit: Visit, line: Station
) -> None:
    deliver_forty(line, first=2000)
    anna = visit("anna")
    shown(anna)
    given = labels(line)
    chosen = select_in_grid(anna, 30)
    notice = anna.page.locator("#notice")
    waiting = int(anna.page.locator("#waiting").inner_text())
    for key, done, pattern in (
        ("4", "30 images: patches", "**/api/labels"),
        ("u", "30 images are to be checked again", "**/api/labels/undo"),
    ):
        asked = held(anna, pattern)
        anna.page.keyboard.press(key)
        wait_for_request(anna, asked)
        asked.pop().continue_()
        notice.get_by_text("25 of 30 images so far").wait_for()
        wait_for_request(anna, asked)
        assert len(labels(line)) == len(given) + (25 if key == "4" else 5)
        answer(anna, asked, pattern)
        notice.get_by_text(done).wait_for()
        if key == "4":
            assert {image for image, *_ in set(labels(line)) - set(given)} == set(chosen)
    assert labels(line) == given
    assert int(anna.page.locator("#waiting").inner_text()) == waiting
    pictures = anna.page.locator("#grid button")
    shown_now = [int(str(each.get_attribute("data-id"))) for each in pictures.all()]
    assert shown_now[:30] == chosen, "as they were"


def test_what_of_many_cannot_be_taken_back_is_told_and_what_was_not_asked_for_is_asked_again(
    visit: Visit, line: Station
) -> None:
    deliver_forty(line, first=3000)
    anna = visit("anna")
    anna.page.clock.install()
    shown(anna)
    given = labels(line)
    chosen = select_in_grid(anna, 30)
    anna.page.keyboard.press("4")
    anna.page.get_by_text("30 images: patches").wait_for()
    ask(line.state_dir, "review label", image=chosen[0], label="crazing", by="otto")
    asked = held(anna, "**/api/labels/undo")
    anna.page.keyboard.press("u")
    wait_for_request(anna, asked)
    first = asked.pop()
    first.fetch()
    first.abort()  # its answer is lost
    wait_for_request(anna, asked)
    silent = {"status": 503, "json": {"detail": "the review folder does not answer"}}
    asked.pop().fulfill(**silent)
    notice = anna.page.locator("#notice")
    notice.get_by_text(
        "24 images are to be checked again; 6 not: the review folder does"
    ).wait_for()
    answer(anna, asked, "**/api/labels/undo")
    left = {(chosen[0], "crazing", "otto"), *((each, "patches", "anna") for each in chosen[25:])}
    assert set(labels(line)) - set(given) == left
    anna.page.clock.run_for(400)
    anna.page.keyboard.press("u")
    notice.get_by_text("5 images are to be checked again").wait_for()
    assert set(labels(line)) - set(given) == {(chosen[0], "crazing", "otto")}


def lose(route: Any) -> None:
    """Its answer, and not what was asked for."""
    route.fetch()
    route.abort()


def test_of_many_whose_answer_was_lost_it_is_looked_up_and_gone_on_and_all_are_taken_back(
    visit: Visit, line: Station
) -> None:
    deliver_forty(line, first=4000)
    anna = visit("anna")
    shown(anna)
    given = labels(line)
    chosen = select_in_grid(anna, 30)
    asked = held(anna, "**/api/labels")
    anna.page.keyboard.press("4")
    wait_for_request(anna, asked)
    lose(asked.pop())
    wait_for_request(anna, asked)
    answer(anna, asked, "**/api/labels")
    anna.page.get_by_text("30 images: patches").wait_for()
    assert {image for image, *_ in set(labels(line)) - set(given)} == set(chosen)
    anna.page.keyboard.press("u")
    anna.page.get_by_text("30 images are to be checked again").wait_for()
    assert labels(line) == given


@pytest.mark.parametrize("then", ["taken back", "labelled again", "loaded anew"])
def test_many_that_were_labelled_before_the_service_went_away_can_be_taken_back_once_it_is_there(
    visit: Visit, line: Station, then: str
) -> None:
    deliver_forty(line, first={"taken back": 5000, "labelled again": 6000}.get(then, 7000))
    anna = visit("anna")
    anna.page.clock.install()
    shown(anna)
    given = labels(line)
    chosen = select_in_grid(anna, 30)
    anna.page.route("**/api/labels", lose)
    anna.page.route("**/inspections/*/labels", lambda route: route.abort())
    anna.page.keyboard.press("4")
    notice = anna.page.locator("#notice")
    notice.get_by_text("of 25 it is not known, label them again or undo; Millwatch does").wait_for()
    assert {image for image, *_ in set(labels(line)) - set(given)} == set(chosen[:25])
    anna.page.keyboard.press("u")
    notice.get_by_text("Millwatch does not say what is labelled").wait_for()
    anna.page.unroute("**/api/labels")
    anna.page.unroute("**/inspections/*/labels")
    if then == "labelled again":
        again = anna.page.locator("#grid button[aria-pressed='true']").count()
        assert again == 30, "they are selected still"
        anna.page.keyboard.press("4")
        notice.get_by_text("30 images: patches").wait_for()
    elif then == "loaded anew":
        anna.open("/queue")
        shown(anna)
    anna.page.clock.run_for(400)  # two at once count once
    anna.page.keyboard.press("u")
    many = 30 if then == "labelled again" else 25
    notice.get_by_text(f"{many} images are to be checked again").wait_for()
    assert labels(line) == given


def test_of_many_that_were_never_recorded_that_is_told_and_what_was_labelled_before_stays(
    visit: Visit, line: Station
) -> None:
    deliver_forty(line, first=8000)
    anna = visit("anna")
    anna.page.clock.install()
    first = shown(anna)
    anna.page.keyboard.press("5")
    wait_until(lambda: shown(anna) != first)
    given = labels(line)
    select_in_grid(anna, 3)
    anna.page.route("**/api/labels", lambda route: route.abort())
    anna.page.keyboard.press("4")
    notice = anna.page.locator("#notice")
    notice.get_by_text("of 3 it is not known").wait_for()
    anna.page.keyboard.press("u")
    notice.get_by_text("no label was recorded").wait_for()
    assert labels(line) == given
    anna.page.clock.run_for(400)
    anna.page.keyboard.press("u")
    notice.get_by_text(f"Image {first} is to be checked again").wait_for()


def test_an_image_that_was_labelled_before_the_service_went_away_is_taken_back_and_no_other(
    visit: Visit, line: Station
) -> None:
    deliver_forty(line, first=9000)
    anna = visit("anna")
    first = shown(anna)
    anna.page.keyboard.press("5")
    wait_until(lambda: shown(anna) != first)
    second = shown(anna)
    anna.page.route("**/label", lose)
    anna.page.route("**/inspections/*/labels", lambda route: route.abort())
    anna.page.keyboard.press("4")
    anna.page.locator("#conflict").get_by_text("Millwatch does not answer").wait_for()
    assert (second, "patches", "anna") in labels(line)
    anna.page.unroute("**/inspections/*/labels")
    anna.page.keyboard.press("u")
    anna.page.get_by_text(f"Image {second} is to be checked again").wait_for()
    assert (first, "pitted_surface", "anna") in labels(line)
    assert second not in {image for image, *_ in labels(line)}
