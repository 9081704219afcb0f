"""What a run made: adopted, ruled on by the gate, recorded, promoted if it may be, once and for all."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from config.settings import Settings
from config.text import counted
from daemon.files.placing import write_durably
from daemon.process.control import RefusedError
from daemon.process.health import Health
from daemon.retraining import folders
from daemon.retraining.gate import Outcome, Rules, Ruling, decide
from daemon.retraining.promotion import Promoter
from daemon.serving import is_version, registry_folder, serving_folder
from daemon.store import models
from daemon.store.database import Database
from daemon.store.labels import labels_in_force
from models.checkpoint import CheckpointError, fsync, load_metadata
from models.figures import RunFigures

_STATUS: Final = {
    Outcome.PROMOTE: "candidate",
    Outcome.REJECT: "rejected",
    Outcome.NEEDS_A_PERSON: "needs_a_person",
}


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What came of a run, in words, and the figures that it rests on as JSON values."""

    version: str
    said: str
    figures: dict[str, Any]


class Finisher:
    """Ends runs. Called by one thread."""

    def __init__(
        self, settings: Settings, *, database: Database, promoter: Promoter, health: Health
    ) -> None:
        self._settings = settings
        self._database = database
        self._promoter = promoter
        self._health = health

    def finish(self, folder: Path) -> Finished:
        """Let the gate decide on what a run made. After a kill or an error it may be done again.

        Raises:
            FiguresError, CheckpointError: the run made nothing that can be used.
            StoreError, OSError: not all is done yet.
        """
        figures = RunFigures.from_json((folder / folders.EVALUATION).read_text())
        ruling = decide(figures, rules_of(self._settings))
        version = self._adopt(folder)
        metadata = load_metadata(registry_folder(self._settings) / version)
        status = models.status_of(self._database, version)
        if status in (None, "candidate"):
            ruling = self._ruling_now(ruling, folder, figures)
        if status is None:
            status = _STATUS[ruling.outcome]
            models.remember_candidate(
                self._database,
                metadata,
                status=status,
                reason=ruling.reason,
                figures=asdict(figures),
                ruling=f"{ruling.outcome.value}: {ruling.reason}",
            )
        # Else it was promoted or refused already, and only the end of the run was not recorded.
        if ruling.outcome is Outcome.PROMOTE and status == "candidate":
            ruling = self._promote(version, ruling)
        elif status == "candidate":  # a kill, and what it rested on was changed before this start
            status = _STATUS[ruling.outcome]
            models.set_status(self._database, version, status, ruling.reason)
        reasons = "; ".join((ruling.reason, *folders.left_out_of(folder)))
        said = f"{version}: {ruling.outcome.value}: {reasons}"
        self._promoter.keep_few()
        return Finished(version=version, said=said, figures=asdict(figures))

    def _ruling_now(self, ruling: Ruling, folder: Path, figures: RunFigures) -> Ruling:
        """What the gate says, where its figures are still about this line; else a person is asked."""
        withdrawn = list(self._withdrawn(folder))
        if ruling.outcome is not Outcome.PROMOTE:
            return Ruling(outcome=ruling.outcome, reasons=(*ruling.reasons, *withdrawn))
        serving = load_metadata(serving_folder(self._settings)).version
        if serving not in (figures.current.version, figures.candidate.version):
            changed = f"it was held against model {figures.current.version}, and meanwhile model {serving} serves"
        elif not folders.is_served_as_measured(self._settings, folder):
            changed = (
                "[policy] or model.runtime was changed while it was made, and its figures are by the "
                "old ones"
            )
        elif withdrawn:
            changed = "; ".join(withdrawn)
        else:
            return ruling
        changed += ": retrain, or promote it if it is the better one"
        return Ruling(outcome=Outcome.NEEDS_A_PERSON, reasons=(changed, *ruling.reasons))

    def _withdrawn(self, folder: Path) -> Iterator[str]:
        """Of which classes more labels that a run learned from are in force no more than it may lose."""
        learned = folders.labels_of(folder)
        now = {each.image_id: each.label for each in labels_in_force(self._database)}
        counts = Counter(learned.values())
        gone = Counter(name for image_id, name in learned.items() if now.get(image_id) != name)
        for name, count in sorted(gone.items()):
            # A few that people think better of are every day's.
            if count > max(2.0, rules_of(self._settings).max_loss * counts[name]):
                labels = counted(counts[name], "label")
                yield (
                    f"of the {labels} of {name} that it rests on {count} were taken back or changed while it "
                    "was made"
                )

    def _adopt(self, folder: Path) -> str:
        """Bring a candidate to the registry; its version. Raises CheckpointError, OSError."""
        registry = registry_folder(self._settings)
        candidate = folder / folders.CANDIDATE
        noted = folder / "version.txt"
        if not candidate.exists() and noted.exists():  # a kill after the move
            return noted.read_text().strip()
        version = load_metadata(candidate).version
        if not is_version(version) or (registry / version).exists():
            raise CheckpointError(
                f"the candidate's version {version!r} cannot name a folder, or is taken; retrain"
            )
        write_durably(noted, f"{version}\n")
        registry.mkdir(parents=True, exist_ok=True)
        candidate.rename(registry / version)
        fsync(registry)
        return version

    def _promote(self, version: str, ruling: Ruling) -> Ruling:
        try:
            self._promoter.promote(
                version, "the gate", reason=f"promoted: {ruling.reason}", if_as_fast=True
            )
        except RefusedError as error:
            why = f"the gate let it through, and then {error}"
            models.set_status(self._database, version, "rejected", why)
            self._health.trouble("model", f"model {version} was not promoted: {why}")
            return Ruling(outcome=Outcome.REJECT, reasons=(why,))
        return ruling


def rules_of(settings: Settings) -> Rules:
    """As the configuration says."""
    gate = settings.gate
    return Rules(
        max_missed_defect_rate=settings.policy.max_missed_defect_rate,
        max_extra_missed=gate.max_extra_missed,
        max_reference_loss=gate.max_reference_loss,
        max_calibration_error=gate.max_calibration_error,
        max_times_slower=gate.max_times_slower,
    )
