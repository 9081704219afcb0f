"""Everything that an installer can get wrong, one check after the other."""

import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from config.loading import CONFIG_VARIABLE, load_settings
from config.problems import ConfigurationError
from config.settings import Settings
from config.text import counted
from daemon.doctor.checked import AS_WHOM, Checked, bad, good
from daemon.doctor.folders import silent_folders
from daemon.doctor.machine import clock_checks, gpu_check, memory_check, processor_check
from daemon.doctor.page import port_check
from daemon.doctor.storage import database_checks, disk_checks, last_recorded, model_checks
from daemon.doctor.trying import tried, tried_as
from daemon.doctor.unit import UNIT_FOLDERS, installed_unit, unit_checks
from daemon.process.control import NoAnswerError, NoDaemonError, ask


def examine(
    config: Path | None,
    environ: Mapping[str, str],
    now: datetime,
    *,
    unit_folders: Sequence[Path] = UNIT_FOLDERS,
) -> Iterator[Checked]:
    """Every check, as it is done. Nothing is changed; scratch files are removed again."""
    if config is None and environ.get(CONFIG_VARIABLE):
        config = Path(environ[CONFIG_VARIABLE])
    config = config and config.absolute()
    try:
        settings = load_settings(config, environ)
    except ConfigurationError as error:
        for each in error.problems:
            yield bad("configuration", str(each).partition("\n")[0], each.remedy)
        return
    user = _service_user(settings, unit_folders)
    if os.geteuid() == 0 and user != "root":
        yield from tried_as(user, config, environ)
    else:
        yield from tried(config, environ, now)
    running = list(_daemon(settings))
    yield from running
    yield from database_checks(settings)
    yield from disk_checks(settings, silent_folders(settings))
    yield from clock_checks(settings, now, last_recorded=last_recorded(settings))
    yield processor_check()
    yield memory_check()
    loaded, runtime = model_checks(settings)
    yield from loaded
    yield gpu_check(runtime=runtime, wanted=settings.model.runtime)
    yield port_check(settings, daemon_runs=running[0].check == "service: running")
    yield from unit_checks(settings, config, unit_folders, has_gpu=Path("/dev/nvidia0").exists())


def _service_user(settings: Settings, unit_folders: Sequence[Path]) -> str:
    """Whom the service runs as: by the unit, else by the owner of what it wrote."""
    unit = installed_unit(unit_folders)
    if unit is not None:
        return unit.user
    try:
        return pwd.getpwuid(settings.state_dir.stat().st_uid).pw_name
    except (OSError, KeyError):
        return "root"


def _daemon(settings: Settings) -> Iterator[Checked]:
    """What a running daemon says is wrong."""
    try:
        status = ask(settings.state_dir, "status")
    except NoAnswerError as error:
        yield bad("service", str(error), AS_WHOM)
    except NoDaemonError:
        yield good("service", "does not run now")
    else:
        since, images = status["since"], sum(status["recorded"].values())
        yield good("service: running", f"since {since}, {counted(images, 'image')} recorded")
        for name, trouble in status["troubles"].items():
            yield bad(f"service: {name}", trouble, "As it says.")
