"""The API as its own description says it, under requests that are made up."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from pages import Page, open_page

from models.taxonomy import Verdict

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
        assert answer.status_code < 500 or answer.status_code == 501, answer.text

    try_out()
