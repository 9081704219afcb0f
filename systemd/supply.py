"""What a line PC gets from others: `python systemd/supply.py licences | sbom`, from its lock and what is installed."""

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements-line.lock"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)(?: *;([^\\]*))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_CLASSIFIER = "License :: "


@dataclass(frozen=True, kw_only=True)
class Locked:
    """A package of the lock.

    Attributes:
        only: where it is installed alone, as a marker; empty for everywhere.
        hashes: SHA-256 of each of its files.
    """

    name: str
    version: str
    only: str
    hashes: tuple[str, ...]


def locked(text: str) -> list[Locked]:
    """The packages of a lock, in its order."""
    found: list[Locked] = []
    for part in re.split(r"\n(?=[A-Za-z0-9])", text):
        if pin := _PIN.match(part):
            name, number, only = pin.groups()
            hashes = tuple(_HASH.findall(part))
            found.append(
                Locked(name=name, version=number, only=(only or "").strip(), hashes=hashes)
            )
    return found


def licence(package: Locked) -> str:
    """As the package's own metadata has it; a question mark where it is not installed here."""
    try:
        told = metadata(package.name)
    except PackageNotFoundError:
        return "?"
    if "License-Expression" in told:
        return told["License-Expression"]
    classifiers = [
        each for each in told.get_all("Classifier") or [] if each.startswith(_CLASSIFIER)
    ]
    names = [each.rpartition(" :: ")[2] for each in classifiers]
    text = told["License"].strip() if "License" in told else ""
    # Some put the whole text there.
    short = text if text and len(text) < 60 and "\n" not in text else ""
    return ", ".join(dict.fromkeys(names)) or short or "see the package"


def licences(packages: list[Locked]) -> str:
    """A page that lists them."""
    lines = [
        "# Licences",
        "",
        "What `make install` puts on a line PC beside Millwatch (MIT), as each package's own metadata names its",
        "licence: written by `make licences` from `requirements-line.lock`. A question mark is a package that was",
        "not installed where this was written. The `nvidia-*` packages are NVIDIA's own, and are left out by",
        "`TORCH_BACKEND=cpu`. A model that was trained on NEU-DET says so in its card.",
        "",
        "| Package | Version | Licence |",
        "|---|---|---|",
    ]
    lines += [f"| {each.name} | {each.version} | {licence(each)} |" for each in packages]
    return "\n".join([*lines, ""])


def sbom(packages: list[Locked]) -> str:
    """CycloneDX 1.6 as JSON. The same lock gives the same document."""
    number = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    serial = f"{number[:8]}-{number[8:12]}-4{number[13:16]}-a{number[17:20]}-{number[20:32]}"
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "millwatch",
                "name": "millwatch",
                "version": version("millwatch"),
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": [_component(each) for each in packages],
    }
    return json.dumps(document, indent=1) + "\n"


def _component(package: Locked) -> dict[str, object]:
    purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', package.name).lower()}@{package.version}"
    told = licence(package)
    component: dict[str, object] = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
        # The lock names every file that may be installed: one of them is, on a given machine.
        "properties": [{"name": "millwatch:sha256", "value": each} for each in package.hashes],
    }
    if told != "?":
        component["licenses"] = [{"license": {"name": told}}]
    if package.only:
        component["scope"] = "optional"
    return component


def main(asked: list[str]) -> None:
    packages = locked(LOCK.read_text())
    if asked == ["licences"]:
        (ROOT / "docs" / "licences.md").write_text(licences(packages))
    elif asked == ["sbom"]:
        out = ROOT / "build" / "millwatch.cdx.json"
        out.parent.mkdir(exist_ok=True)
        out.write_text(sbom(packages))
        sys.stdout.write(f"{out}: {len(packages)} packages\n")
    else:
        sys.exit("licences or sbom?")


if __name__ == "__main__":
    main(sys.argv[1:])
