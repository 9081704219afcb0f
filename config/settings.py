"""Everything that can be set, as one frozen tree.

Every key has a default that works, but for a camera's `name` and `folder`, which nobody can guess.
`config/millwatch.example.toml` says in which case to change which.
"""

from datetime import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from config.oversight import Alarm, Drift, Mail, Mqtt, Webhook
from config.table import Table
from config.values import (
    AbsolutePath,
    CameraName,
    ClassNames,
    CronSchedule,
    DatabaseUrl,
    Extensions,
    MarkerSuffix,
    NamePatterns,
    ShiftTimes,
    TimeZone,
    refuse,
    shown,
)
from config.web import Web

_MOST_DAYS: Final = 365_000
"""So long before today there still is a date."""


class Camera(Table):
    name: CameraName = Field(description="What the camera is called in file names and reports.")
    folder: AbsolutePath = Field(description="The drop folder: where the camera writes its images.")
    watch: Literal["auto", "inotify", "polling"] = Field(
        default="auto", description="How new images are noticed; a share needs polling."
    )
    silent_after_minutes: float = Field(
        default=0.0, ge=0, description="Without an image for so long it is told; 0 for never."
    )


class Intake(Table):
    quiet_seconds: float = Field(
        default=2.0,
        ge=0,
        description="How long a file's size and time must hold still before it counts as complete.",
    )
    give_up_seconds: float = Field(
        default=60.0,
        ge=0,
        description="How long a file that does not decode may still be growing before quarantine.",
    )
    rescan_seconds: float = Field(
        default=10.0,
        gt=0,
        le=86_400,
        description="How often the drop folders are listed, events or not.",
    )
    extensions: Extensions = Field(
        default=(".bmp", ".jpg", ".jpeg", ".pgm", ".png", ".tif", ".tiff", ".webp"),
        description="File name endings that are images, whatever their case.",
    )
    ignore: NamePatterns = Field(
        default=("*.tmp", "*.part", ".*", "Thumbs.db", "desktop.ini", "@eaDir", "lost+found"),
        description="Patterns of file and folder names that are never images.",
    )
    max_pixels: int = Field(
        default=100_000_000,
        ge=1,
        description="Images with more pixels go to quarantine undecoded, to bound memory.",
    )
    max_bytes: int = Field(
        default=500_000_000,
        ge=1,
        description="Larger files go to quarantine undecoded, to bound memory.",
    )
    marker_suffix: MarkerSuffix = Field(
        default="",
        description="An image is complete when a file with its name and this suffix exists.",
    )
    allow_zero_tail: bool = Field(
        default=False,
        description="Take images that end in a run of zeros, rather than wait for the rest.",
    )

    @field_validator("ignore")
    @classmethod
    def _leaves_some(cls, patterns: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # A star before what matches the ending alone matches every name that ends so.
        first = [pattern for pattern in patterns if pattern.startswith("*")]
        endings = [each for end in info.data.get("extensions", ()) for each in (end, end.upper())]
        if endings and all(any(fnmatchcase(end, each) for each in first) for end in endings):
            raise refuse(
                f"{shown(patterns)} matches every image, so none would ever be judged",
                'Name what is no image, such as "*.tmp".',
                also="extensions",
            )
        return patterns

    @field_validator("give_up_seconds")
    @classmethod
    def _waits_longer_than_quiet(cls, give_up: float, info: ValidationInfo) -> float:
        quiet = info.data.get("quiet_seconds")
        if quiet is not None and give_up < quiet:
            raise refuse(
                f"give_up_seconds ({give_up:g}) is less than quiet_seconds ({quiet:g}): every image"
                " would go to quarantine before it counts as complete",
                "Make give_up_seconds at least as long as quiet_seconds.",
                also="quiet_seconds",
            )
        return give_up

    @field_validator("marker_suffix")
    @classmethod
    def _marker_is_no_image(cls, suffix: str, info: ValidationInfo) -> str:
        if suffix.lower().endswith(info.data.get("extensions", ())):
            raise refuse(
                f"{shown(suffix)} ends like an image, so every marker would be taken for one",
                "Choose another marker, or remove that ending from intake.extensions.",
                also="extensions",
            )
        return suffix


class Review(Table):
    folder: AbsolutePath | None = Field(
        default=None, description="Where people look and label; <state_dir>/review unless set."
    )
    sample_passed: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="The share of passed images that go to review as well, to see what is missed.",
    )


class Batching(Table):
    max_images: int = Field(
        default=128, ge=1, le=1024, description="The most images judged together, to bound memory."
    )


class Model(Table):
    runtime: Literal["auto", "torch", "openvino"] = Field(
        default="auto", description="What runs the network."
    )
    folder: AbsolutePath | None = Field(
        default=None,
        description="A model folder to use instead of the model shipped with Millwatch.",
    )


class Policy(Table):
    normal_classes: ClassNames = Field(
        default=("no_defect",), description="The classes that may pass; with none, nothing passes."
    )
    on_pass: Literal["archive", "leave", "delete"] = Field(
        default="archive", description="What is done with an image that passed."
    )
    min_defect_confidence: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Below this confidence a defect is `unsure` rather than `defect`.",
    )
    max_wrong_class_rate: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="The share of images called one defect that may be of another class; a class that "
        "had more among the held-out images is believed from a higher confidence on.",
    )
    max_missed_defect_rate: float = Field(
        default=0.005, gt=0, lt=1, description="The share of defects that may pass unseen, at most."
    )


class Retention(Table):
    archive_days: int = Field(
        default=0,
        ge=0,
        le=_MOST_DAYS,
        description="Archived images are deleted after so many days; 0 for never.",
    )
    quarantine_days: int = Field(
        default=0, ge=0, le=_MOST_DAYS, description="The same for images in quarantine."
    )
    rows_days: int = Field(
        default=0,
        ge=0,
        le=_MOST_DAYS,
        description="Records of images neither labelled nor in review are deleted after so many "
        "days, with their files; 0 for never. Defect rates stay.",
    )
    make_room_below_gb: float = Field(
        default=10.0,
        ge=0,
        description="With less free space, the oldest archived, then quarantined images are "
        "deleted; 0 for never.",
    )
    pause_below_gb: float = Field(
        default=1.0, ge=0, description="With less free space, images wait in their drop folders."
    )

    @field_validator("pause_below_gb")
    @classmethod
    def _makes_room_before_it_pauses(cls, pause: float, info: ValidationInfo) -> float:
        make_room = info.data.get("make_room_below_gb")
        if make_room and pause > make_room:
            raise refuse(
                f"pause_below_gb ({pause:g}) is more than make_room_below_gb ({make_room:g}): the line"
                " would stand before old images make room",
                "Make pause_below_gb at most make_room_below_gb, or that 0 to delete nothing.",
                also="make_room_below_gb",
            )
        return pause


class Retraining(Table):
    schedule: CronSchedule = Field(
        default="0 3 * * *", description="When to retrain, as cron writes it, in time_zone."
    )
    min_new_labels: int = Field(
        default=50, ge=1, description="Retraining waits for this many new labels."
    )
    min_class_labels: int = Field(
        default=10, ge=1, description="A class with fewer labelled images is left out of training."
    )
    keep_versions: int = Field(
        default=5,
        ge=2,
        description="How many models are kept; never fewer than what serves and the one before.",
    )
    base_set: AbsolutePath | None = Field(
        default=None, description="The manifest of images that every retraining also learns from."
    )
    runner: Literal["auto", "spawn", "systemd"] = Field(
        default="auto", description="Who runs it: the daemon itself, or a unit that systemd starts."
    )
    threads: int = Field(default=1, ge=1, le=64, description="Of the processor, for retraining.")
    max_memory_gb: float = Field(
        default=8.0, gt=0, le=1e6, description="Memory that a retraining may take at most."
    )


class Gate(Table):
    max_extra_missed: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="By how much more of the defects a new model may let pass than the current one.",
    )
    max_reference_loss: float = Field(
        default=0.005,
        ge=0,
        lt=1,
        description="How much worse a new model may name the six defects it was shipped with.",
    )
    max_calibration_error: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="How far a new model's confidences may be from what they say.",
    )
    max_times_slower: float = Field(
        default=2.0,
        ge=1,
        description="How many times the time for an image a new model may take by itself.",
    )
    shadow_share: float = Field(
        default=0.0,
        ge=0,
        le=0.1,
        description="The share of images that the model before a new one judges too; 0 for none.",
    )


class Reports(Table):
    shifts: ShiftTimes = Field(
        default=("06:00", "14:00", "22:00"),
        description="When each shift of a day begins, in time_zone.",
    )

    @property
    def starts(self) -> tuple[time, ...]:
        return tuple(time.fromisoformat(each) for each in self.shifts)


def _entries(value: object, info: ValidationInfo) -> object:
    if isinstance(value, list | tuple):
        return tuple(value)
    raise refuse(
        f"must be a list of {info.field_name}, but is {shown(value)}",
        f"Begin each of them with a line [[{info.field_name}]], in double square brackets.",
    )


class Settings(Table):
    """The whole configuration."""

    state_dir: AbsolutePath = Field(
        default=Path("/var/lib/millwatch"),
        description="Where Millwatch keeps its database, models, archive and quarantine.",
    )
    database_url: DatabaseUrl | None = Field(
        default=None, description="The database; sqlite:///<state_dir>/millwatch.db unless set."
    )
    time_zone: TimeZone = Field(
        default="UTC",
        description="The zone of shifts and of times on the page; the database is UTC.",
    )
    cameras: Annotated[tuple[Camera, ...], BeforeValidator(_entries)] = Field(
        default=(), description="The cameras, each with its drop folder."
    )
    intake: Intake = Field(default=Intake(), description="When a file is a complete image.")
    review: Review = Field(default=Review(), description="Where people look and label.")
    batching: Batching = Field(default=Batching(), description="How images are grouped.")
    model: Model = Field(default=Model(), description="Which network judges, and on what.")
    policy: Policy = Field(default=Policy(), description="What may pass, and what then.")
    retention: Retention = Field(default=Retention(), description="What is kept, and for how long.")
    retraining: Retraining = Field(default=Retraining(), description="When a new model is made.")
    drift: Drift = Field(default=Drift(), description="When a camera's images have changed.")
    gate: Gate = Field(default=Gate(), description="When a new model may serve by itself.")
    reports: Reports = Field(default=Reports(), description="How reports divide a day.")
    web: Web = Field(default=Web(), description="The review page.")

    alarms: Annotated[tuple[Alarm, ...], BeforeValidator(_entries)] = Field(
        default=(), description="What is told to whom; nobody is called without one."
    )
    mail: Mail = Field(default=Mail(), description="The mail server of alarms.")
    mqtt: Mqtt = Field(default=Mqtt(), description="Logging in to MQTT brokers.")
    webhook: Webhook = Field(default=Webhook(), description="What webhooks are sent along.")

    @property
    def database_file(self) -> Path:
        if self.database_url is None:
            return self.state_dir / "millwatch.db"
        return Path(self.database_url.removeprefix("sqlite:///"))

    @property
    def review_folder(self) -> Path:
        return self.review.folder or self.state_dir / "review"

    @property
    def archive_folder(self) -> Path:
        return self.state_dir / "archive"

    @property
    def quarantine_folder(self) -> Path:
        return self.state_dir / "quarantine"
