"""The JSON that the API speaks."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from daemon.store.versions import ModelVersion
from daemon.store.viewing import Viewed
from daemon.web.words import why


class Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


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

    @classmethod
    def of(cls, version: ModelVersion) -> Self:
        return cls(**{name: getattr(version, name) for name in cls.model_fields})
