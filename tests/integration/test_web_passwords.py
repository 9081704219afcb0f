"""A user's own password, changed on the page; and browsers that came by TLS, told to come in no other way."""

from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from pages import HASH, ORIGIN, PASSWORD, Page, log_in, open_page, token_of
from records import rows

from daemon.store import users
from daemon.store.audit import Deed
from daemon.web.door.attempts import FAILURES

NEW = "four other plain words"


def change(
    browser: TestClient,
    *,
    old: str = PASSWORD,
    new: str = NEW,
    again: str = NEW,
    token: str | None = None,
    origin: str = ORIGIN,
) -> httpx.Response:
    """As the form sends it, without a script."""
    known = token_of(browser) if token is None else token
    form = {"old": old, "new": new, "again": again, "token": known}
    headers = {"origin": origin, "accept": "text/html", "x-millwatch-token": ""}
    return browser.post("/password", data=form, headers=headers)


def test_a_user_changes_the_password_and_is_out_everywhere_else(page: Page) -> None:
    here, there, camera = page.logged_in("anna"), page.browser(), page.browser()
    assert log_in(there, "anna").status_code == 303
    assert camera.get("/api/status", auth=("anna", PASSWORD)).status_code == 200  # and remembered
    stolen = here.cookies["millwatch"]
    changed = change(here)
    assert (changed.status_code, changed.headers["location"]) == (303, "/password?changed=yes")
    assert "It is changed" in here.get(changed.headers["location"]).text
    assert here.cookies["millwatch"] != stolen
    thief = page.browser()
    thief.cookies.set("millwatch", stolen)
    for browser in (there, thief):
        assert browser.get("/line").status_code == 303
    assert camera.get("/api/status", auth=("anna", PASSWORD)).status_code == 401
    assert log_in(page.browser(), "anna").status_code == 401
    assert log_in(page.browser(), "anna", NEW).status_code == 303
    assert ("anna", "password changed") in rows(page.database, "SELECT who, deed FROM audit")
    assert rows(page.database, "SELECT role FROM web_user") == [("label",)]


def test_a_password_that_cannot_be_is_refused_in_words_and_the_old_one_stays(page: Page) -> None:
    anna = page.logged_in("anna")
    for wanted, status, why in (
        ({"old": "not the password"}, 401, "The old password is wrong"),
        ({"again": "another new one"}, 422, "The two new passwords differ"),
        ({"new": "short", "again": "short"}, 422, "at least 10 characters"),
    ):
        refused = change(anna, **wanted)  # type: ignore[arg-type] -- none of them is another's
        assert refused.status_code == status
        assert why in refused.text
        assert 'name="old"' in refused.text
    assert anna.get("/line").status_code == 200
    assert log_in(page.browser(), "anna").status_code == 303


@pytest.mark.fault(39)
def test_who_has_anothers_session_cannot_guess_the_password_nor_change_it_from_elsewhere(
    page: Page,
) -> None:
    anna = page.logged_in("anna")
    assert change(anna, token="guessed").status_code == 403  # noqa: S106 -- it is none
    assert change(anna, origin="http://evil.example").status_code == 403
    tries = [change(anna, old=f"guess number {n}").status_code for n in range(FAILURES)]
    assert tries == [401] * FAILURES
    refused = change(anna)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 60
    assert "try again in 15 min" in refused.text
    nobody = change(page.browser(), token="of a session that is over")  # noqa: S106 -- none
    assert (nobody.status_code, nobody.headers["location"]) == (303, "/login")


def test_a_user_who_was_removed_that_moment_does_not_come_back(page: Page) -> None:
    page.add_user("anna")
    user = users.find_user(page.database, "anna")
    assert user is not None
    page.users.remove("anna", by="root")
    deed = Deed(who="anna", address="127.0.0.1", deed="password changed")
    times = {"now": page.now, "ends": page.now}
    assert not users.change_password(page.database, user, HASH, "0" * 64, deed, **times)
    assert rows(page.database, "SELECT name FROM web_user") == []
    assert rows(page.database, "SELECT user_name FROM web_session") == []


def test_where_everybody_at_this_computer_may_come_in_there_is_no_password_to_change(
    tmp_path: Path, model: Path
) -> None:
    with open_page(tmp_path, model, open_on_loopback=True) as page:
        browser = page.browser()
        assert "/password" not in browser.get("/line").text
        assert browser.get("/password").status_code == 303


def hsts(answer: httpx.Response) -> str | None:
    return answer.headers.get("strict-transport-security")


@pytest.mark.fault(39)
def test_browsers_that_came_by_tls_are_told_to_come_in_no_other_way(
    tmp_path: Path, model: Path
) -> None:
    tls = {"tls_certificate": tmp_path / "c.pem", "tls_key": tmp_path / "k.pem"}
    for number, (days, told) in enumerate(((7.0, "max-age=604800"), (0.0, "max-age=0"))):
        with open_page(tmp_path / str(number), model, hsts_days=days, **tls) as page:
            for address in ("/login", "/api/status", "/nowhere"):
                assert hsts(page.browser().get(address)) == told


@pytest.mark.fault(39)
def test_so_are_those_that_came_by_a_server_in_front_and_no_others(
    tmp_path: Path, model: Path
) -> None:
    with open_page(tmp_path, model, host_names=["line-1.plant"]) as page:
        page.add_user("anna")
        browser = page.browser()
        come = log_in(browser, "anna", origin="https://line-1.plant", host="line-1.plant")
        assert (come.status_code, hsts(come)) == (303, "max-age=604800")
        for origin in ("https://evil.example", "http://line-1.plant"):
            assert hsts(log_in(browser, "anna", origin=origin, host="line-1.plant")) is None
        plain = log_in(page.browser(), "anna")
        assert (plain.status_code, hsts(plain)) == (303, None)
