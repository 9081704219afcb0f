"""What somebody who watches the review page in a browser sees, and what came of it."""

from typing import Any

from builders import Station, wait_until


def labels(line: Station) -> list[tuple[int, str, str]]:
    return line.query("SELECT image_id, label, labelled_by FROM labels ORDER BY image_id")  # type: ignore[return-value]


def shown(watched: Any) -> int:
    """The number of the image that is shown, once its picture is there."""
    picture = watched.page.locator("#picture")
    picture.wait_for()
    wait_until(lambda: picture.evaluate("picture => picture.complete && picture.naturalWidth > 0"))
    return int(str(picture.get_attribute("alt")).split()[1])


def held(watched: Any, pattern: str) -> list[Any]:
    """Requests that get no answer until a test goes on with them."""
    requests: list[Any] = []

    def hold(route: Any) -> None:
        requests.append(route)

    watched.page.route(pattern, hold)
    return requests


def wait_for_request(watched: Any, requests: list[Any]) -> None:
    wait_until(lambda: watched.page.evaluate("true") and requests)


def answer(watched: Any, requests: list[Any], pattern: str) -> None:
    while requests:
        requests.pop().continue_()
    watched.page.unroute(pattern)
