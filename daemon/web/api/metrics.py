"""`/metrics`: what Prometheus asks for. Counters since the start, and how things are now."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.responses import Response

from daemon.files.disks import Rooms
from daemon.store.database import StoreError
from daemon.store.models import count_waiting_for_a_person, statuses
from daemon.store.queueing import Filter, count_waiting
from daemon.web.desk import Desk
from daemon.web.door.access import Looking, TheDesk

router = APIRouter(include_in_schema=False)

_MOST_COUNTED: Final = 10_000
_STATUSES: Final = ("candidate", "current", "retired", "rejected", "needs_a_person")
_ENDS: Final = ("done", "failed", "skipped")


@router.get("/metrics")
def metrics(request: Request, desk: TheDesk, _: Looking) -> Response:
    try:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
    except TypeError:  # what it asks for as a version is none
        encode, media_type = choose_encoder("")
    everything = _Everything(desk, request.app.state.rooms)
    return Response(encode(everything), media_type=media_type)


class _Everything(Collector):
    def __init__(self, desk: Desk, rooms: Rooms) -> None:
        self._desk = desk
        self._rooms = rooms

    def collect(self) -> Iterator[Metric]:
        yield from self._desk.meter.registry.collect()
        yield from ProcessCollector(registry=None).collect()
        status = self._desk.status()
        yield from _line(status)
        yield from _shadow(status.get("shadow") or {})
        yield from _retraining(status.get("retraining") or {})
        yield from _disks(self._rooms)
        yield from _database(self._desk)


def _line(status: dict[str, Any]) -> Iterator[Metric]:
    by_camera: dict[str, GaugeMetricFamily | CounterMetricFamily] = {
        "waiting": _gauge("waiting_images", "Images in a drop folder, not judged yet.", "camera"),
        "rescans": _counter("rescans", "Drop folders listed to find what no event told.", "camera"),
        "overflows": _counter(
            "inotify_overflows", "Times that inotify lost events; a rescan finds them.", "camera"
        ),
    }
    watching = _gauge("camera_watching", "How a drop folder is watched.", "camera", "how")
    silent = _gauge(
        "camera_silent_since_timestamp_seconds",
        "When an image of this camera was last recorded; the start where none was since.",
        "camera",
    )
    for camera in status["cameras"]:
        silent.add_metric([camera["name"]], _unix(camera["last_image"] or status["since"]))
        for key, family in by_camera.items():
            family.add_metric([camera["name"]], camera.get(key, 0))
        watching.add_metric([camera["name"], camera["watching"]], 1)
    yield from by_camera.values()
    yield watching
    yield silent
    pending = status["pending_moves"]
    yield _gauge_of("pending_moves", "Recorded moves that are not done yet.", pending)
    info = _gauge("model_info", "The model that serves.", "version", "runtime")
    info.add_metric([status["model_version"], status["runtime"]], 1)
    yield info
    commissioning = status["commissioning"]
    yield _gauge_of("commissioning", "1 until a normal class is learned.", int(commissioning))
    since = _unix(status["since"])
    yield _gauge_of("start_timestamp_seconds", "When the daemon started.", since)
    yield _gauge_of("troubles", "How many things are wrong now.", len(status["troubles"]))
    trouble = _gauge("trouble", "1 for each thing that is wrong now.", "name")
    for name in status["troubles"]:
        trouble.add_metric([name], 1)
    yield trouble


def _shadow(known: dict[str, Any]) -> Iterator[Metric]:
    """Counted since the last promotion, from 0 again after each."""
    for name, key, what in (
        ("shadow_images", "judged", "Images that the model before the current one judged too."),
        ("shadow_agreed", "agreed", "Those of them on which both gave the same verdict."),
        ("shadow_passed", "passed", "Those of them that passed."),
        (
            "shadow_passed_called_defect",
            "passed_called_defect",
            "Those of the passed that the model before calls defects.",
        ),
    ):
        family = _counter(name, what)
        family.add_metric([], known.get(key, 0))
        yield family


def _retraining(known: dict[str, Any]) -> Iterator[Metric]:
    yield _gauge_of(
        "retraining_running", "1 while a model is made.", int(bool(known.get("running")))
    )
    new = known.get("new_labels")
    yield _gauge_of("new_labels", "Labels given since the last retraining.", new)
    last = known.get("last") or {}
    ended = _gauge("retraining_last_end", "1 for how the last retraining ended.", "state")
    for state in _ENDS:
        ended.add_metric([state], int(last.get("state") == state))
    yield ended
    at = last.get("ended_at")
    when = None if at is None else _unix(at)
    yield _gauge_of("retraining_last_end_timestamp_seconds", "When it ended.", when)


def _disks(rooms: Rooms) -> Iterator[Metric]:
    free = _gauge("disk_free_bytes", "Free room on the disk of a folder.", "folder")
    size = _gauge("disk_size_bytes", "Room on the disk of a folder in all.", "folder")
    for name, (_, room) in rooms.look().items():
        free.add_metric([name], room.free)
        size.add_metric([name], room.total)
    yield free
    yield size


def _database(desk: Desk) -> Iterator[Metric]:
    readable = _gauge_of("database_readable", "0 while the database cannot be read.", 1)
    waiting: int | None = None
    undecided: int | None = None
    models = _gauge("models", "Models by what the gate and people decided.", "status")
    try:
        waiting = count_waiting(desk.database, Filter(), most=_MOST_COUNTED)
        found = [status for _, status in statuses(desk.database)]
        undecided = count_waiting_for_a_person(found)
        for status in _STATUSES:
            models.add_metric([status], found.count(status))
    except StoreError:
        readable = _gauge_of("database_readable", "0 while the database cannot be read.", 0)
    yield readable
    yield _gauge_of(
        "review_waiting_images", "Images that wait for a label; at most 10000.", waiting
    )
    yield models
    yield _gauge_of(
        "models_waiting",
        "Models that wait for a person; none that is older than one that served.",
        undecided,
    )


def _gauge(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"millwatch_{name}", what, labels=labels)


def _counter(name: str, what: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"millwatch_{name}", what, labels=labels)


def _gauge_of(name: str, what: str, value: float | None) -> GaugeMetricFamily:
    """Without a sample where nothing is known."""
    family = _gauge(name, what)
    if value is not None:
        family.add_metric([], value)
    return family


def _unix(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
