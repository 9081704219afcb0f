"""Real things, small: models that judge, stations with cameras, files to drop."""

import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from records import lay_empty_database

from config.loading import load_settings
from config.settings import Settings
from daemon.clock import now_utc
from daemon.names import from_text
from daemon.process.control import NoAnswerError, NoDaemonError, ask
from daemon.starting import serve
from models.checkpoint import Metadata, save
from models.evidence import collect_evidence
from models.network import SurfaceNetwork, half_precision, load_network, stored_weights
from models.novelty import pooled_of
from models.preprocessing import decode
from models.runtimes.torch_runtime import TorchRuntime
from models.taxonomy import KNOWN_DEFECTS, NO_DEFECT
from training.synthetic import draw_surface, encode

INPUT_SIZE = 64
WAIT_SECONDS = 60.0
ALL_CLASSES = (*KNOWN_DEFECTS, NO_DEFECT)


@cache
def surface_file(surface: str = "scratches", *, seed: int = 0, form: str = "jpeg") -> bytes:
    """A picture file of a drawn surface."""
    return encode(draw_surface(surface, seed=seed, height=96, width=96), form)  # type: ignore[arg-type]


def write_model(
    folder: Path,
    classes: Sequence[str] = KNOWN_DEFECTS,
    *,
    seed: int = 0,
    input_size: int = INPUT_SIZE,
    below: Path | None = None,
) -> Path:
    """A real ResNet18 whose last layer is fitted to drawn surfaces.

    What lies below is random, or of a trained model where one is named: that tells more apart.
    """
    torch.manual_seed(seed)
    pixels, labels = _drawn(classes, range(20), input_size)
    network = SurfaceNetwork(len(classes))
    if below is None:
        see_once(network, pixels)
    else:
        trained, _ = load_network(below)
        network = SurfaceNetwork(len(classes), normalisation=trained.normalisation)
        network.take_weights_of(trained)
    network.eval()
    features = pooled_of(TorchRuntime(network, device="cpu").infer(pixels).features)
    _fit_last_layer(network, features, labels)
    half_precision(network)
    runtime = TorchRuntime(network, device="cpu")
    held_out, held_out_labels = _drawn(classes, range(100, 110), input_size)
    outputs = runtime.infer(held_out)
    evidence = collect_evidence(
        fitted_features=runtime.infer(pixels).features,
        features=outputs.features,
        logits=outputs.logits,
        labels=held_out_labels,
    )
    metadata = Metadata(
        version=f"tiny-{len(classes)}-{seed}",
        classes=tuple(classes),
        input_size=input_size,
        created_at="2026-01-01T00:00:00Z",
        manifest_sha256="0" * 64,
        normalisation=network.normalisation,
    )
    save(folder, stored_weights(network), metadata, evidence.arrays())
    return folder


def see_once(network: SurfaceNetwork, pixels: NDArray[np.uint8]) -> None:
    """Give the batch norms of random convolutions the statistics of these pictures."""
    network.train()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        network(torch.from_numpy(pixels))


def _drawn(
    classes: Sequence[str], seeds: range, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    pixels = [
        decode(surface_file(name, seed=seed), size=size).pixels
        for name in classes
        for seed in seeds
    ]
    return np.stack(pixels), np.repeat(np.arange(len(classes)), len(seeds))


def _fit_last_layer(
    network: SurfaceNetwork, features: NDArray[np.float32], labels: NDArray[np.int64]
) -> None:
    """Ridge regression on one-hot targets, sharpened into logits."""
    classes = network.backbone.fc.out_features
    centre, spread = features.mean(axis=0), features.std(axis=0) + 1e-3
    x = np.hstack([(features - centre) / spread, np.ones((len(features), 1))])
    target = 10.0 * np.eye(classes)[labels]
    weights = np.linalg.solve(x.T @ x + 5.0 * np.eye(x.shape[1]), x.T @ target)
    slope = (weights[:-1].T / spread).astype(np.float32)
    offset = (weights[-1] - slope @ centre).astype(np.float32)
    with torch.no_grad():
        network.backbone.fc.weight.copy_(torch.from_numpy(slope))
        network.backbone.fc.bias.copy_(torch.from_numpy(offset))


def wait_until(
    condition: Callable[[], Any],
    *,
    seconds: float = WAIT_SECONDS,
    what: str = "",
    every: float | None = None,
) -> Any:
    """The condition's first true value, asked for more rarely in time. Fails loudly when it never comes."""
    begun = time.monotonic()
    pause = threading.Event()
    while (passed := time.monotonic() - begun) < seconds:
        if value := condition():
            return value
        pause.wait(every or min(0.01 + passed / 20, 0.1))
    raise AssertionError(f"not within {seconds:g} s: {what or condition}")


@dataclass
class Station:
    """A line PC in a folder: cameras, configuration, daemon, database."""

    root: Path
    model: Path
    cameras: tuple[str, ...] = ("top-1", "bottom-1")
    extra: str = ""
    state: Path | None = None
    watch: str = "auto"
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    dropped: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for camera in self.cameras:
            self.folder(camera).mkdir(parents=True, exist_ok=True)
        self.write_config()

    def folder(self, camera: str) -> Path:
        return self.root / "cameras" / camera

    @property
    def state_dir(self) -> Path:
        return self.state or self.root / "state"

    @property
    def review(self) -> Path:
        return Path(self.tables.get("review", {}).get("folder", self.root / "review"))

    @property
    def database(self) -> Path:
        return self.state_dir / "millwatch.db"

    @property
    def config(self) -> Path:
        return self.root / "millwatch.toml"

    def write_config(self) -> None:
        """Quick settings for tests; `tables` overrides keys, `extra` is appended as it is."""
        tables: dict[str, dict[str, Any]] = {
            "intake": {"quiet_seconds": 0.2, "give_up_seconds": 1.0, "rescan_seconds": 0.5},
            # What passed goes to the archive, whatever chance says: that is drawn where a test asks.
            "review": {"folder": str(self.review), "sample_passed": 0.0},
            "model": {"folder": str(self.model), "runtime": "torch"},
            "web": {"enabled": False},  # stations run side by side, and have one port
        }
        for name, keys in self.tables.items():
            tables.setdefault(name, {}).update(keys)
        lines = [f"state_dir = {json.dumps(str(self.state_dir))}"]
        for name, keys in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        for camera in self.cameras:
            lines += ["[[cameras]]", f'name = "{camera}"']
            lines += [f"folder = {json.dumps(str(self.folder(camera)))}"]
            lines += [f'watch = "{self.watch}"']
        self.config.write_text("\n".join([*lines, self.extra, ""]))

    def settings(self) -> Settings:
        return load_settings(self.config, {})

    def drop(self, camera: str, filename: str, data: bytes, *, rename: bool = True) -> Path:
        """Deliver a whole file, remembered for `assert_every_image_accounted_for`."""
        path = self.folder(camera) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        self.expect(camera, filename, data)
        if rename:
            partial = path.parent / ".delivery.part"
            partial.write_bytes(data)
            partial.rename(path)
        else:
            path.write_bytes(data)
        return path

    def drop_unannounced(self, camera: str, filename: str, data: bytes) -> Path:
        """Deliver a whole file without the event that says so, as on a share."""
        made = self.root / "made-elsewhere"
        made.write_bytes(data)
        path = self.folder(camera) / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        self.expect(camera, filename, data)
        os.link(made, path)
        made.unlink()
        return path

    def expect(self, camera: str, filename: str, data: bytes) -> None:
        """Remember a delivery for `assert_every_image_accounted_for`."""
        self.dropped.setdefault((camera, filename), []).append(hashlib.sha256(data).hexdigest())

    def drop_surfaces(self, count: int, *, first: int = 0) -> None:
        """Deliver drawn surfaces, by turns to each camera."""
        for number in range(first, first + count):
            surface = ALL_CLASSES[number % len(ALL_CLASSES)]
            camera = self.cameras[number % len(self.cameras)]
            self.drop(camera, f"{number:05d}.jpg", surface_file(surface, seed=number))

    def lay_database(self) -> None:
        if not self.state_dir.exists():
            lay_empty_database(self.database)

    @contextmanager
    def running(self, *, clock: Callable[[], datetime] = now_utc) -> Iterator[None]:
        """The daemon in a thread of this process; stopped in good order."""
        self.lay_database()
        stopping = threading.Event()
        failures: list[BaseException] = []

        def target() -> None:
            try:
                serve(self.settings(), stopping=stopping, clock=clock)
            except BaseException as error:  # noqa: BLE001 -- raised again in the test's thread
                failures.append(error)

        thread = threading.Thread(target=target, name="daemon under test")
        thread.start()
        try:
            wait_until(lambda: failures or self.is_up(), what="the daemon is up")
            if not failures:
                yield
        finally:
            stopping.set()
            thread.join(timeout=WAIT_SECONDS)
        if failures:
            raise failures[0]

    def start(self, *, wrapper: Sequence[str] = ()) -> "subprocess.Popen[str]":
        """The daemon in a process of its own: with OpenVINO, as on a line; to import torch takes long."""
        self.lay_database()
        runtime = self.tables.get("model", {}).get("runtime", "openvino")
        with (self.root / "daemon.log").open("a") as log:
            return subprocess.Popen(
                [*wrapper, sys.executable, "-m", "daemon.cli", "run", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                text=True,
                env={**clean_environment(), "MILLWATCH_MODEL__RUNTIME": runtime},
            )

    @contextmanager
    def process(self, *, wrapper: Sequence[str] = ()) -> Iterator["subprocess.Popen[str]"]:
        """The same, up and answering; killed at the end if it still runs."""
        process = self.start(wrapper=wrapper)
        try:
            wait_until(lambda: process.poll() is not None or self.is_up(), what="the daemon is up")
            assert process.poll() is None, (self.root / "daemon.log").read_text()
            yield process
        finally:
            process.kill()
            process.wait()

    def is_up(self) -> bool:
        try:
            return bool(self.status()["state"] == "running")
        except (NoDaemonError, NoAnswerError, FileNotFoundError):
            return False

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """What the daemon answers; on a busy machine that takes longer than `status` may wait."""
        return ask(self.state_dir, command, seconds=WAIT_SECONDS, **arguments)

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def wait_for_page(self) -> None:
        """Until whoever asks for the page is heard: images are judged before."""
        web = self.settings().web

        def is_heard() -> bool:
            try:
                socket.create_connection((web.host, web.port), timeout=WAIT_SECONDS).close()
            except ConnectionRefusedError:
                return False
            return True

        wait_until(is_heard, what=f"the page is served on port {web.port}")

    def troubles(self) -> dict[str, str]:
        return dict(self.status()["troubles"])

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        uri = f"file:{self.database}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def count(self) -> int:
        return int(self.query("SELECT count(*) FROM inspections")[0][0])

    def reasons(self) -> dict[str, str]:
        """Of the unreadable images, by file name, as the quarantine tells them."""
        told = (self.state_dir / "quarantine").rglob("*.reason.json")
        documents = [json.loads(path.read_text()) for path in told]
        return {document["filename"]: document["reason"] for document in documents}

    def wait_for_images(self, count: int) -> None:
        """Until that many are recorded and each is where it should be."""
        wait_until(
            lambda: (
                self.database.exists()
                and self.count() >= count
                and not self.query("SELECT 1 FROM image WHERE progress = 'pending' LIMIT 1")
            ),
            what=f"{count} images are recorded and moved",
        )

    def files(self) -> list[Path]:
        """Every image that lies anywhere in the station."""
        roots = (self.root / "cameras", self.review, self.state_dir / "archive")
        roots += (self.state_dir / "quarantine",)
        found = [path for root in roots for path in root.rglob("*") if path.is_file()]
        return [path for path in found if not path.name.endswith(".reason.json")]


def assert_every_image_accounted_for(station: Station) -> None:
    """Each dropped file has exactly one record and lies in exactly one place, unchanged."""
    rows = station.query("SELECT camera, filename, sha256, path FROM inspections")
    recorded: dict[tuple[str, str], list[str]] = {}
    for camera, filename, sha256, path in rows:
        recorded.setdefault((camera, from_text(filename)), []).append(sha256)
        assert path is not None, f"{filename} has no place"
        data = Path(from_text(path)).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256, f"{path} was changed"
    wanted = {key: sorted(hashes) for key, hashes in station.dropped.items()}
    assert {key: sorted(hashes) for key, hashes in recorded.items()} == wanted
    places = sorted(os.fsencode(path) for path in station.files())
    assert places == sorted(os.fsencode(from_text(path)) for *_, path in rows)


def run_cli(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`millwatch ...` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "daemon.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**clean_environment(), **environment},
        timeout=110,
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of Millwatch; a terminal 200 columns wide."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MILLWATCH_")}
    return {**kept, "COLUMNS": "200"}


def stop_process(process: "subprocess.Popen[str]", number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(timeout=WAIT_SECONDS)
