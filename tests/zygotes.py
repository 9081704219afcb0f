"""A process that has imported torch and loaded a model, once, and forks whatever is to be killed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from builders import clean_environment
from forking import orders
from records import empty_database

from config.settings import Settings
from daemon.serving import load_serving_model
from models.registry import Model

ROOT = Path(__file__).parents[1]


class Zygote:
    """Its parent's side: one JSON object a line each way, an order and how its child ended."""

    def __init__(self, script: Path, log: Path) -> None:
        self._path = log
        self._log = log.open("a")
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={
                **clean_environment(),
                "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
                "OMP_NUM_THREADS": "1",
            },
        )

    def ask(self, **order: Any) -> int:
        """The exit code of the child that carries the order out, a signal's being negative."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self.log()
        return int(json.loads(line)["status"])

    def log(self) -> str:
        return self._path.read_text()

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(timeout=60)
        self._log.close()


def orders_with_model() -> Iterator[tuple[dict[str, Any], Settings, Model]]:
    """The zygote's side: each order, with what a child needs and none has to load."""
    torch.set_num_threads(1)
    model: Model | None = None
    for order, settings in orders():
        if model is None:
            empty_database()
            model = load_serving_model(settings)
            for images_at_once in (1, 2):  # what torch prepares for a shape, the children inherit
                model.judge(np.zeros((images_at_once, *[model.input_size] * 2), dtype=np.uint8))
        yield order, settings, model
