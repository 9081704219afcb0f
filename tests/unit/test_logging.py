import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

from config.logging import configure_logging
from config.text import as_one_line, escape_undecodable

log = structlog.get_logger("made-at-import")


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def stream(encoding: str = "utf-8", kind: type[io.TextIOWrapper] = io.TextIOWrapper) -> Any:
    return kind(io.BytesIO(), encoding=encoding, write_through=True)


def written(out: Any) -> str:
    return str(out.buffer.getvalue().decode(out.encoding))


def test_away_from_a_terminal_each_line_is_one_json_object_with_a_utc_time() -> None:
    out = stream()
    configure_logging(stream=out)

    log.info("image recorded", camera="top-1", verdict="pass")

    (line,) = written(out).splitlines()
    event = json.loads(line)
    assert event["event"] == "image recorded"
    assert (event["camera"], event["verdict"], event["level"]) == ("top-1", "pass", "info")
    assert datetime.fromisoformat(event["timestamp"]).utcoffset() == timedelta(0)


def test_on_a_terminal_a_line_is_readable_text() -> None:
    out = stream(kind=Terminal)
    configure_logging(stream=out)

    log.info("image recorded", camera="top-1")

    assert "image recorded" in written(out)
    assert not written(out).startswith("{")


@pytest.mark.parametrize("as_json", [True, False])
def test_libraries_and_warnings_speak_through_the_same_renderer(as_json: bool) -> None:
    out = stream()
    configure_logging(stream=out, as_json=as_json)

    logging.getLogger("alembic.runtime").info("Running upgrade %s", "a1")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old\nfashioned", stacklevel=1)

    upgrade, warning = written(out).splitlines()
    assert "Running upgrade a1" in upgrade
    assert "fashioned" in warning
    assert as_json == upgrade.startswith("{") == warning.startswith("{")


@pytest.mark.fault(20)
@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@given(
    text=st.text(alphabet=st.characters(exclude_categories=())),
    name=st.binary(max_size=20).map(lambda data: data.decode("utf-8", "surrogateescape")),
)
def test_no_file_name_can_break_a_line(as_json: bool, encoding: str, text: str, name: str) -> None:
    out = stream(encoding)
    configure_logging(stream=out, as_json=as_json)

    log.info(text, path=Path("/srv") / name, names=[name], table={text: name})
    logging.getLogger("watchdog").warning("lost %s", name)

    lines = written(out).splitlines()
    assert len(lines) == 2
    if as_json:
        assert all(json.loads(line) for line in lines)


def test_a_byte_that_is_not_utf8_is_shown_as_its_number() -> None:
    out = stream()
    configure_logging(stream=out)

    log.info("moved", path=Path("/srv/caf\udce9.png"), raw=b"\xe9")

    event = json.loads(written(out))
    assert event["path"] == r"/srv/caf\xe9.png"
    assert event["raw"] == r"\xe9"


def test_a_traceback_stays_inside_its_json_line_and_is_readable_on_a_terminal() -> None:
    as_json, readable = stream(), stream(kind=Terminal)
    for out in (as_json, readable):
        configure_logging(stream=out)
        try:
            raise OSError("cannot move \udcff\x1b[2J")  # noqa: TRY301  # what is logged is the point
        except OSError:
            log.exception("move failed")

    (line,) = written(as_json).splitlines()
    assert r"cannot move \xff" in json.loads(line)["exception"]
    assert len(written(readable).splitlines()) > 3
    assert r"cannot move \xff\x1b[2J" in written(readable)


def test_values_that_json_has_no_word_for_are_still_written() -> None:
    out = stream()
    configure_logging(stream=out)
    circle: list[object] = []
    circle.append(circle)

    log.info("odd", confidence=float("nan"), circle=circle, pair={(1, 2): {3}}, thing=object())

    event = json.loads(written(out), parse_constant=pytest.fail)
    assert event["confidence"] == "nan"
    assert event["pair"] == {"(1, 2)": [3]}


def test_a_second_set_up_replaces_the_first() -> None:
    first, second = stream(), stream()
    configure_logging(stream=first)
    configure_logging(stream=second)

    log.debug("unheard")
    log.info("heard")

    assert written(first) == ""
    assert len(written(second).splitlines()) == 1


@given(st.text(alphabet=st.characters(exclude_categories=())))
@example("\u2028 \u2029 \x85 \x1c \x0b \ud800 \udcff \r\n")
def test_escaped_text_is_one_line_that_can_be_encoded(text: str) -> None:
    assert escape_undecodable(text).encode().decode() == escape_undecodable(text)
    assert len(as_one_line(text).splitlines()) <= 1


def test_plain_text_is_left_as_it_is() -> None:
    assert as_one_line("Größe: 3 µm") == "Größe: 3 µm"
