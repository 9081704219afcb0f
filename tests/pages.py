"""The page without its server: a browser of requests before the real application."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from builders import surface_file
from fastapi.testclient import TestClient
from records import lay_empty_database

from config.settings import Camera, Intake, Settings
from config.web import Web
from daemon.journey.routing import Folders
from daemon.process.health import Health
from daemon.retraining.promotion import Promoter
from daemon.retraining.retrainer import Retrainer
from daemon.review.labelling import Labeller
from daemon.serving import load_serving_model
from daemon.store import images
from daemon.store.database import Database
from daemon.store.upgrading import prepare_database
from daemon.values import Delivery, Finding
from daemon.web.app import create_app
from daemon.web.desk import Desk
from daemon.web.door.users import Role, Users
from daemon.web.server import WebServer
from models.registry import Model
from models.taxonomy import Verdict

PASSWORD = "correct horse battery"  # noqa: S105 -- of users that only tests have
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)  # cheap
ORIGIN = "http://127.0.0.1:8470"
_loaded: dict[Path, Model] = {}
"""By folder, for all pages of a process: none changes it."""


@dataclass
class Page:
    """A page with its database, and a clock that the test moves."""

    root: Path
    settings: Settings
    database: Database
    model: Model
    now: datetime = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

    def __post_init__(self) -> None:
        health = Health()
        self.labeller = Labeller(
            self.settings, database=self.database, health=health, clock=lambda: self.now
        )
        promoter = Promoter(
            self.settings, database=self.database, health=health, clock=lambda: self.now
        )
        self.retrainer = Retrainer(
            self.settings,
            database=self.database,
            promoter=promoter,
            health=health,
            clock=lambda: self.now,
        )
        self.desk = Desk(
            settings=self.settings,
            database=self.database,
            health=health,
            labeller=self.labeller,
            clock=lambda: self.now,
            model=lambda: self.model,
            status=self.status,
            commands=promoter.commands(),
        )
        self.app = create_app(self.desk)
        self.users = Users(self.database, lambda: self.now)

    def status(self) -> dict[str, Any]:
        return {
            "state": "running",
            "since": "2026-03-02T00:00:00Z",
            "model_version": self.model.version,
            "shadow": None,
            "retraining": self.retrainer.status(),
            "runtime": self.model.runtime.name,
            "commissioning": True,
            "cameras": [
                {
                    "name": "top-1",
                    "folder": "/x",
                    "watching": "inotify",
                    "waiting": 0,
                    "last_image": None,
                    "rescans": 1,
                    "overflows": 0,
                }
            ],
            "recorded": {},
            "pending_moves": 0,
            "latency_ms": {"images": 0, "median": None, "p99": None},
            "troubles": {},
        }

    def browser(self, **headers: str) -> TestClient:
        """Somebody's browser, not logged in; it keeps cookies."""
        return TestClient(
            self.app,  # type: ignore[arg-type] -- its types want a Starlette, it takes any ASGI
            base_url=ORIGIN,
            headers=headers,
            follow_redirects=False,
            client=("127.0.0.1", 50000),
        )

    def add_user(self, name: str, role: Role = Role.LABEL) -> None:
        self.users.add(name, role=role.value, password_hash=HASH, by="root")

    def logged_in(self, name: str = "anna", role: Role = Role.LABEL) -> TestClient:
        """A browser whose person has logged in, which sends the page's token."""
        self.add_user(name, role)
        browser = self.browser()
        assert log_in(browser, name).status_code == 303
        browser.headers["x-millwatch-token"] = token_of(browser)
        return browser

    def later(self, **passed: float) -> None:
        self.now += timedelta(**passed)

    def add_image(self, number: int = 1, *, data: bytes | None = None, **fields: Any) -> int:
        """An image that was judged and lies in review."""
        data = surface_file(seed=number) if data is None else data
        finding = judged(number, data, **fields)
        source = finding.delivery.path
        source.parent.mkdir(parents=True, exist_ok=True)
        recorded = images.record(self.database, [finding], Folders.of(self.settings).plan, self.now)
        (intent,) = recorded.intents
        assert intent.plan.target is not None
        intent.plan.target.parent.mkdir(parents=True, exist_ok=True)
        intent.plan.target.write_bytes(data)
        moved = images.Settled(
            intent=intent, progress=images.Progress.MOVED, path=intent.plan.target
        )
        images.settle(self.database, [moved])
        return intent.image_id


def judged(number: int, data: bytes, **fields: Any) -> Finding:
    """What was found of an image, as the pipeline says it."""
    filename = fields.pop("filename", f"{number}.jpg")
    delivery = Delivery(
        camera=fields.pop("camera", "top-1"),
        filename=filename,
        path=Path("/nowhere") / "drop" / filename,
        inode=number,
        size=len(data),
        mtime_ns=fields.pop("mtime_ns", 1_772_445_600_000_000_000 + number * 1_000_000_000),
    )
    values: dict[str, Any] = {
        "verdict": Verdict.UNSURE,
        "reason": "low_confidence",
        "predicted_class": "scratches",
        "confidence": 0.4321,
        "novelty": 0.2,
        "model_version": "m1",
    }
    return Finding(delivery=delivery, sha256=hashlib.sha256(data).hexdigest(), **(values | fields))


@contextmanager
def open_page(root: Path, model_folder: Path, **web: Any) -> Iterator[Page]:
    cameras = tuple(Camera(name=name, folder=root / "cameras" / name) for name in ("top-1", "side"))
    for camera in cameras:
        camera.folder.mkdir(parents=True)
    settings = Settings(
        state_dir=root / "state",
        cameras=cameras,
        intake=Intake(max_bytes=1_000_000, max_pixels=4_000_000),
        model={"folder": model_folder, "runtime": "torch"},  # type: ignore[arg-type]
        web=Web(**web),
    )
    settings.state_dir.mkdir()
    lay_empty_database(settings.database_file)
    database = prepare_database(
        settings.database_file,
        backups=settings.state_dir / "backups",
        now=datetime(2026, 3, 2, tzinfo=UTC),
    )
    try:
        if model_folder not in _loaded:
            _loaded[model_folder] = load_serving_model(settings)
        model = _loaded[model_folder]
        yield Page(root=root, settings=settings, database=database, model=model)
    finally:
        database.close()


@contextmanager
def served_page(root: Path, model_folder: Path) -> Iterator[Page]:
    """A page that a server of ours serves, on `settings.web.port`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open_page(root, model_folder, port=port) as made:
        server = WebServer(made.desk)
        server.start()
        try:
            yield made
        finally:
            server.stop()
            server.thread.join(timeout=30.0)


def log_in(
    browser: TestClient, name: str, password: str = PASSWORD, *, place: str = "", **headers: str
) -> httpx.Response:
    form = {"name": name, "password": password, "next": place}
    return browser.post("/login", data=form, headers={"origin": ORIGIN, **headers})


def token_of(browser: TestClient) -> str:
    """What the page gives its script, to send with each change."""
    html = browser.get("/line").text
    return html.partition('name="millwatch-token" content="')[2].partition('"')[0]
