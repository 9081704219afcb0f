"""Pages from templates, with the styles and the script that they name. All of it is in memory."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from config.text import as_one_line, counted, percent
from daemon.names import to_text
from daemon.reports.words import class_in_words, grouped, how_sure
from daemon.web.desk import Desk
from daemon.web.door.doorkeeper import Visitor
from daemon.web.words import duration, local_time

_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class Renderer:
    def __init__(self, desk: Desk) -> None:
        self._static = {
            each.name: each.read_bytes()
            for each in (files("daemon.web.pages") / "static").iterdir()
            if each.name.rpartition(".")[2] in _TYPES
        }
        # In the address, so that a browser keeps a file for good and never one of another version.
        contents = b"".join(self._static[name] for name in sorted(self._static))
        self.edition = hashlib.sha256(contents).hexdigest()[:12]
        self._templates = Environment(
            loader=ChoiceLoader(
                [PackageLoader("daemon.web.pages"), PackageLoader("daemon.reports")]
            ),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["static"] = lambda name: f"/static/{self.edition}/{name}"
        self._templates.filters |= {
            "one_line": lambda value: as_one_line(str(value)),
            "file_name": to_text,
            "class_in_words": class_in_words,
            "counted": counted,
            "how_sure": how_sure,
            "percent": percent,
            "duration": duration,
            "local": lambda moment: local_time(moment, desk.calendar),
            "grouped": grouped,
        }

    def page(
        self, name: str, visitor: Visitor | None, values: Mapping[str, Any] | None = None
    ) -> HTMLResponse:
        """A whole page, or a part that the script puts into one."""
        template = self._templates.get_template(f"{name}.html.j2")
        return HTMLResponse(template.render(visitor=visitor, page=name, **(values or {})))

    def refusal(self, status: int, detail: str, headers: dict[str, str] | None) -> HTMLResponse:
        template = self._templates.get_template("refusal.html.j2")
        html = template.render(visitor=None, page="refusal", status=status, detail=detail)
        return HTMLResponse(html, status, headers)

    def static(self, name: str) -> Response | None:
        """A file of ours, by its name among them."""
        data = self._static.get(name)
        if data is None:
            return None
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(data, headers=headers, media_type=_TYPES[name.rpartition(".")[2]])


def renderer_of(request: Request) -> Renderer:
    renderer: Renderer = request.app.state.renderer
    return renderer


TheRenderer = Annotated[Renderer, Depends(renderer_of)]
