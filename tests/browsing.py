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
