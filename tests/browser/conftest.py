"""A real browser before the page of a real daemon."""

import io
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from builders import Station
from pages import HASH, PASSWORD
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
PHOTOGRAPHS = Path(__file__).parents[2] / "docs" / "images"
_IMAGES = 40
_ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@dataclass
class Watched:
    """A page in a browser that somebody watches: where its requests go, and what goes wrong in it."""

    page: Page
    port: int
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._console)
        self.page.on("request", lambda request: self._request(request.url))

    def _console(self, message: Any) -> None:
        # The browser itself tells of each answer that is a refusal, which some tests ask for.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def _request(self, address: str) -> None:
        asked = urlsplit(address)
        if (asked.hostname, asked.port) != ("127.0.0.1", self.port):
            self.elsewhere.append(address)

    def open(self, path: str) -> None:
        self.page.goto(f"http://127.0.0.1:{self.port}{path}")

    def log_in(self, name: str) -> None:
        self.open("/login")
        self.fill_in(name)

    def fill_in(self, name: str) -> None:
        """The login that is shown."""
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.get_by_text(name, exact=True).wait_for()

    def assert_accessible(self) -> None:
        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()

    def photograph(self, name: str) -> None:
        """For the documentation, when MILLWATCH_SCREENSHOTS says so."""
        if os.environ.get("MILLWATCH_SCREENSHOTS"):
            PHOTOGRAPHS.mkdir(exist_ok=True)
            taken = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
            taken.quantize(96).save(PHOTOGRAPHS / f"{name}.png", optimize=True)


Visit = Callable[..., Watched]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("no Chromium (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_ARGUMENTS])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def serve(chromium: Browser) -> Callable[..., AbstractContextManager[Station]]:
    """Starts a station with a page; only where there is a browser to look at it."""
    assert chromium.is_connected()
    return _served


@contextmanager
def _served(root: Path, model: Path, **tables: dict[str, Any]) -> Iterator[Station]:
    """A running station with the users anna (label), otto (administer) and lena (look)."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    web = {"enabled": True, "port": port}
    station = Station(root=root, model=model, tables={"web": web, **tables})
    with station.running():
        for name, role in (("anna", "label"), ("otto", "administer"), ("lena", "look")):
            known = {"name": name, "role": role, "password_hash": HASH}
            station.ask("users add", by="root", **known)
        station.wait_for_page()
        yield station


@pytest.fixture(scope="module")
def line(
    tmp_path_factory: pytest.TempPathFactory,
    model: Path,
    serve: Callable[..., AbstractContextManager[Station]],
) -> Iterator[Station]:
    """With forty images to look at; what its tests label is gone for those after them."""
    with serve(tmp_path_factory.mktemp("review"), model) as station:
        station.drop_surfaces(_IMAGES)
        station.wait_for_images(_IMAGES)
        yield station


@pytest.fixture
def visit(chromium: Browser, line: Station) -> Iterator[Visit]:
    """Opens a browser of somebody's own, who logs in; at the end none of them has met an error."""
    contexts: list[BrowserContext] = []
    watched: list[Watched] = []

    def come(name: str, **options: Any) -> Watched:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(20_000)
        contexts.append(context)
        watched.append(Watched(page=context.new_page(), port=line.settings().web.port))
        watched[-1].log_in(name)
        return watched[-1]

    yield come
    for context in contexts:
        context.close()
    for each in watched:
        assert each.errors == []
        assert each.elsewhere == []
