"""The documentation as HTML, to be read without a network; refuses a link that leads nowhere.

`python docs/build.py OUT`, or `make docs`.
"""

import html
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
_PARSER = MarkdownIt("commonmark").enable("table")
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
body {{ max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif }}
table {{ border-collapse: collapse }} td, th {{ border: 1px solid #aaa; padding: .3rem .6rem; text-align: left }}
pre {{ background: #f3f3f3; padding: .8rem; overflow-x: auto }} img {{ max-width: 100% }}
</style><body>{body}</body></html>
"""


class BrokenLinksError(Exception):
    """Links that lead nowhere, one a line: the page, the link, and what is wrong with it."""


def pages(root: Path = ROOT) -> list[Path]:
    """Every page that people read: of the project's root, of docs, and the model's card."""
    cards = root.glob("models/*/MODEL_CARD.md")
    return sorted([*root.glob("*.md"), *root.glob("docs/**/*.md"), *cards])


def broken_links(root: Path = ROOT) -> list[str]:
    """Every relative link and anchor that leads nowhere."""
    found = pages(root)
    anchors = {page.resolve(): anchors_of(_PARSER.parse(page.read_text())) for page in found}
    return [
        f"{page.relative_to(root)}: {link}: {trouble}"
        for page in found
        for link in links_of(_PARSER.parse(page.read_text()))
        if (trouble := _trouble(page, link, anchors))
    ]


def _trouble(page: Path, link: str, anchors: dict[Path, set[str]]) -> str | None:
    if re.match(r"[a-z][a-z0-9+.-]*:", link):
        return None  # elsewhere; nothing here has a network
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page.resolve()
    if not target.exists():
        return "there is no such file"
    if anchor and anchor not in anchors.get(target, set()):
        return "there is no such heading"
    return None


def links_of(tokens: list[Token]) -> Iterator[str]:
    """Of links and pictures."""
    for token in tokens:
        for name in ("href", "src"):
            if (value := token.attrGet(name)) is not None:
                yield str(value)
        yield from links_of(token.children or [])


def anchors_of(tokens: list[Token]) -> set[str]:
    """By which headings are linked to, as forges make them."""
    seen: Counter[str] = Counter()
    anchors = set()
    for opening, title in pairwise(tokens):
        if opening.type == "heading_open":
            plain = "".join(each.content for each in title.children or [])
            slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            anchor = f"{slug}-{seen[slug]}" if seen[slug] else slug
            seen[slug] += 1
            opening.attrSet("id", anchor)
            anchors.add(anchor)
    return anchors


def build(out: Path, root: Path = ROOT) -> list[Path]:
    """Write every page; the pictures and files that they link to are copied beside them.

    Raises:
        BrokenLinksError: nothing is written.
    """
    if broken := broken_links(root):
        raise BrokenLinksError("\n".join(broken))
    written = []
    for page in pages(root):
        tokens = _PARSER.parse(page.read_text())
        anchors_of(tokens)
        for link in links_of(tokens):
            _copy_beside(page, link, root, out)
        target = out / page.relative_to(root).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        body = _PARSER.renderer.render(tokens, _PARSER.options, {})
        body = re.sub(r'(href="(?![a-z]+:)[^"#]*)\.md(["#])', r"\1.html\2", body)
        target.write_text(_PAGE.format(title=html.escape(page.stem), body=body))
        written.append(target)
    return written


def _copy_beside(page: Path, link: str, root: Path, out: Path) -> None:
    source = Path(os.path.normpath(page.parent / unquote(link).partition("#")[0]))
    if source.is_file() and source.suffix != ".md" and source.is_relative_to(root):
        target = out / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{len(build(Path(sys.argv[1])))} pages in {sys.argv[1]}\n")
    except BrokenLinksError as error:
        sys.exit(str(error))
