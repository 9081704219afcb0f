"""Who may come in, and what stays outside."""

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from argon2 import Parameters, extract_parameters
from argon2.low_level import verify_secret
from pages import HASH, ORIGIN, PASSWORD, Page, log_in, open_page, token_of
from records import rows

from daemon.clock import now_utc
from daemon.process.control import RefusedError
from daemon.web.door.attempts import FAILURES, WINDOW_SECONDS, Attempts
from daemon.web.door.doorkeeper import Doorkeeper
from daemon.web.door.users import Role, hash_password


def basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def deeds(page: Page) -> list[tuple[str, ...]]:
    return rows(page.database, "SELECT who, deed, what FROM audit ORDER BY id")


# --- logging in ------------------------------------------------------------------------------------


def test_nobody_comes_in_without_a_login(page: Page) -> None:
    browser = page.browser()
    for address in ("/line", "/line/now", "/audit", "/images/1"):
        answer = browser.get(address)
        assert answer.status_code == 303
        assert answer.headers["location"].partition("?")[0] == "/login"
    for address in ("/api/status", "/api/inspections", "/api/inspections/1/picture"):
        assert browser.get(address).status_code == 401
    assert browser.post("/api/inspections?camera=top-1&filename=a.jpg").status_code == 401


def test_without_any_user_the_page_says_how_to_add_the_first(page: Page) -> None:
    assert "millwatch users add" in page.browser().get("/login").text
    page.add_user("anna")
    assert "millwatch users add" not in page.browser().get("/login").text


def test_a_removed_user_and_one_with_another_password_are_out_at_once(page: Page) -> None:
    anna, otto = page.logged_in("anna"), page.logged_in("otto")
    page.users.remove("anna", by="root")
    page.users.add("otto", role="look", password_hash=HASH, by="root", replace=True)
    assert anna.get("/line").status_code == 303
    assert otto.get("/line").status_code == 303
    with pytest.raises(RefusedError, match="no user anna"):
        page.users.remove("anna", by="root")


def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(page: Page) -> None:
    page.add_user("anna")
    cookie = log_in(page.browser(), "anna").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie  # on loopback without TLS it would not come back


def test_under_tls_the_cookie_is_secure_and_bound_to_the_host(tmp_path: Path, model: Path) -> None:
    tls = {"tls_certificate": tmp_path / "c.pem", "tls_key": tmp_path / "k.pem"}
    with open_page(tmp_path, model, **tls) as page:
        page.add_user("anna")
        cookie = log_in(page.browser(), "anna").headers["set-cookie"]
        assert cookie.startswith("__Host-millwatch=")
        assert "; Secure" in cookie


def test_a_role_may_do_what_it_says_and_no_more(page: Page) -> None:
    looker = page.logged_in("lena", Role.LOOK)
    labeller = page.logged_in("anna", Role.LABEL)
    boss = page.logged_in("otto", Role.ADMINISTER)
    upload = "/api/inspections?camera=nowhere&filename=a.jpg"
    assert looker.get("/line").status_code == 200
    assert looker.post(upload).status_code == 403
    assert labeller.post(upload).status_code == 409  # no such camera: it came that far
    assert labeller.get("/audit").status_code == 403
    assert boss.get("/audit").status_code == 200
    assert "/audit" not in labeller.get("/line").text


def test_passwords_are_kept_as_argon2_hashes_and_tokens_as_digests(page: Page) -> None:
    browser = page.logged_in("anna")
    (token,) = browser.cookies.values()
    dump = str(rows(page.database, "SELECT * FROM web_user, web_session"))
    assert "$argon2id$" in dump
    assert PASSWORD not in dump
    assert token not in dump


def test_short_passwords_and_names_that_are_none_are_refused(page: Page) -> None:
    with pytest.raises(RefusedError, match="at least 10"):
        hash_password("short")
    for name in ("", "a/b", "../x", "a\nb", "<b>", "x" * 65):
        with pytest.raises(RefusedError):
            page.users.add(name, role="look", password_hash=HASH, by="root")
    with pytest.raises(RefusedError, match="no role"):
        page.users.add("anna", role="god", password_hash=HASH, by="root")
    with pytest.raises(RefusedError, match="not hashed"):
        page.users.add("anna", role="look", password_hash=PASSWORD, by="root")
    page.add_user("Anna ")
    with pytest.raises(RefusedError, match="a user anna already"):
        page.add_user("anna")


def test_a_program_sends_its_password_each_time_to_the_api_alone(page: Page) -> None:
    page.add_user("camera", Role.LABEL)
    program = page.browser()
    assert program.get("/api/status", headers=basic("camera")).status_code == 200
    assert program.get("/api/status", headers=basic("camera")).status_code == 200  # remembered
    assert program.get("/api/status", headers=basic("camera", "wrong")).status_code == 401
    assert program.get("/line", headers=basic("camera")).status_code == 303
    for broken in ("Basic", "Basic !!!", "Bearer x", "Basic " + base64.b64encode(b"\xff").decode()):
        answer = program.get("/api/status", headers={"authorization": broken})
        assert answer.status_code == 401
    page.users.remove("camera", by="root")
    assert program.get("/api/status", headers=basic("camera")).status_code == 401


def test_logins_are_recorded_refused_ones_too_and_shown_to_administrators(page: Page) -> None:
    boss = page.logged_in("otto", Role.ADMINISTER)
    log_in(page.browser(), "<script>alert(1)</script>", "wrong password")
    assert deeds(page) == [
        ("root", "user added", "otto: administer"),
        ("otto", "login", ""),
        ("<script>alert(1)</script>", "login refused", ""),
    ]
    shown = boss.get("/audit").text
    assert "&lt;script&gt;alert(1)" in shown
    assert "<script>alert" not in shown


# --- attacks ---------------------------------------------------------------------------------------


@pytest.mark.fault(39)
def test_guessing_passwords_ends_after_a_few(page: Page) -> None:
    page.add_user("anna")
    burglar = page.browser()
    answers = [log_in(burglar, "anna", f"guess number {n}").status_code for n in range(FAILURES)]
    assert answers == [401] * FAILURES
    refused = log_in(burglar, "anna")  # the right one now
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 60
    assert "Too many logins have failed; try again in 15 min." in refused.text
    assert "login refused" in str(deeds(page))
    # An attack by programs is held up by the same limit.
    assert page.browser().get("/api/status", headers=basic("anna")).status_code == 429


def test_a_name_that_does_not_exist_costs_the_same_hash(page: Page) -> None:
    page.users.add("anna", role="look", password_hash=hash_password(PASSWORD), by="root")
    doorkeeper = Doorkeeper(page.settings.web, page.database, now_utc, key=page.root / "none")

    def hashed(name: str) -> list[Parameters]:
        """What argon2 was asked to compute for a login that fails."""
        asked: list[Parameters] = []

        def note(frame: FrameType, event: str, _: object) -> None:
            if event == "call" and frame.f_code is verify_secret.__code__:
                asked.append(extract_parameters(frame.f_locals["hash"].decode()))

        sys.setprofile(note)
        try:
            assert doorkeeper.login(name, "not the password", "127.0.0.1") is None
        finally:
            sys.setprofile(None)
        return asked

    assert len(hashed("anna")) == 1
    assert hashed("nobody") == hashed("anna")


def test_failures_are_forgotten_in_time_and_never_fill_the_memory() -> None:
    attempts = Attempts()
    for _ in range(FAILURES):
        assert attempts.wait_seconds(["user anna"], now=100.0) == 0
        attempts.failed(["user anna", "address 10.0.0.1"], now=100.0)
    assert attempts.wait_seconds(["user anna"], now=100.0) == WINDOW_SECONDS
    assert attempts.wait_seconds(["user otto", "address 10.0.0.1"], now=100.0) == WINDOW_SECONDS
    assert attempts.wait_seconds(["user anna"], now=100.0 + WINDOW_SECONDS) == 0
    attempts.succeeded(["user anna"])
    assert attempts.wait_seconds(["user anna"], now=100.0) == 0
    for number in range(10_001):
        attempts.failed([f"user {number}"], now=101.0)
    assert attempts.wait_seconds(["address 10.0.0.1"], now=101.0) == 0  # the oldest went


@pytest.mark.fault(39)
def test_what_another_site_makes_a_browser_send_is_refused(page: Page) -> None:
    victim = page.logged_in("anna")
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": ORIGIN, "x-millwatch-token": "guessed"},
        {"origin": ORIGIN, "x-millwatch-token": ""},
    ):
        for name in ("/logout", "/api/inspections?camera=top-1&filename=a.jpg"):
            assert victim.post(name, headers=headers).status_code == 403
    assert victim.get("/line").status_code == 200


@pytest.mark.fault(39)
def test_the_forms_of_the_pages_want_the_pages_token_and_the_role(page: Page) -> None:
    image_id = page.add_image(1)
    label_id = page.labeller.label(image_id, "crazing", "otto", seen=0)
    forms = {
        "/model/promote": {"version": page.model.version},
        "/model/rollback": {},
        f"/images/{image_id}/undo": {"seen": str(label_id)},
    }
    boss, looker = page.logged_in("otto", Role.ADMINISTER), page.logged_in("lena", Role.LOOK)
    mine, hers = (each.headers.pop("x-millwatch-token") for each in (boss, looker))
    for address, form in forms.items():
        assert boss.post(address, data={**form, "token": "guessed"}).status_code == 403
        foreign = {"origin": "http://evil.example"}
        assert boss.post(address, data={**form, "token": mine}, headers=foreign).status_code == 403
        assert looker.post(address, data={**form, "token": hers}).status_code == 403
        nobody = page.browser(accept="text/html").post(address, data={**form, "token": mine})
        assert nobody.headers["location"] == "/login"
    assert rows(page.database, "SELECT count(*) FROM label WHERE undone_at IS NULL") == [(1,)]
    late = {"seen": str(label_id + 1), "token": mine}
    told = boss.post(f"/images/{image_id}/undo", data=late, headers={"accept": "text/html"})
    assert (told.status_code, "<h1>Not done</h1>" in told.text) == (409, True)
    for address, form in forms.items():
        answer = boss.post(address, data={**form, "token": mine}, headers={"accept": "text/html"})
        assert answer.status_code in (303, 409), answer.text
    assert rows(page.database, "SELECT count(*) FROM label WHERE undone_at IS NULL") == [(0,)]


@pytest.mark.fault(39)
def test_a_cookie_without_the_pages_token_changes_nothing(page: Page) -> None:
    victim = page.logged_in("anna")
    del victim.headers["x-millwatch-token"]
    assert victim.post("/logout").status_code == 403
    assert log_in(page.browser(), "anna", origin="http://evil.example").status_code == 403


@pytest.mark.fault(39)
def test_a_session_that_was_laid_into_the_browser_is_worth_nothing(page: Page) -> None:
    page.add_user("anna")
    browser = page.browser()
    browser.cookies.set("millwatch", "laid-by-the-attacker")
    assert browser.get("/line").status_code == 303
    answer = log_in(browser, "anna")
    assert "laid-by-the-attacker" not in answer.headers["set-cookie"]
    attacker = page.browser()
    attacker.cookies.set("millwatch", "laid-by-the-attacker")
    assert attacker.get("/line").status_code == 303


@pytest.mark.fault(39)
def test_no_path_of_a_request_opens_a_file(page: Page) -> None:
    browser = page.logged_in("otto", Role.ADMINISTER)
    for path in (
        "/static/../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/etc/passwd",
        "/static/x/..%2f..%2fserver.py",
        "/static//etc/passwd",
        "/images/../../etc/passwd",
        "/api/inspections/..%2f..%2fetc%2fpasswd/picture",
        "/api/inspections/1/..%2f..%2fpicture",
        "/api/inspections/%00/picture",
        "//etc/passwd",
    ):
        answer = browser.get(path)
        assert answer.status_code in (404, 405, 422)
        assert "root:" not in answer.text


@pytest.mark.fault(39)
def test_another_name_for_this_computer_is_refused(page: Page) -> None:
    browser = page.logged_in("anna")
    answer = browser.get("/line", headers={"host": "evil.example:8470"})
    assert answer.status_code == 421
    for host in ("localhost:8470", "127.0.0.1", "[::1]:8470"):
        assert browser.get("/line", headers={"host": host}).status_code == 200


def test_names_of_this_computer_can_be_listed(tmp_path: Path, model: Path) -> None:
    with open_page(tmp_path, model, host_names=["line-1.plant"]) as page:
        browser = page.logged_in("anna")
        assert browser.get("/line", headers={"host": "line-1.plant"}).status_code == 200
        assert browser.get("/line", headers={"host": "line-2.plant"}).status_code == 421


def test_behind_a_server_that_has_the_certificate_people_log_in(
    tmp_path: Path, model: Path
) -> None:
    with open_page(tmp_path, model, host_names=["line-1.plant"]) as page:
        page.add_user("anna")
        browser = page.browser()
        front = {"host": "line-1.plant", "sec-fetch-site": "same-origin"}
        come = log_in(browser, "anna", origin="https://line-1.plant", **front)
        assert come.status_code == 303
        assert "; Secure" in come.headers["set-cookie"], "a browser shows it to TLS alone"
        assert "Secure" not in log_in(page.browser(), "anna").headers["set-cookie"]
        for origin in ("https://evil.example", "https://line-1.plant:444", "https://127.0.0.1"):
            assert log_in(browser, "anna", origin=origin, **front).status_code == 403
        local = {"origin": "https://127.0.0.1:8470", "host": "127.0.0.1:8470"}
        assert log_in(browser, "anna", **local).status_code == 403


@pytest.mark.fault(39)
def test_no_other_page_may_frame_this_one_or_put_scripts_into_it(page: Page) -> None:
    browser = page.logged_in("anna")
    for address in ("/line", "/login", "/nowhere", "/api/status", "/api/openapi.json"):
        headers = browser.get(address).headers
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
    html = browser.get("/line").text
    assert "<style" not in html
    assert "style=" not in html
    assert "onclick" not in html


@pytest.mark.fault(39)
def test_a_request_that_is_too_large_is_refused(page: Page) -> None:
    browser = page.browser()
    assert browser.post("/login", content=b"x" * 70_000).status_code == 413
    chunks = (b"x" * 10_000 for _ in range(10))  # and one that does not say how large it is
    answer = browser.post(
        "/login", content=chunks, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 413


# --- this computer alone ---------------------------------------------------------------------------


@pytest.fixture
def open_to_all(tmp_path: Path, model: Path) -> Iterator[Page]:
    with open_page(tmp_path, model, open_on_loopback=True) as made:
        yield made


def test_on_loopback_everybody_may_come_in_if_the_configuration_says_so(open_to_all: Page) -> None:
    browser = open_to_all.browser()
    assert browser.get("/audit").status_code == 200
    upload = "/api/inspections?camera=nowhere&filename=a.jpg"
    assert browser.post(upload).status_code == 409  # a program on this computer
    token = token_of(browser)
    from_page = {"origin": ORIGIN, "x-millwatch-token": token}
    assert browser.post(upload, headers=from_page).status_code == 409


@pytest.mark.fault(39)
def test_a_site_that_a_browser_on_this_computer_looks_at_changes_nothing(
    open_to_all: Page,
) -> None:
    browser = open_to_all.browser()
    upload = "/api/inspections?camera=nowhere&filename=a.jpg"
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        assert browser.post(upload, headers=headers).status_code == 403
    assert browser.post(upload, headers={"origin": ORIGIN}).status_code == 403  # without the token
    assert browser.get("/line", headers={"host": "rebound.example"}).status_code == 421
