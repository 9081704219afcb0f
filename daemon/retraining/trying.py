"""A model is tried before it serves: loaded, given pictures, and timed beside the one that does."""

import time
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from config.settings import Settings
from daemon.process.control import RefusedError
from daemon.serving import ServingModelError, load_for_serving
from models.registry import Model

_CHECKED: Final = 8
_TIMES_SLOWER: Final = 3.0
_SLACK_SECONDS: Final = 0.05


def tried(settings: Settings, folder: Path) -> Model:
    """Load a model beside the one that serves, and try it. Raises RefusedError: it cannot serve."""
    try:
        model = load_for_serving(settings, folder)
        model.judge(_pictures(model.input_size))
    except ServingModelError as error:
        raise RefusedError(f"it cannot be loaded: {error}") from error
    except Exception as error:  # whatever a network may do
        raise RefusedError(f"it fails on pictures: {type(error).__name__}: {error}") from error
    return model


def allowed_seconds(model: Model, serving: Model) -> float:
    """That a picture may take beside what serves now. Raises RefusedError: it takes more."""
    took, takes = _seconds(serving), _seconds(model)
    allowed = _TIMES_SLOWER * took + _SLACK_SECONDS
    if takes > allowed:
        raise RefusedError(
            f"it takes {takes * 1000:.0f} ms for a picture, model {serving.version} "
            f"{took * 1000:.0f} ms: the line would wait for it"
        )
    return allowed


def _pictures(side: int) -> NDArray[np.uint8]:
    """Noise, a black and a white picture: uint8 `(N, side, side)`, always the same."""
    noise = np.random.default_rng(1).integers(0, 256, (_CHECKED - 2, side, side), dtype=np.uint8)
    flat = np.stack([np.zeros((side, side), np.uint8), np.full((side, side), 255, np.uint8)])
    return np.concatenate([noise, flat])


def _seconds(model: Model) -> float:
    """For one picture, at best: whatever else the machine does only makes it longer."""
    picture = _pictures(model.input_size)[:1]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        model.judge(picture)
        times.append(time.perf_counter() - start)
    return min(times)
