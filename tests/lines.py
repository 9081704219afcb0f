"""Labels of a line and the run folders that retraining reads, without a daemon that froze them."""

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from builders import surface_file
from evidence import POLICY


def write_run(folder: Path, labels: Sequence[dict[str, Any]], **changed: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "labels.json").write_text(json.dumps({"images": list(labels)}))
    document = {
        "format": 1,
        "id": folder.name,
        "created_at": "2026-11-24T00:00:00Z",
        "seed": 3,
        "threads": 1,
        "labels": "labels.json",
        "base_set": None,
        "policy": asdict(POLICY),
        **changed,
    }
    (folder / "run.json").write_text(json.dumps(document, default=str))
    return folder


def labelled(folder: Path, counts: dict[str, int]) -> list[dict[str, Any]]:
    """Drawn pictures as a line would have labelled them: `stain` is a class that no model knows."""
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for label, count in counts.items():
        for seed in range(count):
            drawn = "patches" if label == "stain" else label
            data = surface_file(drawn, seed=1000 + seed)
            path = folder / f"{label}-{seed}.jpg"
            path.write_bytes(data)
            sha256 = hashlib.sha256(data).hexdigest()
            rows.append(
                {"image_id": len(rows) + 1, "path": str(path), "sha256": sha256, "label": label}
            )
    return rows


@contextmanager
def without(package: str) -> Iterator[None]:
    """As where the package is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, package, None)
        yield
