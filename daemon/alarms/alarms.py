"""Alarms: what begins and what is over is told once, by messages that outlive a restart.

What an alarm says is recorded with its messages (`daemon.store.outbox`) before any is sent, so that each
arrives at least once, whatever is killed. On a thread of its own: no address that hangs holds up the line.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from config.addresses import Address
from config.oversight import Alarm
from config.settings import Settings
from daemon.alarms.messages import message, test_message
from daemon.alarms.rules import OWN_TROUBLE, Holds, Watch
from daemon.alarms.sending import Sender, SendError
from daemon.process.control import Handlers, RefusedError
from daemon.process.health import Health
from daemon.store import outbox
from daemon.store.database import Database, StoreError
from daemon.store.outbox import Told, Waiting

log = structlog.get_logger(__name__)

_STEP_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 5.0
_SETTLE_SECONDS: Final = 120.0
"""After a start the troubles are found again one by one: none is told to be over before."""
_FIRST_PAUSE_SECONDS: Final = 10.0
_LONGEST_PAUSE_SECONDS: Final = 300.0
_GIVE_UP: Final = timedelta(days=1)
_FEWEST_TRIES: Final = 144
"""With pauses of five minutes by a clock that never jumps they take half a day: a computer's clock that is
set, as one without a battery is after each start, gives up nothing that was tried for minutes only. Tries
alone would not do either: a service that is started again and again makes them in less.
"""
_MOST_DIRECT: Final = 100
_DELIVERED: Final = ""
_FAILED: Final = f"{OWN_TROUBLE}thread"


class Alarms:
    """The daemon's. `step` is called by one thread, `test` by any."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        health: Health,
        clock: Callable[[], datetime],
    ) -> None:
        self._alarms = settings.alarms
        self._database = database
        self._health = health
        self._clock = clock
        self._watch = Watch(settings, database=database, health=health)
        self._sender = Sender(settings)
        self._addresses = {each.key: each for alarm in self._alarms for each in alarm.addresses}
        self._troubles = _trouble_of_each(list(self._addresses.values()))
        self._told: dict[str, Told] = {}
        self._untold: dict[str, dict[str, str]] = {}
        """By alarm: what held since its last message, and is not told yet."""
        self._remembered = False
        self._closing = threading.Event()
        self.thread = threading.Thread(target=self._run, name="alarms", daemon=True)
        """Started by the service, once there is an alarm."""
        self._settled_at: float | None = None
        self._look_at = 0.0
        self._pauses: dict[int, tuple[float, float]] = {}
        """By a message's id: not to be tried before, and how long to wait after that."""
        self._unrecorded: dict[int, tuple[str, str]] = {}
        """Messages that came to an end which the database could not take yet."""
        self._direct: list[Waiting] = []
        """Messages that the database could not take; their ids are below 0."""
        self._direct_count = 0
        self._wanted: Settings | None = None

    @property
    def configured(self) -> bool:
        return bool(self._alarms)

    def commands(self) -> Handlers:
        """What commands ask of a running daemon."""
        return {
            "alarms test": lambda asked: {
                "results": try_out(self._alarms, self._sender, self._clock(), **asked)
            }
        }

    def reconfigure(self, settings: Settings) -> None:
        """Tell what these say from the next step on. From any thread."""
        self._wanted = settings
        if not self.thread.is_alive():
            self._take_over()

    def close(self, *, seconds: float) -> None:
        """End the thread, or leave it: what it is sending is sent again after the next start."""
        self._closing.set()
        if self.thread.is_alive():
            self.thread.join(timeout=seconds)
        self._watch.close(seconds=seconds)

    def _run(self) -> None:
        while not self._closing.wait(_STEP_SECONDS):
            try:
                self.step(steady=time.monotonic())
                self._health.mended(_FAILED)
            except Exception as error:
                # Unforeseen. Alarms must not end the watch on a line.
                log.exception("alarms failed")
                self._health.trouble(_FAILED, f"alarms failed: {error!r}; see the log")

    def _take_over(self) -> None:
        settings, self._wanted = self._wanted, None
        if settings is None:
            return
        self._alarms, self._sender = settings.alarms, Sender(settings)
        self._addresses = {each.key: each for alarm in self._alarms for each in alarm.addresses}
        self._troubles = _trouble_of_each(list(self._addresses.values()))
        self._direct = [each for each in self._direct if each.address in self._addresses]
        self._look_at = 0.0

    def step(self, *, steady: float) -> None:
        """Look what holds, when that is due, and send what waits. `steady` is monotonic, in seconds."""
        self._take_over()
        if self._settled_at is None:
            self._settled_at = steady + _SETTLE_SECONDS
        if steady >= self._look_at:
            self._look_at = steady + _LOOK_SECONDS
            for alarm in self._alarms:
                self._look(alarm, settled=steady >= self._settled_at)
        self._send(steady)

    def _look(self, alarm: Alarm, *, settled: bool) -> None:
        now = self._clock()
        try:
            # Troubles, of which the database may be one, are to be told all the more.
            with suppress(StoreError) if alarm.when == "trouble" else nullcontext():
                self._remember()
            last = self._told.get(alarm.name)
            told: Holds = {} if last is None else last.holds
            holds = self._watch.holds(alarm, told, now)
        except StoreError as error:
            log.warning("an alarm cannot be looked after", alarm=alarm.name, why=str(error))
            return
        if not settled:
            holds = {**told, **holds}
        untold = self._untold.setdefault(alarm.name, {})
        untold |= {name: what for name, what in holds.items() if name not in told}
        passed = {name: what for name, what in untold.items() if name not in holds}
        if holds.keys() == told.keys() and not passed:
            return
        if last is not None and timedelta() <= now - last.at < _interval(alarm):
            return
        del self._untold[alarm.name]
        self._tell(alarm, told, holds, passed, now)

    def _remember(self) -> None:
        """What was told before the start, once that can be read. Raises StoreError."""
        if not self._remembered:
            self._told = {**outbox.told(self._database), **self._told}
            self._remembered = True

    def _tell(self, alarm: Alarm, told: Holds, holds: Holds, passed: Holds, now: datetime) -> None:
        body = message(alarm.name, told, holds, passed, now)
        keys = [each.key for each in alarm.addresses]
        self._told[alarm.name] = Told(holds=holds, at=now)
        log.info("alarm", alarm=alarm.name, began=body["began"], ended=body["ended"])
        try:
            outbox.put(self._database, alarm.name, holds, body, keys, now)
        except StoreError:  # a full disk, say, is what it may be about
            for key in keys:
                self._direct_count += 1
                self._direct.append(
                    Waiting(
                        id=-self._direct_count,
                        alarm=alarm.name,
                        address=key,
                        body=body,
                        created_at=now,
                        tries=0,
                    )
                )
            del self._direct[:-_MOST_DIRECT]

    def _send(self, steady: float) -> None:
        for waiting in list(self._direct):
            if self._attempt(waiting, steady) == _DELIVERED:
                self._direct.remove(waiting)
        try:
            for message_id, (state, why) in list(self._unrecorded.items()):
                self._end(message_id, state, why)
            for waiting in outbox.first_waiting(self._database):
                self._see_through(waiting, steady)
        except StoreError as error:  # which the troubles tell
            log.warning("messages wait", why=str(error))

    def _see_through(self, waiting: Waiting, steady: float) -> None:
        if waiting.address not in self._addresses:
            self._end(waiting.id, "given_up", "its address is no longer in the configuration")
            return
        why = self._attempt(waiting, steady)
        if why is None:
            return
        if why == _DELIVERED:
            self._end(waiting.id, "delivered", why)
            return
        outbox.failed(self._database, waiting.address, why)
        # What was recorded in the time to come, under a clock that was ahead, would be tried for years.
        is_young = timedelta() <= self._clock() - waiting.created_at < _GIVE_UP
        if not is_young and waiting.tries + 1 >= _FEWEST_TRIES:
            self._give_up(waiting, why)

    def _attempt(self, waiting: Waiting, steady: float) -> str | None:
        """Send a message, if it is time to try: why it was not delivered, None if it was not time."""
        not_before, pause = self._pauses.get(waiting.id, (0.0, _FIRST_PAUSE_SECONDS))
        if steady < not_before:
            return None
        address = self._addresses[waiting.address]
        trouble = self._troubles[address.key]
        try:
            self._sender.send(address, waiting.body)
        except SendError as error:
            longer = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            self._pauses[waiting.id] = steady + pause, longer
            self._health.trouble(
                trouble,
                f"the alarm '{waiting.alarm}' could not be sent to {address.shown}: {error}; it is "
                "tried again by itself",
            )
            return str(error)
        self._pauses.pop(waiting.id, None)
        self._health.mended(trouble)
        return _DELIVERED

    def _give_up(self, waiting: Waiting, why: str) -> None:
        """With all as old and as often held up to that address: one by one they would be more each day."""
        shown, now = self._addresses[waiting.address].shown, self._clock()
        count = outbox.give_up(
            self._database, waiting.address, now - _GIVE_UP, now, fewest=_FEWEST_TRIES, why=why
        )
        log.error("alarms given up", alarm=waiting.alarm, address=shown, why=why, messages=count)
        self._pauses.pop(waiting.id, None)
        self._health.trouble(
            self._troubles[waiting.address],
            f"the alarm '{waiting.alarm}' could not be sent to {shown} for a day, and was given up: "
            f"{why}. See `millwatch alarms test`",
        )

    def _end(self, message_id: int, state: str, why: str) -> None:
        """Sent is sent: what cannot be recorded now is recorded later, and not sent again."""
        self._unrecorded[message_id] = state, why
        outbox.end(self._database, message_id, state, self._clock(), why=why or None)
        del self._unrecorded[message_id]


def try_out(
    alarms: Sequence[Alarm], sender: Sender, now: datetime, *, name: str | None = None
) -> list[dict[str, Any]]:
    """Send a test message to each address of an alarm, or of all: what came of it, as JSON values.

    Raises:
        RefusedError: there is no such alarm.
    """
    chosen = [alarm for alarm in alarms if name in (None, alarm.name)]
    if not chosen:
        names = ", ".join(alarm.name for alarm in alarms) or "none"
        what = "there is no alarm" if name is None else f"there is no alarm {name!r}"
        raise RefusedError(f"{what} in the configuration ([[alarms]]); there are: {names}")
    results = []
    for alarm in chosen:
        for address in alarm.addresses:
            error = None
            try:
                sender.send(address, test_message(alarm.name, now))
            except SendError as failure:
                error = str(failure)
            results.append({"alarm": alarm.name, "address": address.shown, "error": error})
    return results


def _trouble_of_each(addresses: Sequence[Address]) -> dict[str, str]:
    """By an address' key: two of one host are shown alike, and that one is well says nothing of the other."""
    alike: dict[str, int] = defaultdict(int)
    names = {}
    for address in addresses:
        alike[address.shown] += 1
        number = alike[address.shown]
        names[address.key] = (
            f"{OWN_TROUBLE}to {address.shown}{f' ({number})' if number > 1 else ''}"
        )
    return names


def _interval(alarm: Alarm) -> timedelta:
    return timedelta(minutes=alarm.min_interval_minutes)
