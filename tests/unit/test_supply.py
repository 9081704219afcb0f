"""What is told of the packages that a line PC gets."""

import json
import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINNED = re.findall(
    r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements-line.lock").read_text(), re.MULTILINE
)


def test_the_page_of_licences_lists_each_package_that_is_pinned() -> None:
    rows = (ROOT / "docs" / "licences.md").read_text().splitlines()
    listed = [
        tuple(row.split(" | ")[:2]) for row in rows if row.startswith("| ") and "==" not in row
    ]
    assert listed[1:] == [(f"| {name}", version) for name, version in PINNED], "`make licences`"


def test_the_bill_of_materials_names_each_package_with_its_digests() -> None:
    supply = runpy.run_path(str(ROOT / "systemd" / "supply.py"))
    told = json.loads(
        supply["sbom"](supply["locked"]((ROOT / "requirements-line.lock").read_text()))
    )
    assert [(each["name"], each["version"]) for each in told["components"]] == PINNED
    assert all(each["properties"] for each in told["components"])
    assert {"pydantic", "torch"} <= {each["name"] for each in told["components"]}


def test_a_line_pc_gets_nothing_that_the_whole_lock_does_not_pin() -> None:
    whole = (ROOT / "requirements.lock").read_text()
    assert [name for name, version in PINNED if f"\n{name}=={version}" not in f"\n{whole}"] == []
