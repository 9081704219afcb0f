"""`python -m daemon.doctor.trying`: what only the service's own user can find out. Prints JSON."""

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from config.folders import user_in_words
from config.loading import check_settings
from config.text import percent
from daemon.checking import (
    alarm_problems,
    camera_problems,
    database_problems,
    policy_problems,
    state_problems,
)
from daemon.doctor.checked import Checked, State, bad, good, remark
from daemon.doctor.folders import camera_checks, silent_folders
from daemon.doctor.page import certificate_checks

_SECONDS: Final = 300.0
_MANY_MISSED: Final = 0.05
"""A promise of one defect in twenty is none that a plant wants: a percentage was meant."""


def tried(config: Path | None, environ: Mapping[str, str], now: datetime) -> list[Checked]:
    """The checks of everything that permissions decide, as the user of this process."""
    # As `millwatch check`, but for the model, which is loaded anyway.
    further = (camera_problems, policy_problems, alarm_problems, state_problems, database_problems)
    settings, problems = check_settings(config, environ, further=further)
    found = [bad("configuration", str(each).partition("\n")[0], each.remedy) for each in problems]
    if not problems:
        names = ", ".join(camera.name for camera in settings.cameras) if settings else ""
        found.append(
            good("configuration", f"keys, folders and database are good; cameras: {names}")
        )
    if settings is None:
        return found
    missed = settings.policy.max_missed_defect_rate
    if missed > _MANY_MISSED:
        allowed = f"policy.max_missed_defect_rate = {missed:g} lets {percent(missed, 0)} of the defects pass"
        step = f"It is a share of one. If {missed:g} % are meant, write {missed / 100:g}."
        found.append(remark("policy", allowed, step))
    silent = silent_folders(settings)
    return [*found, *camera_checks(settings, now, silent), *certificate_checks(settings, now)]


def tried_as(
    user: str, config: Path | None, environ: Mapping[str, str], *, seconds: float = _SECONDS
) -> list[Checked]:
    """The same as another user; only root can ask for that."""
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        step = f"Make it (`adduser --system --group {user}`), or correct User= in the unit."
        return [bad("user", f"there is no user {user}, whom the service is to run as", step)]
    command = [sys.executable, "-m", "daemon.doctor.trying", *([str(config)] if config else [])]
    step = (
        f"Let the user {user} read and enter the folders of this program ({sys.prefix}) and of the "
        "configuration."
    )
    try:
        done = subprocess.run(  # noqa: S603 -- this program
            command,
            env={**environ, "HOME": account.pw_dir},
            cwd="/",
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=os.getgrouplist(user, account.pw_gid),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        found = f"a folder that the configuration names gives no answer within {seconds:g} s"
        return [bad("folders", found, "See whether the server of each share there is up.")]
    except OSError as error:
        return [bad("user", f"the user {user} cannot run Millwatch: {error}", step)]
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return [bad("user", f"the user {user} cannot run Millwatch: {why}", step)]
    documents = json.loads(done.stdout.splitlines()[-1])
    return [Checked(**{**each, "state": State(each["state"])}) for each in documents]


def _main() -> None:
    config = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    results = tried(config, os.environ, datetime.now(UTC))
    results.insert(0, good("user", f"checked as {user_in_words()}, whom the service runs as"))
    sys.stdout.write(json.dumps([asdict(each) for each in results]) + "\n")


if __name__ == "__main__":
    _main()
