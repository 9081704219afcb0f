"""The shadow: the model before judges a few images as well, while the line is idle.

What both say is only counted, and told. A new model is meant to differ: nothing goes back for it.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from config.settings import Settings
from config.text import percent
from daemon.names import to_text
from daemon.process.health import Health
from daemon.store.database import Database, StoreError
from daemon.store.models import model_versions
from daemon.values import Delivery, Finding
from models.binomial import interval, upper_bound
from models.registry import Model
from models.taxonomy import Verdict

log = structlog.get_logger(__name__)

TROUBLE: Final = "shadow"
_MOST_WAITING: Final = 64
"""Pictures, 40 kB each at 200 pixels. The oldest give way: on a line that is never idle all would."""
_STEP_SECONDS: Final = 0.2
_FEWEST: Final = 3
"""Passed images that the model before calls defects, below which nothing is told."""


@dataclass(frozen=True, kw_only=True)
class _Offered:
    finding: Finding
    pixels: NDArray[np.uint8]


@dataclass(kw_only=True)
class _Comparison:
    """Of the model `new` with the one `before`, which is let go of when it is over.

    Attributes:
        until: when it is over, on the monotonic clock.
        plausible: of what `new` lets pass, the share that `before` may call defects; None where no
            figures say it.
        ended: why it is over; empty while it goes on.
        verdicts: of images by what `new` and `before` said.
    """

    new: str
    version: str
    before: Model | None
    until: float
    plausible: float | None
    ended: str = ""
    seen: int = 0
    offered: int = 0
    waiting: deque[_Offered] = field(default_factory=lambda: deque(maxlen=_MOST_WAITING))
    verdicts: Counter[tuple[Verdict, Verdict]] = field(default_factory=Counter)
    latest: deque[str] = field(default_factory=lambda: deque(maxlen=10))

    @property
    def passed(self) -> int:
        return sum(count for (new, _), count in self.verdicts.items() if new is Verdict.PASS)

    @property
    def contradicted(self) -> int:
        return self.verdicts[Verdict.PASS, Verdict.DEFECT]

    @property
    def agreed(self) -> int:
        return sum(count for (new, before), count in self.verdicts.items() if new is before)


class Shadow:
    """Safe between threads: the pipeline's shows it images, another lets it judge."""

    def __init__(self, settings: Settings, *, database: Database, health: Health) -> None:
        self._share = settings.gate.shadow_share
        self._policy = settings.policy
        self._database = database
        self._health = health
        self._lock = threading.Lock()
        self._latest: _Comparison | None = None

    def begin(self, *, before: Model, new: str, now: float, seconds: float) -> None:
        """Another model serves: for so long hold it against the one before, where that is wanted."""
        self.forget()
        if self._share > 0:
            comparison = _Comparison(
                new=new,
                version=before.version,
                before=before,
                until=now + seconds,
                plausible=self._plausible(new, before.version),
            )
            with self._lock:
                self._latest = comparison

    def forget(self) -> None:
        """What was found is of a model that serves no more."""
        with self._lock:
            self._latest = None
        self._health.mended(TROUBLE)

    def reconfigure(self, settings: Settings) -> None:
        """A share above 0 holds from the next promotion on: the model before is let go of by now."""
        self._share = settings.gate.shadow_share
        if self._share == 0:
            self._end(self._latest, "it was switched off")
        elif settings.policy != self._policy:
            why = "[policy] was changed: the model before decides by the old one"
            self._end(self._latest, why)
        self._policy = settings.policy

    def see(
        self, findings: Sequence[Finding], pixels: Mapping[Delivery, NDArray[np.uint8] | None]
    ) -> None:
        """These were recorded: keep a few of them for an idle moment."""
        with self._lock:
            going = self._latest
            if going is None or going.ended:
                return
            for finding in findings:
                picture = pixels.get(finding.delivery)
                if finding.model_version != going.new or picture is None:
                    continue
                going.seen += 1
                within = going.offered + 1 <= self._share * going.seen
                if within and is_drawn(finding.sha256, self._share):
                    going.offered += 1
                    going.waiting.append(_Offered(finding=finding, pixels=picture.copy()))

    def step(self, *, idle: Callable[[], bool], now: float) -> None:
        """Judge some of them, one at a time, for as long as the line is idle and not for long."""
        going = self._latest
        if going is None or going.ended:
            return
        if now > going.until:
            self._end(going, "the time for it is over")
            return
        deadline = time.monotonic() + _STEP_SECONDS
        while idle() and time.monotonic() < deadline:
            with self._lock:
                before = going.before
                if before is None or not going.waiting:
                    return
                offered = going.waiting.popleft()
            try:
                (decision,) = before.judge(offered.pixels[None])
            except Exception as error:  # noqa: BLE001 -- whatever a network may do; the line goes on
                why = f"model {before.version} failed: {type(error).__name__}: {error}"
                self._end(going, why)
                return
            self._count(going, offered.finding, decision.verdict, decision.predicted_class)

    def status(self) -> dict[str, Any] | None:
        """What came of it since the last promotion, as JSON values; None where there is none."""
        with self._lock:
            going = self._latest
            if going is None:
                return None
            return {
                "model_version": going.version,
                "judged": going.verdicts.total(),
                "of": going.seen,
                "agreed": going.agreed,
                "passed": going.passed,
                "passed_called_defect": going.contradicted,
                "latest_called_defect": list(going.latest),
                "plausible_share": going.plausible,
                "waiting": len(going.waiting),
                "ended": going.ended,
            }

    def _count(self, going: _Comparison, finding: Finding, verdict: Verdict, name: str) -> None:
        contradicted = finding.verdict is Verdict.PASS and verdict is Verdict.DEFECT
        where = f"{finding.delivery.camera}: {to_text(finding.delivery.filename)}"
        with self._lock:
            going.verdicts[finding.verdict, verdict] += 1
            if contradicted:
                going.latest.append(where)
            if going is self._latest:  # else it is of a model that serves no more
                self._tell(going)
        if contradicted:
            log.warning("passed, and the model before calls it a defect", image=where, defect=name)

    def _tell(self, going: _Comparison) -> None:
        low, _ = interval(going.contradicted, going.passed) if going.passed else (0.0, 1.0)
        plausible = going.plausible
        if plausible is None or going.contradicted < _FEWEST or low <= plausible:
            self._health.mended(TROUBLE)
            return
        self._health.trouble(
            TROUBLE,
            f"of {going.passed} images that model {going.new} let pass, model {going.version} before it "
            f"calls {going.contradicted} defects, and at most {percent(plausible, 1)} would be plausible. Look "
            "at them: the log names each; `millwatch models rollback` if they are defects",
        )

    def _end(self, going: _Comparison | None, why: str) -> None:
        """Let go of the model and the pictures; what was counted stays until another one serves."""
        with self._lock:
            if going is None or going.ended:
                return
            going.ended, going.before = why, None
            going.waiting.clear()
        log.info(
            "shadow ended",
            why=why,
            model=going.version,
            judged=going.verdicts.total(),
            agreed=going.agreed,
            passed=going.passed,
            passed_called_defect=going.contradicted,
        )

    def _plausible(self, new: str, before: str) -> float | None:
        """What its own run says: of held-out sound images, how many the model before calls defects.

        The most that they leave likely, and the defects that the policy lets pass.
        """
        try:
            made = [each for each in model_versions(self._database) if each.version == new]
        except StoreError:
            return None
        figures = (made[0].metrics.get("run") if made else None) or {}
        current = figures.get("current", {})
        if current.get("version") != before:
            return None
        normal = figures.get("normal_classes", ())
        rows = [row for name, row in current["held_out"].items() if name in normal]
        images = sum(row["images"] for row in rows)
        if not images:
            return None
        called = sum(row["defect"] for row in rows)
        return upper_bound(called, images) + self._policy.max_missed_defect_rate


def is_drawn(sha256: str, share: float) -> bool:
    """Whether an image is in the share: by chance, and by its content alone."""
    return int(sha256[:16], 16) < share * 2**64
