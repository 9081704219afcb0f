"""A daemon is started: what it holds for as long as it runs, its model, its database, its folders."""

import gc
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from config.hanging import hang
from config.settings import Settings
from daemon.clock import now_utc
from daemon.files.disks import Reserve
from daemon.files.mounts import ReviewShare
from daemon.files.placing import make_folder
from daemon.files.shares import Share, SilentError
from daemon.integrity.names import last_id_in_names
from daemon.journey.pipeline import AHEAD
from daemon.names import to_text
from daemon.process.instance import (
    allow_descriptors,
    instance_lock,
    one_thread_a_product,
    stop_on_signals,
)
from daemon.service import Service
from daemon.serving import Fallen, load_first, point_to
from daemon.store.database import Database
from daemon.store.models import remember_current, set_status
from daemon.store.restoring import gave_none, go_on_after
from daemon.store.upgrading import prepare_database
from models.registry import Model
from models.taxonomy import KNOWN_DEFECTS

log = structlog.get_logger(__name__)

_MAKE_SECONDS: Final = 1.0
"""For folders that are made, where need be, when an image comes."""


def serve(
    settings: Settings,
    *,
    stopping: threading.Event | None = None,
    clock: Callable[[], datetime] = now_utc,
    reread: Callable[[], Settings] | None = None,
    load: Callable[[Settings], tuple[Model, Fallen | None]] = load_first,
) -> None:
    """Run a daemon until `stopping` is set, or a signal is caught when it is not given.

    Args:
        reread: the settings as they are written now, for SIGHUP. Raises ConfigurationError.
        load: gives the model to begin with; for whoever has one in memory.

    Raises:
        AlreadyRunningError, DatabaseRefusedError, ServingModelError: before anything was touched.
        StoreError: the database cannot be opened now, or was found damaged.
        ThreadDiedError: something unforeseen.
    """
    reloading = threading.Event()
    alone = stopping is None
    if stopping is None:
        stopping = threading.Event()
        stop_on_signals(stopping)
        signal.signal(signal.SIGHUP, lambda *_: reloading.set())
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        held.enter_context(instance_lock(settings.state_dir))
        held.enter_context(one_thread_a_product())
        model, fallen = load(settings)
        if alone:  # what is loaded by now stays: no collection needs to go through it again
            gc.freeze()
        for remark in model.remarks:
            log.warning("slower than it could be", why=remark)
        Reserve(settings.database_file).give_where_needed()
        database = prepare_database(
            settings.database_file, backups=settings.state_dir / "backups", now=clock()
        )
        held.callback(database.close)
        _number_on(settings)
        remember_current(database, model.metadata, clock())
        troubled = "" if fallen is None else _tell_fallen(settings, database, model, fallen)
        _make_folders(settings)
        Service(
            _fitting(settings),
            database=database,
            model=model,
            stopping=stopping,
            clock=clock,
            troubled=troubled,
            reloading=reloading,
            reread=None if reread is None else lambda: _fitting(reread()),
        ).run()


def _fitting(settings: Settings) -> Settings:
    """With batches whose images can all be held open at a time."""
    wanted = settings.batching.max_images
    most = allow_descriptors(wanted, batches=AHEAD + 1)
    if most == wanted:
        return settings
    log.warning(
        "smaller batches than batching.max_images: this process may not open so many files; raise "
        "LimitNOFILE of its unit (ulimit -Hn), or lower batching.max_images",
        images=most,
        max_images=wanted,
    )
    batching = settings.batching.model_copy(update={"max_images": most})
    return settings.model_copy(update={"batching": batching})


def _number_on(settings: Settings) -> None:
    """A database that gave no number yet gives none that stands in a file's name in review."""
    review = settings.review_folder
    if not gave_none(settings.database_file):
        return
    try:
        given = Share("the review folder", review).follow(partial(last_id_in_names, review))
    except (SilentError, OSError):  # its images cannot be told from others then
        return
    if given:
        go_on_after(settings.database_file, given)
        log.warning(
            "the database is new, and in review are images of another one: see whether the disk of "
            "state_dir is mounted, or put a backup back by `millwatch db restore`",
            database=to_text(settings.database_file),
            review=to_text(review),
        )


def _tell_fallen(settings: Settings, database: Database, model: Model, fallen: Fallen) -> str:
    """Record that another model serves than the pointer names; what is to be told of it."""
    if not fallen.version:
        return (
            f"{fallen.why}, so it is not known which model is to serve. Model {model.version} "
            "serves; `millwatch models promote VERSION` lets another (`millwatch models list`)"
        )
    point_to(settings, fallen.folder)
    set_status(database, fallen.version, "rejected", fallen.why)
    return (
        f"model {fallen.version} does not load and was rolled back by itself: {fallen.why}. "
        f"Model {model.version} serves"
    )


def _make_folders(settings: Settings) -> None:
    """Those that people expect to find; without waiting for a share that hangs."""
    if any(hang([partial(_make_each, settings)], seconds=_MAKE_SECONDS)):
        log.warning("folders not made yet", error="one of them does not answer")


def _make_each(settings: Settings) -> None:
    """One that cannot be made now is made when it is needed."""
    try:
        ReviewShare(settings).refuse_if_away()
    except OSError as error:
        log.warning("folders not made", error=error.strerror)
        return
    classes = dict.fromkeys((*settings.policy.normal_classes, *KNOWN_DEFECTS))
    for folder in (
        settings.review_folder / "to_check",
        *(settings.review_folder / "labelled" / name for name in classes),
        settings.archive_folder,
        settings.quarantine_folder,
    ):
        try:
            make_folder(folder)
        except OSError as error:
            log.warning("folder not made", folder=to_text(folder), error=str(error))
