"""The JSON that the API speaks."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from daemon.store.viewing import Viewed
from daemon.web.words import why


class Document(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", from_attributes=True, protected_namespaces=()
    )


class Trouble(Document):
    """Why a request was not done."""

    detail: str


class Inspection(Document):
    """One image and what was found; as the view `inspections`, and why in words."""

    id: int
    camera: str
    filename: str = Field(description=r"As delivered; bytes that are not UTF-8 as \xNN.")
    sha256: str
    captured_at: str
    recorded_at: str
    verdict: str = Field(description="pass, defect, unsure or unreadable.")
    reason: str
    why: str = Field(description="The reason in a sentence.")
    predicted_class: str | None
    confidence: float | None
    novelty: float | None
    model_version: str | None
    notes: str | None

    @classmethod
    def of(cls, viewed: Viewed) -> Self:
        return cls(
            why=why(viewed.verdict, viewed.reason, viewed.predicted_class, viewed.confidence),
            **{name: getattr(viewed, name) for name in cls.model_fields if name != "why"},
        )


class Waiting(Document):
    """An upload that is not judged yet."""

    location: str = Field(description="Where to ask for it.")


class Done(Document):
    """What was asked for is done."""


class Progress(Document):
    """How far a training has come.

    Attributes:
        of: what `done` counts up to.
    """

    model_config = ConfigDict(extra="ignore")

    run: str
    stage: str
    done: float
    of: float


class ModelDocument(Document):
    """One model; as the view `model_versions`."""

    version: str
    status: str = Field(description="candidate, current, retired, rejected or needs_a_person.")
    created_at: str
    promoted_at: str | None
    trained_on: str
    metrics: dict[str, Any]
    reason: str | None


class InReview(Inspection):
    """An image that waits for a label."""

    seen: int = Field(description="Send it with the label: 0, or the id of the label in force.")
    missing: bool = Field(description="Whether its file is no longer where it was put.")
    captured_local: str = Field(description="captured_at in the plant's time zone.")


class Queue(Document):
    """A part of what waits for a label, most instructive first."""

    waiting: int = Field(description="How many there are in all; 10,000 where there are more.")
    images: list[InReview]
    next: str | None = Field(description="Send it as `after` to go on.")


class Classes(Document):
    classes: list[str]


class NewLabel(Document):
    """A person's decision."""

    label: str = Field(max_length=64)
    seen: int = Field(ge=0, lt=1 << 63, description="The label in force that the person saw.")


class Undo(Document):
    seen: int = Field(ge=0, lt=1 << 63, description="The label to take back.")


class SeenImage(Document):
    id: int = Field(ge=1, lt=1 << 63)
    seen: int = Field(ge=0, lt=1 << 63)


class ManyLabels(Document):
    """One decision for several images."""

    label: str = Field(max_length=64)
    images: list[SeenImage] = Field(max_length=500)


class ManyUndos(Document):
    """`seen` is of each image the label to take back."""

    images: list[SeenImage] = Field(max_length=500)


class Given(Document):
    id: int
    label_id: int = Field(description="The new label: send it as `seen` to change or undo it.")


class Refused(Document):
    id: int
    detail: str


class ManyGiven(Document):
    """Each of several images has its own end: some may have changed meanwhile."""

    done: list[Given]
    refused: list[Refused]


class ManyTakenBack(Document):
    """The images that wait again, and those that do not."""

    done: list[int]
    refused: list[Refused]


class Label(Document):
    """A label that an image has or had."""

    label_id: int
    label: str
    labelled_by: str
    labelled_at: str
    undone_at: str | None


class Labels(Document):
    in_force: Label | None
    history: list[Label]
