"""A session from the login to the logout: how long it lasts, and where it leads."""

import html
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pages import ORIGIN, Page, log_in, open_page, token_of

from daemon.web.app import create_app


def test_a_login_lasts_until_it_is_over(page: Page) -> None:
    browser = page.logged_in("anna")
    assert browser.get("/line").status_code == 200
    page.later(hours=11.9)
    assert browser.get("/line").status_code == 200
    page.later(hours=0.2)
    assert browser.get("/line").status_code == 303


def test_who_logs_out_is_out_everywhere_the_token_was_copied_to(page: Page) -> None:
    browser = page.logged_in("anna")
    thief = page.browser()
    thief.cookies.update(browser.cookies)
    assert thief.get("/line").status_code == 200
    left = browser.post("/logout", data={"token": token_of(browser)})  # as the form sends it
    assert (left.status_code, left.headers["location"]) == (303, "/login")
    assert browser.get("/line").status_code == 303
    assert thief.get("/line").status_code == 303


def test_who_logs_in_comes_back_to_what_was_asked_for_and_never_elsewhere(page: Page) -> None:
    page.add_user("anna")
    asked = "/queue?camera=top-1&class=unknown&day=2026-03-02"
    sent = page.browser().get(asked).headers["location"]
    wrong = page.browser().post("/login", data=_typed(sent, "no password of hers"))
    assert wrong.status_code == 401
    assert re.search(r'<input id="name"[^>]* value="anna"', wrong.text), "to be typed but once"
    assert re.search(r'<input id="password"[^>]* autofocus', wrong.text)
    place = html.unescape(wrong.text.partition('name="next" value="')[2].partition('"')[0])
    browser = page.browser()
    come = log_in(browser, "anna", place=place)
    assert (come.status_code, come.headers["location"]) == (303, asked)
    assert browser.get(sent).headers["location"] == asked, "logged in meanwhile, in another tab"
    for other in (
        *("//evil.example", "https://evil.example/queue", "/\\evil.example", "/queue/../logout"),
        *("/queue?a\r\nset-cookie: x", "javascript:alert(1)", "/api/status", "queue", ""),
    ):
        assert log_in(page.browser(), "anna", place=other).headers["location"] == "/queue"
        known = browser.get("/login", params={"next": other})
        assert known.headers["location"] == "/queue"


def _typed(address: str, password: str) -> dict[str, str]:
    (place,) = parse_qs(urlsplit(address).query)["next"]
    return {"name": "anna", "password": password, "next": place}


def test_a_page_that_was_open_before_a_restart_labels_after_it(page: Page) -> None:
    image_id = page.add_image(1)
    before = page.logged_in("anna")
    page.app = create_app(page.desk)
    after = page.browser(**before.headers)
    after.cookies.update(before.cookies)
    label = f"/api/inspections/{image_id}/label"
    given = after.post(label, json={"label": "patches", "seen": 0}, headers={"origin": ORIGIN})
    assert given.status_code == 200


def test_a_page_that_is_open_to_this_computer_labels_after_a_restart_too(
    tmp_path: Path, model: Path
) -> None:
    with open_page(tmp_path, model, open_on_loopback=True) as page:
        label = f"/api/inspections/{page.add_image(1)}/label"
        sent = {"origin": ORIGIN, "x-millwatch-token": token_of(page.browser())}
        page.app = create_app(page.desk)
        given = page.browser().post(label, json={"label": "patches", "seen": 0}, headers=sent)
        assert given.status_code == 200
        (kept,) = page.settings.state_dir.glob("page.key")
        assert kept.stat().st_mode & 0o777 == 0o600
        assert sent["x-millwatch-token"] not in kept.read_bytes().hex()
        kept.write_bytes(b"")  # as a kill amid its making leaves it
        page.app = create_app(page.desk)
        assert len(token_of(page.browser())) == 64
        assert token_of(page.browser()) != sent["x-millwatch-token"]
