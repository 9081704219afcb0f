"""The pages: every link leads somewhere, every reader is led to his page, and messages are quoted as they are."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.build import ROOT, BrokenLinksError, broken_links, build, pages

MESSAGES = ROOT / "docs" / "troubleshooting.md"


def test_every_relative_link_and_anchor_leads_somewhere() -> None:
    assert len(pages()) >= 15
    assert broken_links() == []


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("[a](nowhere.md)", "docs/page.md: nowhere.md: there is no such file"),
        ("[a](#nothing)", "docs/page.md: #nothing: there is no such heading"),
        (
            "[a](../README.md#nothing)",
            "docs/page.md: ../README.md#nothing: there is no such heading",
        ),
        ("| a |\n|---|\n| ![b](b.png) |", "docs/page.md: b.png: there is no such file"),
    ],
)
def test_a_link_that_leads_nowhere_is_told(tmp_path: Path, text: str, trouble: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# One, two & `three`\n## Again\n## Again\n")
    page = tmp_path / "docs" / "page.md"
    page.write_text("[a](../README.md#one-two--three) [b](../README.md#again-1) [c](https://x.y/)")
    assert broken_links(tmp_path) == []
    page.write_text(text)
    assert broken_links(tmp_path) == [trouble]


def test_the_pages_are_built_with_their_pictures(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "build.py", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{len(pages())} pages" in made.stdout
    index = (tmp_path / "docs" / "README.html").read_text()
    assert '<a href="operator.html">' in index
    assert (tmp_path / "docs" / "images" / "review.png").is_file()


def test_nothing_is_built_while_a_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "PAGE.md").write_text("[a](nowhere.md)")
    with pytest.raises(BrokenLinksError, match="no such file"):
        build(tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    named = set(re.findall(r"\]\(([\w-]+\.md)\)", index))
    assert named == {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}


def templates() -> Iterator[str]:
    """Every text in the code, with `…` where something is put in."""
    for package in ("config", "daemon", "models", "training"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
                    yield "".join(map(str, parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def test_every_message_in_troubleshooting_is_in_the_code() -> None:
    quoted = re.findall(r"^### (.+)$", MESSAGES.read_text(), flags=re.MULTILINE)
    assert len(quoted) > 25
    said = list(templates())
    missing = []
    for message in quoted:
        words = ".*".join(re.escape(part) for part in message.split("…"))
        if not any(re.search(words, text, flags=re.DOTALL) for text in said):
            missing.append(message)
    assert missing == []
