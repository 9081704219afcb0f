"""The API as its own description says it, under requests that are made up."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from pages import Page, open_page
from reported import RUN

from daemon.store import retraining
from daemon.store.models import remember_candidate
from models.checkpoint import load_metadata
from models.registry import PRETRAINED
from models.taxonomy import Reason, Verdict

_EXAMPLES = 12


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("api"), model, open_on_loopback=True) as made:
        made.add_image(1)
        made.add_image(2, verdict=Verdict.UNREADABLE, predicted_class=None, reason="truncated")
        yield made


@pytest.fixture(scope="module")
def described(page: Page) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi(
        "/api/openapi.json", page.app, headers={"host": "localhost"}
    )


@pytest.mark.parametrize(
    ("method", "address", "body", "told"),
    [
        (
            "POST",
            "/api/labels",
            {"label": "x", "images": 501 * [{"id": 1, "seen": 0}]},
            (422, "images must be at most 500 at a time"),
        ),
        (
            "POST",
            "/api/labels",
            {"label": 1, "images": 2, "more": 3},
            (422, "label must be text; images must be a list; more is not known here"),
        ),
        ("POST", "/api/labels", [1], (422, "body must be a JSON object, sent as application/json")),
        (
            "POST",
            "/api/inspections/1/label",
            {"label": 65 * "x"},
            (422, "label must have at most 64 characters; seen is missing"),
        ),
        ("GET", "/api/inspections/x", None, (422, "image_id must be a whole number")),
        ("GET", "/api/queue?limit=900&day=2026-01-01", None, (422, "limit must be at most 200")),
        (
            "GET",
            "/api/queue?day=monday",
            None,
            (422, "day must be one of the calendar, such as 2026-01-31"),
        ),
        *(
            ("GET", f"/api/queue?after={after}", None, (422, "after must be the next of an answer"))
            for after in ("x", "._1", "0.5_")
        ),
        ("GET", "/api/inspections?camra=x", None, (422, "camra is not known here")),
        *(
            (
                "GET",
                f"/api/{what}?camera=nope",
                None,
                (422, "there is no camera 'nope'; there are side, top-1"),
            )
            for what in ("queue", "inspections")
        ),
        (
            "GET",
            "/api/queue?reason=nope",
            None,
            (422, f"no image has the reason 'nope'; there are {', '.join(sorted(Reason))}"),
        ),
        (
            "POST",
            "/api/models/rollback?to=x&by=y",
            None,
            (422, "to is not known here; by is not known here"),
        ),
        ("GET", "/api/nothing", None, (404, "there is nothing at this address")),
        ("PUT", "/api/queue", None, (405, "that cannot be done at this address")),
    ],
)
def test_a_request_that_is_refused_is_answered_in_plain_words(
    page: Page, method: str, address: str, body: object, told: tuple[int, str]
) -> None:
    refused = page.browser().request(method, address, json=body)
    assert (refused.status_code, refused.json()["detail"]) == told


def test_no_request_makes_the_api_fail(described: schemathesis.BaseSchema) -> None:
    operations = [each.ok() for each in described.get_all_operations()]
    assert len(operations) >= 10
    for operation in operations:
        _try_out(operation)


def _try_out(operation: schemathesis.APIOperation) -> None:
    @given(case=operation.as_strategy())
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def try_out(case: schemathesis.Case) -> None:
        answer = case.call(headers={"host": "localhost"})
        assert answer.status_code < 500, answer.text

    try_out()


def test_a_model_that_only_lies_here_is_listed_with_those_that_served_latest_made_first(
    page: Page,
) -> None:
    shipped = load_metadata(PRETRAINED)
    old = replace(shipped, version="old", created_at="2020-01-01T00:00:00Z")
    remember_candidate(page.database, old, status="retired", reason=None)
    listed = [each["version"] for each in page.browser().get("/api/models").json()]
    assert listed.index(shipped.version) < listed.index("old")
    assert page.browser().get("/model").text.count("at hand") >= 1


def test_a_retrained_model_is_held_against_the_one_before_on_this_lines_own_images(
    page: Page,
) -> None:
    """On the shipped model's own images that one seems the better, whatever it makes of the line's."""
    made = replace(load_metadata(PRETRAINED), version="retrained")
    remember_candidate(
        page.database, made, status="needs_a_person", reason="look", figures=RUN, ruling="look"
    )
    told = page.browser().get("/model").text
    assert "of this line's images 19 of 20, the model before it 7" in told
    shipped = load_metadata(PRETRAINED).metrics["test"]
    assert f"{100 * shipped['accuracy']:.2f} % of its own {shipped['images']}" in told


def test_the_page_imports_no_torch() -> None:
    program = "import daemon.web.app, daemon.service, sys; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_how_far_a_training_has_come_is_told_while_it_goes_on(page: Page) -> None:
    browser = page.browser()
    assert browser.get("/api/models/progress").json() is None
    run = page.settings.state_dir / "runs" / "run-20260302T120000Z"
    run.mkdir(parents=True)
    run_id = retraining.begin(page.database, run.name, page.now, due=False)
    assert browser.get("/api/models/progress").json() is None
    (run / "progress.json").write_text('{"stage": "fit", "done": 3, "of": 8}')
    told = {"run": run.name, "stage": "fit", "done": 3.0, "of": 8.0}
    assert browser.get("/api/models/progress").json() == told
    assert "fit: 3 of 8" in browser.get("/model").text
    (run / "progress.json").write_text('{"stage": "fit", "done"')
    assert browser.get("/api/models/progress").json() is None
    (run / "progress.json").write_text('{"stage": "fit", "done": 8, "of": 8}')
    retraining.end(page.database, run_id, "done", "it serves", page.now)
    assert browser.get("/api/models/progress").json() is None
