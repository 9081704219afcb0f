"""Other models at hand, and what lets them serve without a service."""

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
from builders import Station
from composed import ByHand
from safetensors.numpy import load_file, save_file

from daemon.clock import now_utc
from daemon.retraining.promotion import Promoter
from daemon.serving import registry_folder
from daemon.store.models import remember_current
from models.checkpoint import METADATA, WEIGHTS


def kept(
    station: Station,
    model: Path,
    version: str,
    change: Callable[[np.ndarray], np.ndarray] | None = None,
) -> str:
    """A copy of a model in the registry under a version of its own, perhaps with other weights."""
    folder = registry_folder(station.settings()) / version
    shutil.copytree(model, folder)
    document = json.loads((folder / METADATA).read_text())
    document["version"] = version
    if change is not None:
        weights = load_file(folder / WEIGHTS)
        name = next(each for each in weights if each.endswith("fc.weight"))
        weights[name] = change(weights[name])
        save_file(weights, folder / WEIGHTS)
        document["weights_sha256"] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    (folder / METADATA).write_text(json.dumps(document))
    return version


def promoter_of(
    station: Station, line: ByHand, *, clock: Callable[[], datetime] = now_utc
) -> Promoter:
    remember_current(line.database, line.pipeline.model.metadata, now_utc())
    return Promoter(
        station.settings(),
        database=line.database,
        health=line.health,
        clock=clock,
        line=line.pipeline,
    )


def current(station: Station) -> list[str]:
    """The versions that the database says serve: one."""
    rows = station.query("SELECT version FROM model_versions WHERE status = 'current'")
    return [version for (version,) in rows]
