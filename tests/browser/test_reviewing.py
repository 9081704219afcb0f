"""Labelling in a real browser, by keys alone; two people at once."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import answer, held, labels, shown, wait_for_request
from builders import Station, assert_every_image_accounted_for, wait_until

from daemon.process.control import ask

Visit = Callable[..., Any]


def waits(watched: Any) -> int:
    return int(watched.page.locator("#waiting").inner_text())


def test_twenty_images_are_labelled_by_keys_alone_and_one_is_taken_back(
    visit: Visit, line: Station
) -> None:
    anna = visit("anna")
    shown(anna)
    anna.assert_accessible()
    anna.photograph("review")
    already, waiting = len(labels(line)), waits(anna)
    begun = time.monotonic()
    for number in range(20):
        before = shown(anna)
        anna.page.keyboard.press(str(number % 7 + 1))
        wait_until(lambda before=before: shown(anna) != before)  # type: ignore[misc]
    minutes = (time.monotonic() - begun) / 60
    print(f"\nlabels per minute by keys, in a headless browser: {20 / minutes:.0f}")
    wait_until(lambda: len(labels(line)) == already + 20)
    assert waits(anna) == waiting - 20
    classes = {label for _, label, by in labels(line) if by == "anna"}
    assert len(classes) == 7

    anna.page.keyboard.press("u")
    wait_until(lambda: len(labels(line)) == already + 19)
    anna.page.get_by_text("is to be checked again").wait_for()
    assert_every_image_accounted_for(line)


@pytest.mark.fault(63)
def test_the_second_of_two_people_is_told_and_decides_knowing_it(
    visit: Visit, line: Station
) -> None:
    anna, otto = visit("anna"), visit("otto")
    image = shown(anna)
    assert shown(otto) == image
    anna.page.keyboard.press("2")
    wait_until(lambda: (image, "crazing", "anna") in labels(line))
    otto.page.keyboard.press("3")
    otto.page.locator("#conflict").get_by_text("anna labelled it crazing").wait_for()
    otto.assert_accessible()
    assert (image, "crazing", "anna") in labels(line)
    assert shown(otto) == image
    otto.page.keyboard.press("3")  # now knowing it
    wait_until(lambda: (image, "inclusion", "otto") in labels(line))
    otto.open(f"/images/{image}")
    told = otto.page.locator(".past").inner_text()
    assert "crazing by anna" in told
    assert "inclusion by otto" in told
    otto.assert_accessible()
    otto.page.on("dialog", lambda dialog: dialog.accept())
    otto.page.get_by_role("button", name="Take back").press("Enter")
    wait_until(lambda: image not in {number for number, _, _ in labels(line)})


def test_a_class_of_ones_own_is_typed(visit: Visit, line: Station) -> None:
    anna = visit("anna")
    image = shown(anna)
    anna.page.keyboard.press("n")
    anna.assert_accessible()
    anna.page.keyboard.type("edge crack 1")  # letters and digits that are keys elsewhere
    anna.page.keyboard.press("Enter")
    wait_until(lambda: (image, "edge crack 1", "anna") in labels(line))
    anna.page.locator("#one").get_by_text("edge crack 1").wait_for()
    assert (line.review / "labelled" / "edge crack 1").is_dir()
    before = shown(anna)
    anna.page.keyboard.press("n")
    anna.page.keyboard.type("No Defect")  # as the page writes the class that there is
    anna.page.keyboard.press("Enter")
    wait_until(lambda: (before, "no_defect", "anna") in labels(line))
    before = wait_until(lambda: (now := shown(anna)) != before and now)
    anna.page.keyboard.press("n")
    anna.page.keyboard.press("Escape")
    assert shown(anna) == before


def test_what_is_not_in_order_in_the_folder_is_told_on_the_page(
    visit: Visit, line: Station
) -> None:
    stranger = line.review / "labelled" / "scratches" / "holiday.jpg"
    stranger.write_bytes(b"no camera delivered this")
    wait_until(lambda: line.ask("review conflicts")["conflicts"])
    lena = visit("lena")
    lena.page.locator("summary").click()
    lena.page.get_by_text(str(stranger)).wait_for()
    lena.assert_accessible()
    stranger.unlink()


def pictures_had(watched: Any) -> list[str]:
    """The addresses of the large pictures that the browser has, in the order of asking."""
    had = watched.page.evaluate(
        "() => performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname)"
    )
    return [address for address in had if address.endswith("/picture")]


def test_the_next_pictures_are_there_before_they_are_wanted(visit: Visit) -> None:
    anna = visit("anna")
    here = shown(anna)
    pictures = wait_until(lambda: len(had := pictures_had(anna)) == 3 and had)
    assert pictures[0] == f"/api/inspections/{here}/picture"
    asked: list[str] = []
    anna.page.on("request", lambda request: asked.append(request.url))
    anna.page.keyboard.press("ArrowRight")
    wait_until(lambda: shown(anna) != here)
    coming = f"/api/inspections/{shown(anna)}/picture"
    assert coming in pictures
    assert not [each for each in asked if each.endswith(coming)], "it was had before"


def test_filters_leave_what_was_asked_for(visit: Visit, line: Station) -> None:
    anna = visit("anna")
    ((camera, name, reason, day),) = line.query(
        "SELECT camera, predicted_class, reason, substr(captured_at, 1, 10) FROM inspections"
        " WHERE id = ?",
        shown(anna),
    )
    called = "unknown" if reason == "unknown" else name
    for label, value in (("Class", called), ("Reason", reason), ("Camera", camera)):
        anna.page.get_by_label(label, exact=True).select_option(value)
        anna.page.wait_for_url(f"**={value}**")
        shown(anna)
    anna.page.get_by_label("Day").fill(day)
    anna.page.wait_for_url(f"**day={day}**")
    shown(anna)
    assert anna.page.locator("#fact-camera").inner_text() == camera
    anna.page.get_by_label("Day").fill("2001-01-01")
    anna.page.get_by_text("Nothing to check here").wait_for()


def test_skip_back_heatmap_and_filters(visit: Visit) -> None:
    anna = visit("anna")
    first = shown(anna)
    anna.page.keyboard.press("ArrowRight")
    wait_until(lambda: shown(anna) != first)
    anna.page.keyboard.press("ArrowLeft")
    anna.page.locator(f"#picture[alt^='Image {first} ']").wait_for()
    anna.page.keyboard.press("h")
    anna.page.locator("#picture[src$='/heatmap']").wait_for()
    shown(anna)
    anna.page.get_by_label("Camera").select_option("top-1")
    anna.page.wait_for_url("**camera=top-1**")
    shown(anna)
    assert anna.page.locator("#fact-camera").inner_text() == "top-1"
    skipped = shown(anna)
    anna.page.keyboard.press("ArrowRight")
    here = wait_until(lambda: (now := shown(anna)) != skipped and now)
    anna.page.keyboard.press("i")
    anna.page.wait_for_url("**/images/*")
    anna.page.go_back()
    wait_until(lambda: shown(anna) == here)


def test_who_may_only_look_labels_nothing(visit: Visit, line: Station) -> None:
    lena = visit("lena")
    shown(lena)
    before = labels(line)
    for key in "1un":
        lena.page.keyboard.press(key)
    lena.page.get_by_text("You may look").wait_for()
    lena.page.keyboard.press("g")
    assert lena.page.locator("[data-label]").count() == 0
    assert labels(line) == before


@pytest.mark.fault(41)
def test_an_image_whose_file_vanished_shows_as_missing(visit: Visit, line: Station) -> None:
    anna = visit("anna")
    image = shown(anna)
    ((path,),) = line.query("SELECT path FROM inspections WHERE id = ?", image)
    data = Path(path).read_bytes()
    Path(path).unlink()
    try:
        anna.open("/queue")
        anna.page.get_by_text("The file is missing from the review folder").wait_for()
        anna.page.keyboard.press("1")
        anna.page.locator("#conflict").get_by_text("missing").wait_for()
    finally:
        Path(path).write_bytes(data)


def test_a_key_that_is_held_down_or_pressed_twice_labels_what_was_shown_and_no_more(
    visit: Visit, line: Station
) -> None:
    anna = visit("anna")
    first, before = shown(anna), labels(line)
    for _ in range(6):
        anna.page.keyboard.down("2")  # from the second on as a keyboard repeats it
    anna.page.keyboard.up("2")
    wait_until(lambda: shown(anna) != first)
    second = shown(anna)
    requests = held(anna, "**/label")
    anna.page.keyboard.press("3")
    wait_for_request(anna, requests)
    anna.page.keyboard.press("4")
    answer(anna, requests, "**/label")
    wait_until(lambda: shown(anna) != second)
    third = shown(anna)
    anna.page.keyboard.press("ArrowRight")  # which comes after all that was asked for before
    wait_until(lambda: shown(anna) != third)
    assert set(labels(line)) - set(before) == {
        (first, "crazing", "anna"),
        (second, "inclusion", "anna"),
    }


def test_no_picture_is_labelled_before_it_is_there(visit: Visit, line: Station) -> None:
    anna = visit("anna")
    first, before = shown(anna), labels(line)
    queue = anna.page.evaluate("fetch('/api/queue').then(answer => answer.json())")
    second = next(each["id"] for each in queue["images"] if each["id"] != first)
    pattern = f"**/{second}/picture"
    requests = held(anna, pattern)
    anna.open("/queue")
    assert shown(anna) == first
    anna.page.keyboard.press("ArrowRight")
    anna.page.locator(f"#picture[alt^='Image {second} ']").wait_for()
    anna.page.keyboard.press("1")
    anna.page.get_by_text("The picture is not there yet").wait_for()
    assert labels(line) == before
    answer(anna, requests, pattern)
    assert shown(anna) == second
    anna.page.keyboard.press("1")
    wait_until(lambda: (second, "no_defect", "anna") in labels(line))


def test_why_a_picture_is_not_shown_is_told_as_it_is(visit: Visit, line: Station) -> None:
    anna = visit("anna")
    image = shown(anna)
    away = {"status": 503, "json": {"detail": "the database cannot be read"}}
    anna.page.route("**/picture", lambda route: route.fulfill(**away))
    anna.open("/queue")
    missing = anna.page.locator("#missing")
    missing.get_by_text("the database cannot be read").wait_for()
    anna.page.unroute("**/picture")
    for key in ("ArrowRight", "ArrowLeft"):
        anna.page.keyboard.press(key)
    wait_until(lambda: shown(anna) == image)
    ((path,),) = line.query("SELECT path FROM inspections WHERE id = ?", image)
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[:-1] + b"!")
    try:
        anna.page.route("**/nothing", lambda route: route.abort())  # without the browser's cache
        anna.open("/queue")
        missing.get_by_text("no longer the one that was judged").wait_for()
        anna.page.keyboard.press("1")  # of a picture that nobody has seen
        anna.page.locator("#notice").get_by_text("no longer the one that was judged").wait_for()
        assert image not in {number for number, _, _ in labels(line)}
    finally:
        Path(path).write_bytes(data)


def test_after_the_last_picture_one_can_still_go_back_and_undo_by_touch(
    visit: Visit, line: Station
) -> None:
    anna = visit("anna")
    shown(anna)
    empty = anna.page.locator("#empty")
    for _ in range(waits(anna)):
        last = shown(anna)
        anna.page.keyboard.press("ArrowRight")
        wait_until(lambda last=last: empty.is_visible() or shown(anna) != last)  # type: ignore[misc]
    empty.get_by_text("You have skipped what is left").wait_for()
    anna.assert_accessible()
    empty.get_by_role("button", name="back").click()
    assert shown(anna) == last
    anna.page.keyboard.press("5")
    wait_until(lambda: last in {image for image, _, _ in labels(line)})
    empty.get_by_role("button", name="undo").click()
    assert shown(anna) == last
    assert last not in {image for image, _, _ in labels(line)}


def test_what_comes_while_more_than_a_page_is_skipped_is_shown(visit: Visit, line: Station) -> None:
    lacking = 30 - ask(line.state_dir, "review list", limit=1)["waiting"]
    if lacking > 0:
        line.drop_surfaces(lacking)
        wait_until(lambda: ask(line.state_dir, "review list", limit=1)["waiting"] == 30)
    last = ask(line.state_dir, "review list", limit=1000)["images"][-1]["image"]
    ask(line.state_dir, "review label", image=last, label="patches", by="otto")
    anna = visit("anna")
    anna.page.clock.install()
    anna.open("/queue")
    shown(anna)
    for _ in range(waits(anna)):
        anna.page.keyboard.press("ArrowRight")
    anna.page.get_by_text("You have skipped what is left").wait_for()
    ask(line.state_dir, "review undo", image=last, by="otto")
    anna.page.clock.fast_forward(5_000)
    anna.page.locator("#empty").wait_for(state="hidden")
    assert shown(anna) == last


def test_while_the_rest_of_the_queue_cannot_be_had_what_is_there_is_labelled(
    visit: Visit, line: Station
) -> None:
    anna = visit("anna")
    queue = anna.page.evaluate("fetch('/api/queue').then(answer => answer.json())")
    assert shown(anna) == queue["images"][0]["id"]
    away = {"status": 503, "json": {"detail": "the review folder does not answer"}}
    anna.page.route("**/api/queue?*", lambda route: route.fulfill(**away))
    for _ in range(16):  # now fewer than ten are left
        anna.page.keyboard.press("ArrowRight")
    anna.page.locator("#notice").get_by_text("the review folder does not answer").wait_for()
    here, there = (each["id"] for each in queue["images"][16:18])
    wait_until(lambda: shown(anna) == here)
    anna.page.keyboard.press("2")
    wait_until(lambda: (here, "crazing", "anna") in labels(line))
    wait_until(lambda: shown(anna) == there)
    assert anna.page.locator("#strip li").count() < 8
    anna.page.unroute("**/api/queue?*")
    anna.page.keyboard.press("ArrowRight")
    wait_until(lambda: anna.page.locator("#strip li").count() == 8)
