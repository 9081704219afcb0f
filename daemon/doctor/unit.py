"""The systemd unit, where one is installed: whose service it is, and whether it knows the configuration."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config.settings import Settings
from daemon.doctor.checked import Checked, bad, good, remark
from daemon.names import to_text
from daemon.systemd.units import UnitError, unfit

UNIT_FOLDERS: Final = tuple(
    Path(each) for each in ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
)
_NAME: Final = "millwatch.service"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The unit `millwatch.service` as systemd would read it.

    Attributes:
        user: whom it runs as; "root" where it does not say.
        config: the file that it names; None without one.
    """

    path: Path
    user: str
    config: Path | None
    sees_gpu: bool


def installed_unit(folders: Sequence[Path] = UNIT_FOLDERS) -> Installed | None:
    """None where none is installed, or it cannot be read."""
    path = next((each / _NAME for each in folders if (each / _NAME).is_file()), None)
    if path is None:
        return None
    texts = []
    with suppress(OSError):
        texts.append(path.read_text())
        for folder in reversed(folders):
            parts = sorted((folder / f"{_NAME}.d").glob("*.conf"))
            texts += [part.read_text() for part in parts]
    # As systemd.syntax(7) has it: a line may go on in the next, and blanks around "=" say nothing.
    text = "\n".join(texts).replace("\\\n", " ")
    last = dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(.*)$", text, flags=re.MULTILINE))
    return Installed(
        path=path,
        user=last.get("User") or "root",
        config=_config(last.get("ExecStart", "")),
        sees_gpu=last.get("PrivateDevices", "no") in ("no", "false", "0"),
    )


def _config(command: str) -> Path | None:
    found = re.search(r"""--config[ =]+("[^"]*"|'[^']*'|\S+)""", command)
    return Path(found[1].strip("\"'")) if found else None


def unit_checks(
    settings: Settings,
    config: Path | None,
    folders: Sequence[Path] = UNIT_FOLDERS,
    *,
    has_gpu: bool = False,
) -> Iterator[Checked]:
    """Whether the unit lets the service write where this configuration says."""
    unit = installed_unit(folders)
    if unit is None:
        yield good("systemd", "no unit millwatch.service is installed")
        return
    if unit.config is not None and (config is None or unit.config.resolve() != config.resolve()):
        step = f"`millwatch doctor --config {unit.config}` looks at that one."
        yield remark("systemd", f"the unit {unit.path} runs with {to_text(unit.config)}", step)
        return
    where = folders[0]
    step = (
        f"`millwatch-configure`, as root: it runs `millwatch check --write-unit {where}`, has systemd read "
        "that, and restarts the service"
    )
    try:
        wrong = unfit(settings, where)
    except UnitError as error:
        yield bad("systemd", str(error), "Then `millwatch-configure`, as root.")
        return
    if wrong:
        told = ", ".join(to_text(each) for each in wrong)
        found = (
            f"{told} not written from this configuration: the service may find folders read-only"
        )
        yield bad("systemd", found, step)
    else:
        yield good("systemd", f"{unit.path} and its drop-ins fit the configuration")
    if has_gpu and not unit.sees_gpu:
        found = "the service sees no device (PrivateDevices=yes), and there is a GPU"
        step = "`make install GPU=1`, then `systemctl restart millwatch`, if it is to judge there."
        yield remark("systemd: GPU", found, step)
