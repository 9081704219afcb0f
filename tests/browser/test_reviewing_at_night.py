"""Labelling at three in the morning: gloves, answers that are lost, colleagues, and a session that is over."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from browsing import labels, shown
from builders import Station, wait_until

from daemon.process.control import ask

Serve = Callable[..., AbstractContextManager[Station]]
Visit = Callable[..., Any]
_IMAGES = 12
_SILENT = {"status": 503, "json": {"detail": "the review folder does not answer"}}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, model: Path, serve: Serve) -> Iterator[Station]:
    with serve(tmp_path_factory.mktemp("night"), model) as station:
        station.drop_surfaces(_IMAGES)
        station.wait_for_images(_IMAGES)
        yield station


@pytest.fixture
def thirty_classes(line: Station) -> Iterator[None]:
    own = [line.review / "labelled" / f"own {number}" for number in range(24)]
    for folder in own:
        folder.mkdir()
    yield
    for folder in own:
        folder.rmdir()


def test_a_page_that_was_opened_while_nothing_answered_says_so_and_then_labels_by_keys(
    visit: Visit, line: Station
) -> None:
    anna = visit("anna")
    anna.page.clock.install()
    anna.page.route("**/api/classes", lambda route: route.fulfill(**_SILENT))
    anna.open("/queue?camera=top-1")
    anna.page.locator("#empty").get_by_text("the review folder does not answer").wait_for()
    anna.page.unroute("**/api/classes")
    anna.page.clock.fast_forward(5_000)
    image = shown(anna)
    anna.page.context.clear_cookies()
    anna.page.keyboard.press("2")
    anna.page.get_by_text("what you did last was not done").wait_for()
    anna.fill_in("anna")
    anna.page.wait_for_url("**/queue?camera=top-1")
    assert shown(anna) == image
    assert labels(line) == []
    anna.page.keyboard.press("2")
    wait_until(lambda: labels(line) == [(image, "crazing", "anna")])


def test_a_page_that_is_left_open_counts_what_comes_and_says_when_nothing_answers(
    visit: Visit, line: Station
) -> None:
    anna = visit("anna")
    anna.page.clock.install()
    anna.open("/queue")
    image = shown(anna)
    waiting = int(anna.page.locator("#waiting").inner_text())
    recorded = line.count()
    line.drop_surfaces(3, first=recorded)
    line.wait_for_images(recorded + 3)
    anna.page.clock.fast_forward(30_000)
    anna.page.locator("#waiting").get_by_text(str(waiting + 3), exact=True).wait_for()
    assert shown(anna) == image
    anna.page.route("**/api/queue?*", lambda route: route.fulfill(**_SILENT))
    anna.page.clock.fast_forward(30_000)
    anna.page.locator("#notice").get_by_text("the review folder does not answer").wait_for()
    assert shown(anna) == image


def test_a_key_that_a_glove_hits_twice_labels_one_picture_and_takes_back_one_label(
    visit: Visit, line: Station
) -> None:
    anna = visit("anna")
    before = set(labels(line))
    first = shown(anna)
    anna.page.clock.install()
    anna.page.clock.pause_at(anna.page.evaluate("Date.now()") + 1000)
    anna.page.keyboard.press("2")
    wait_until(lambda: shown(anna) != first)
    second = shown(anna)
    anna.page.keyboard.press("2")
    anna.page.get_by_text("Pressed twice at once").wait_for()
    anna.page.clock.run_for(400)
    anna.page.keyboard.press("2")
    wait_until(lambda: shown(anna) != second)
    both = {(first, "crazing", "anna"), (second, "crazing", "anna")}
    assert set(labels(line)) - before == both
    anna.page.keyboard.press("u")
    wait_until(lambda: shown(anna) == second)
    anna.page.keyboard.press("u")
    anna.page.get_by_text("Pressed twice at once").wait_for()
    assert (first, "crazing", "anna") in labels(line)
    anna.page.clock.run_for(400)
    anna.page.locator("#skip").dblclick()
    wait_until(lambda: shown(anna) != second)
    anna.page.keyboard.press("ArrowLeft")
    wait_until(lambda: shown(anna) == second)


def test_an_answer_that_is_lost_or_a_refusal_leads_nobody_to_another_image(
    visit: Visit, line: Station
) -> None:
    anna = visit("anna")
    first = shown(anna)

    def lose(route: Any) -> None:
        route.fetch()
        route.abort()

    anna.page.route("**/label", lose)
    anna.page.keyboard.press("2")
    wait_until(lambda: shown(anna) != first)
    assert (first, "crazing", "anna") in labels(line), "and is not asked for again"
    anna.page.unroute("**/label")
    second = shown(anna)
    anna.page.keyboard.press("3")
    wait_until(lambda: shown(anna) != second)
    anna.page.route("**/undo", lambda route: route.fulfill(**_SILENT))
    anna.page.locator("#undo").click()
    anna.page.get_by_text("the review folder does not answer").wait_for()
    anna.page.unroute("**/undo")
    anna.page.get_by_label("Camera").select_option("top-1")  # the page is loaded anew meanwhile
    anna.page.wait_for_url("**camera=top-1**")
    shown(anna)
    anna.page.keyboard.press("u")
    wait_until(lambda: shown(anna) == second)
    given = labels(line)
    assert (first, "crazing", "anna") in given
    assert second not in {image for image, _, _ in given}


def test_what_a_colleague_labelled_meanwhile_is_passed_over_one_at_a_time_and_many_at_once(
    visit: Visit, line: Station
) -> None:
    anna = visit("anna")
    first = shown(anna)
    queue = anna.page.evaluate("fetch('/api/queue').then(answer => answer.json())")
    second, third, fourth = [each["id"] for each in queue["images"] if each["id"] != first][:3]
    ask(line.state_dir, "review label", image=second, label="patches", by="otto")
    anna.page.keyboard.press("ArrowRight")
    anna.page.get_by_text(f"Image {second}: otto labelled it patches").wait_for()
    wait_until(lambda: shown(anna) == third)
    ask(line.state_dir, "review label", image=fourth, label="patches", by="otto")
    anna.page.keyboard.press("g")
    for image in (third, fourth):
        anna.page.locator(f"#grid button[data-id='{image}']").click()
    anna.page.keyboard.press("3")
    anna.page.get_by_text("1 image: inclusion; 1 not").wait_for()
    assert anna.page.locator(f"#grid button[data-id='{fourth}']").count() == 0
    given = labels(line)
    assert (third, "inclusion", "anna") in given
    assert (fourth, "patches", "otto") in given


def test_keys_do_what_is_printed_on_them_on_keyboards_of_other_countries(
    visit: Visit, line: Station
) -> None:
    anna = visit("anna")
    image = shown(anna)
    keyboard = anna.page.context.new_cdp_session(anna.page)

    def press(key: str, code: str) -> None:
        for what in ("keyDown", "keyUp"):
            keyboard.send("Input.dispatchKeyEvent", {"type": what, "key": key, "code": code})

    press("\N{LATIN SMALL LETTER E WITH ACUTE}", "Digit2")  # French, without Shift
    wait_until(lambda: (image, "crazing", "anna") in labels(line))
    wait_until(lambda: shown(anna) != image)
    press("\N{CYRILLIC SMALL LETTER GHE}", "KeyU")
    wait_until(lambda: shown(anna) == image)


@pytest.mark.usefixtures("thirty_classes")
@pytest.mark.parametrize(("width", "height"), [(768, 1024), (1024, 768), (360, 740)])
def test_on_a_tablet_or_a_phone_the_picture_is_seen_together_with_every_button(
    visit: Visit, width: int, height: int
) -> None:
    anna = visit("anna", viewport={"width": width, "height": height}, has_touch=True)
    shown(anna)
    picture, buttons = anna.page.locator("#picture"), anna.page.locator("#one .labels button")
    assert buttons.count() > 30
    assert picture.bounding_box()["y"] < height / 2, "it is seen before anybody scrolls"
    buttons.last.evaluate("button => button.scrollIntoView({ block: 'end' })")
    place, button = picture.bounding_box(), buttons.last.bounding_box()
    assert place["y"] >= 0
    assert place["y"] + place["height"] <= height
    is_beside = place["x"] + place["width"] <= button["x"]
    assert is_beside or place["y"] + place["height"] <= button["y"]


@pytest.mark.usefixtures("thirty_classes")
@pytest.mark.parametrize(("width", "height"), [(768, 1024), (390, 844), (1280, 720)])
def test_however_many_classes_there_are_many_pictures_are_seen_at_once_and_the_buttons_stay(
    visit: Visit, width: int, height: int
) -> None:
    anna = visit("anna", viewport={"width": width, "height": height}, has_touch=True)
    shown(anna)
    anna.page.locator("#to-many").click()
    pictures = anna.page.locator("#grid button")
    pictures.first.wait_for()
    buttons = anna.page.locator("#many .labels button")
    assert buttons.count() > 30
    assert pictures.first.bounding_box()["y"] < 0.75 * height
    pictures.last.scroll_into_view_if_needed()
    pictures.last.click()
    assert 0 <= buttons.first.bounding_box()["y"] < height
    buttons.last.hover()  # which moves the buttons alone
    assert pictures.last.bounding_box()["y"] < height
    anna.assert_accessible()


@pytest.mark.parametrize(("width", "height"), [(820, 1180), (1180, 820), (1280, 720)])
def test_the_classes_that_a_model_begins_with_are_seen_beside_the_picture_without_scrolling(
    visit: Visit, width: int, height: int
) -> None:
    anna = visit("anna", viewport={"width": width, "height": height})
    shown(anna)
    last = anna.page.locator("#one .labels button").last.bounding_box()
    assert last["y"] + last["height"] <= height


def test_what_is_told_lies_over_no_button_that_labels(visit: Visit) -> None:
    anna = visit("anna", viewport={"width": 768, "height": 1024}, has_touch=True)
    first = shown(anna)
    anna.page.clock.install()
    anna.page.clock.pause_at(anna.page.evaluate("Date.now()") + 1000)  # it stays
    anna.page.locator("#one [data-label]").first.tap()
    wait_until(lambda: shown(anna) != first)
    assert str(first) in anna.page.locator("#notice").inner_text()
    covered = anna.page.evaluate(
        """() => [...document.querySelectorAll("#one [data-label]")].filter((button) => {
          button.scrollIntoView({ block: "end" });
          const at = button.getBoundingClientRect();
          return !button.contains(
            document.elementFromPoint(at.x + at.width / 2, at.y + at.height / 2));
        }).map((button) => button.dataset.label)"""
    )
    assert covered == []


def test_the_tenth_class_and_the_next_have_keys_and_a_long_name_stays_on_its_button(
    visit: Visit, line: Station
) -> None:
    long = "b" * 64
    own = [line.review / "labelled" / name for name in ("a1", "a2", long, "zz")]
    for folder in own:
        folder.mkdir()
    anna = visit("anna", viewport={"width": 360, "height": 740})
    image = shown(anna)
    for key, name in (("0", long), ("b", "zz")):
        anna.page.locator(f'#one [data-label="{name}"]').wait_for()
        assert anna.page.evaluate("document.documentElement.scrollWidth") <= 360
        anna.page.keyboard.press(key)
        wait_until(lambda name=name: (image, name, "anna") in labels(line))  # type: ignore[misc]
        wait_until(lambda: shown(anna) != image)
        anna.page.keyboard.press("u")
        wait_until(lambda: shown(anna) == image)
    for folder in own:
        shutil.rmtree(folder)
