"""What a promotion and a rollback cost the line: the longest wait from a file to its row, beside an idle one's.

Between the model that ships and the same with a network of a line's own, the largest that a run makes, in
float32. Both halves in one go on the same daemon; ratios are printed and nothing is asserted about time.
"""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import Station, assert_every_image_accounted_for
from speed import waits

from daemon.process.control import ask
from daemon.serving import registry_folder
from models.checkpoint import save
from models.line_network import LineNetwork
from models.network import half_precision, load_network, stored_weights
from models.registry import PRETRAINED, read_evidence
from training.retraining.line_fitting import LINE
from training.retraining.line_start import load_start

PER_SECOND = 20
SECONDS = 10.0
"""Of each part; a swap is asked for in its middle."""


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_the_line_hardly_waits_while_another_model_takes_over(tmp_path: Path) -> None:
    station = Station(root=tmp_path, model=PRETRAINED, tables={"model": {"runtime": "auto"}})
    larger = _with_a_network_of_a_line(registry_folder(station.settings()) / "larger")
    with station.process():
        _longest(station, "first", "")
        idle = _longest(station, "idle", "")
        swap = _longest(station, "swap", "models promote", version=larger)
        rollback = _longest(station, "rollback", "models rollback")
    assert_every_image_accounted_for(station)
    judged = station.query("SELECT model_version, count(*) FROM inspections GROUP BY 1")
    assert {version for version, _ in judged} == {larger, load_network(PRETRAINED)[1].version}
    print(
        f"\nlongest wait from a drop to its row at {PER_SECOND} images/s, in ms: idle {idle:.0f}, "
        f"swap {swap:.0f}, rollback {rollback:.0f}\nratios to idle: swap {swap / idle:.1f}, "
        f"rollback {rollback / idle:.1f}; images by model: {judged}"
    )


def _with_a_network_of_a_line(folder: Path) -> str:
    """The model that ships with one that has learned nothing yet; its version."""
    network, metadata = load_network(PRETRAINED)
    classes = np.arange(len(metadata.classes))
    torch.manual_seed(0)
    network.line = LineNetwork.for_classes(
        len(classes),
        classes,
        first_side=metadata.input_size,
        alone=classes[:0],
        clean=classes[:0],
    )
    network.line.begin_with(load_start())
    half_precision(network)
    named = replace(metadata, version=folder.name, input_size=LINE.side)
    save(folder, stored_weights(network), named, read_evidence(PRETRAINED, metadata).arrays())
    return folder.name


def _longest(station: Station, name: str, command: str, **arguments: str) -> float:
    """Of the waits while the daemon is asked for something, in ms."""
    asking = threading.Timer(
        SECONDS / 2,
        lambda: ask(station.state_dir, command, seconds=60.0, by="eva", **arguments),
    )
    if command:
        asking.start()
    return max(
        waits(
            station,
            name,
            per_second=PER_SECOND,
            enough=lambda fed: fed >= SECONDS * PER_SECOND and not asking.is_alive(),
        )
    )
