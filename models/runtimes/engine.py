"""OpenVINO, imported where it is used and without its telemetry."""

import importlib
import sys
from typing import Any

from models.runtimes.protocol import RuntimeUnavailableError


def silence_telemetry() -> None:
    """Make `openvino_telemetry` impossible to import, before what would import it is imported.

    It comes with OpenVINO and nncf, writes an id into the user's home and, in nncf, reports to
    Google Analytics unless told otherwise. Without it both fall back to a stub of their own.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # None forbids the import


def openvino() -> Any:
    """The module. Typed as Any: OpenVINO ships stubs for its binding and none for its operations.

    Raises:
        RuntimeUnavailableError: when OpenVINO is not installed or cannot be loaded here.
    """
    silence_telemetry()
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"OpenVINO cannot be loaded here ({error}); install Millwatch with its locked "
            'dependencies, or set model.runtime to "torch"'
        ) from error
