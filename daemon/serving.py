"""The model that the configuration asks for."""

from config.settings import Settings
from models.checkpoint import CheckpointError
from models.decision import Policy
from models.registry import PRETRAINED, Model, load_model
from models.runtimes.protocol import RuntimeUnavailableError


class ServingModelError(Exception):
    """The configured model cannot be served; the message says why and what to do."""


def load_serving_model(settings: Settings) -> Model:
    """Raises ServingModelError."""
    policy = Policy(
        normal_classes=settings.policy.normal_classes,
        max_missed_defect_rate=settings.policy.max_missed_defect_rate,
        min_defect_confidence=settings.policy.min_defect_confidence,
    )
    folder = settings.model.folder or PRETRAINED
    try:
        return load_model(folder, policy=policy, runtime=settings.model.runtime)
    except (CheckpointError, RuntimeUnavailableError) as error:
        raise ServingModelError(str(error)) from error
