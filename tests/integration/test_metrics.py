"""What Prometheus is told, who may ask, and that dashboard and alerts name only what is told."""

import base64
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from builders import WAIT_SECONDS, Station, wait_until
from filesystems import hanging
from pages import PASSWORD, Page, open_page
from prometheus_client.parser import text_string_to_metric_families
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent

from daemon.intake.watching import FolderWatch
from daemon.store import models
from daemon.web.door.users import Role
from models.checkpoint import Metadata

DOCS = Path(__file__).parents[2] / "docs"
_WORDS = {"by", "and", "or", "unless", "without", "on", "ignoring", "bool", "offset"}


def told(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by its name and the values of its labels, in the order of their names."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def names_in(text: str) -> set[str]:
    """Every metric that is described, whether it has a sample now or not."""
    names: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE):
        endings = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        names |= {name + ending for ending in endings}
    return names


def names_asked(expression: str) -> set[str]:
    """The metrics that an expression of PromQL names."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    found = re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*\b(?!\s*\()", bare)
    return set(found) - _WORDS


def basic(name: str, password: str = PASSWORD) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_a_running_line_tells_its_images_queues_model_and_disks(
    tmp_path: Path, model: Path, unused_port: int
) -> None:
    web = {"enabled": True, "port": unused_port, "open_on_loopback": True}
    station = Station(root=tmp_path, model=model, tables={"web": web})
    with station.running():
        station.drop_surfaces(7)
        station.drop("top-1", "broken.jpg", b"no picture")
        station.wait_for_images(8)
        wait_until(lambda: not any(camera["waiting"] for camera in station.status()["cameras"]))
        station.wait_for_page()
        answer = httpx.get(f"http://127.0.0.1:{unused_port}/metrics", timeout=WAIT_SECONDS)
        status = station.status()
    found = told(answer.text)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    by_camera = {
        camera: sum(
            value
            for (name, labels), value in found.items()
            if name == "millwatch_images_total" and labels[0] == camera
        )
        for camera in station.cameras
    }
    assert by_camera == {"top-1": 5, "bottom-1": 3}
    assert found["millwatch_images_total", ("top-1", "unreadable")] == 1
    assert found["millwatch_images_total", ("bottom-1", "unreadable")] == 0  # rates begin with it
    assert found["millwatch_latency_seconds_count", ()] == 8
    assert found["millwatch_latency_seconds_bucket", ("+Inf",)] == 8
    assert found["millwatch_rescans_total", ("top-1",)] >= 1
    assert found["millwatch_inotify_overflows_total", ("top-1",)] == 0
    assert found["millwatch_waiting_images", ("bottom-1",)] == 0
    assert found["millwatch_pending_moves", ()] == 0
    assert found["millwatch_review_waiting_images", ()] == 7
    assert found["millwatch_model_info", (status["runtime"], status["model_version"])] == 1
    assert found["millwatch_shadow_images_total", ()] == 0
    assert found["millwatch_disk_free_bytes", ("state",)] > 0
    assert found["millwatch_retraining_running", ()] == 0
    assert found["millwatch_models", ("current",)] == 1
    assert found["millwatch_troubles", ()] == len(status["troubles"])
    assert found["process_resident_memory_bytes", ()] > 1e7


def test_who_may_look_may_ask_and_nobody_else(page: Page) -> None:
    page.add_user("prometheus", Role.LOOK)
    browser = page.browser()
    refused = browser.get("/metrics")
    assert (refused.status_code, refused.json()) == (401, {"detail": "log in first"})
    assert browser.get("/metrics", headers=basic("prometheus", "wrong")).status_code == 401
    assert browser.get("/metrics", headers=basic("prometheus")).status_code == 200


def test_on_loopback_it_is_open_where_the_page_is(tmp_path: Path, model: Path) -> None:
    with open_page(tmp_path, model, open_on_loopback=True) as page:
        assert "millwatch_troubles 0.0" in page.browser().get("/metrics").text
        asked = {"accept": "application/openmetrics-text; version=1.0.0"}
        assert page.browser().get("/metrics", headers=asked).text.endswith("# EOF\n")


@pytest.mark.parametrize(
    "asked",
    ["application/openmetrics-text; version=x", "text/plain; version=x", "text/plain; version="],
)
def test_a_version_that_is_none_is_answered_in_plain_text(
    tmp_path: Path, model: Path, asked: str
) -> None:
    with open_page(tmp_path, model, open_on_loopback=True) as page:
        answer = page.browser().get("/metrics", headers={"accept": asked})
        assert answer.status_code == 200
        assert told(answer.text)["millwatch_troubles", ()] == 0


def test_a_database_that_cannot_be_read_is_told_and_the_rest_too(
    tmp_path: Path, model: Path
) -> None:
    with open_page(tmp_path, model, open_on_loopback=True) as page:
        with closing(sqlite3.connect(page.database.path)) as connection:
            connection.execute("ALTER TABLE model RENAME TO elsewhere")
        found = told(page.browser().get("/metrics").text)
        assert found["millwatch_database_readable", ()] == 0
        assert found["millwatch_troubles", ()] == 0


@pytest.mark.fault(29)
def test_events_that_the_kernel_lost_are_counted(tmp_path: Path) -> None:
    lost: list[int] = []
    watch = FolderWatch(tmp_path, lambda *_: None, lambda: lost.append(1))
    try:
        reader = watch._observer._inotify_fd
        mask = InotifyConstants.IN_Q_OVERFLOW
        reader.handle_event(InotifyEvent(-1, mask, 0, b""))
        assert lost == [1]
        assert watch.is_alive()
    finally:
        watch.stop()


@pytest.mark.fault(28)
def test_the_disks_of_all_folders_are_told_and_a_share_that_hangs_is_not_waited_for(
    tmp_path: Path, model: Path
) -> None:
    with open_page(tmp_path, model, open_on_loopback=True) as page:
        settings = page.settings
        folders = (settings.review_folder, settings.archive_folder, settings.quarantine_folder)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)

        def disks() -> set[str]:
            found = told(page.browser().get("/metrics").text)
            return {labels[0] for name, labels in found if name == "millwatch_disk_free_bytes"}

        assert disks() == {"state", "database", "review", "archive", "quarantine"}
        with hanging(settings.archive_folder):
            assert disks() == {"state", "database", "review", "quarantine"}


def test_a_camera_without_an_image_since_the_start_is_silent_since_then(page: Page) -> None:
    page.add_user("prometheus", Role.LOOK)
    found = told(page.browser().get("/metrics", headers=basic("prometheus")).text)
    start = found["millwatch_start_timestamp_seconds", ()]
    assert found["millwatch_camera_silent_since_timestamp_seconds", ("top-1",)] == start


def test_a_model_waits_for_a_person_until_a_later_one_serves(page: Page) -> None:
    page.add_user("prometheus", Role.LOOK)

    def waiting() -> float:
        answer = page.browser().get("/metrics", headers=basic("prometheus"))
        return told(answer.text)["millwatch_models_waiting", ()]

    assert waiting() == 0
    for number, status in enumerate(("needs_a_person", "rejected", "needs_a_person")):
        metadata = Metadata(
            version=f"m{number}",
            classes=("a", "b"),
            input_size=64,
            created_at=f"2099-03-0{number + 1}T00:00:00Z",
            manifest_sha256="0" * 64,
        )
        models.remember_candidate(page.database, metadata, status=status, reason="")
    assert waiting() == 2
    models.set_status(page.database, "m1", "current", "")
    assert waiting() == 1
    models.set_status(page.database, "m1", "retired", "")
    assert waiting() == 1
    models.set_status(page.database, "m2", "current", "")
    assert waiting() == 0


@pytest.fixture
def exposed(page: Page) -> set[str]:
    page.add_user("prometheus", Role.LOOK)
    return names_in(page.browser().get("/metrics", headers=basic("prometheus")).text)


def test_the_dashboard_names_only_metrics_that_exist(exposed: set[str]) -> None:
    dashboard: dict[str, Any] = json.loads((DOCS / "grafana-dashboard.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in names_asked(target["expr"])
    }
    assert len(asked) >= 12
    assert asked - exposed == set()
    places = [tuple(panel["gridPos"].values())[:2] for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


def test_the_alert_rules_name_only_metrics_that_exist(exposed: set[str]) -> None:
    document = yaml.safe_load((DOCS / "alerts.yml").read_text())
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 10
    asked = {name for rule in rules for name in names_asked(rule["expr"])}
    assert asked - exposed - {"up"} == set()
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket", "info")
        assert rule["annotations"]["summary"]


def test_names_are_found_in_an_expression_and_nothing_else() -> None:
    asked = (
        'histogram_quantile(0.9, sum by (le) (rate(a_bucket{x="y"}[5m]))) > 10 and b_total == 1000'
    )
    assert names_asked(asked) == {"a_bucket", "b_total"}
