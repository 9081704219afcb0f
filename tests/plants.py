"""A plant and its configuration, for tests of what is wrong with one."""

from pathlib import Path

from config.loading import check_settings
from config.problems import Problem
from config.settings import Camera, Review, Settings

NOBODY = 65534


def settings(plant: Path, *folders: str, review: str = "review", state: str = "state") -> Settings:
    return Settings(
        state_dir=plant / state,
        review=Review(folder=plant / review),
        cameras=tuple(
            Camera(name=f"c{number}", folder=plant / folder)
            for number, folder in enumerate(folders, start=1)
        ),
    )


def check(plant: Path, text: str, environ: dict[str, str] | None = None) -> list[Problem]:
    """Check a file in which $P stands for the plant's folder."""
    file = plant / "millwatch.toml"
    file.write_text(text.replace("$P", str(plant)))
    return check_settings(file, environ or {})[1]


def only(problems: list[Problem]) -> Problem:
    (problem,) = problems
    return problem


HEAD = 'state_dir = "$P/state"\nreview.folder = "$P/review"\n'
