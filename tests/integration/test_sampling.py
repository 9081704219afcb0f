"""What passed and was drawn goes to review through the whole journey, the same after a restart."""

import shutil
from pathlib import Path

from builders import Station, surface_file
from composed import by_hand
from reviewed import looking, move, paths, station_of

from daemon.store.review_files import Problem, conflicts
from daemon.store.sampled import missed_defects
from daemon.store.spans import Span


def judged(root: Path, model: Path, *, share: float, on_pass: str) -> dict[str, tuple[str, str]]:
    """The reason, and the folder that it went to, of each image that passed."""
    station = Station(
        root=root,
        model=model,
        cameras=("top-1",),
        tables={
            "review": {"sample_passed": share},
            "policy": {"max_missed_defect_rate": 0.5, "on_pass": on_pass},
        },
    )
    with by_hand(station.settings()) as line:
        for number in range(8):
            station.drop("top-1", f"{number}.jpg", surface_file("no_defect", seed=number))
        line.work_until(lambda: station.count() == 8)
    rows = station.query("SELECT filename, reason, path FROM inspections WHERE verdict = 'pass'")
    assert rows
    homes = {"review": station.review / "to_check/no_defect", "drop": station.folder("top-1")}
    homes["archive"] = station.state_dir / "archive"
    return {
        name: (
            reason,
            next((each for each, home in homes.items() if path and home in Path(path).parents), ""),
        )
        for name, reason, path in rows
    }


def test_what_is_drawn_goes_to_review_and_what_is_not_goes_where_the_policy_says(
    tmp_path: Path, commissioned_model: Path
) -> None:
    all_drawn = judged(tmp_path / "all", commissioned_model, share=1.0, on_pass="delete")  # noqa: S106
    assert set(all_drawn.values()) == {("sample", "review")}
    none_drawn = judged(tmp_path / "none", commissioned_model, share=0.0, on_pass="delete")  # noqa: S106
    assert set(none_drawn.values()) == {("confident", "")}
    left = judged(tmp_path / "left", commissioned_model, share=1.0, on_pass="leave")  # noqa: S106
    assert set(left.values()) == {("confident", "drop")}


def test_a_label_of_the_sample_counts_also_when_its_file_was_cleared_away_and_no_contradiction_does(
    tmp_path: Path,
) -> None:
    four = range(1, 5)
    reasons = dict.fromkeys(four, "sample")
    station = station_of(tmp_path, dict.fromkeys(four, "pass"), reasons=reasons)
    labelled = station.review / "labelled"

    with looking(station) as line:

        def found() -> tuple[int, int, list[Problem]]:
            line.look()
            told = missed_defects(line.database, Span(), normal_classes=("no_defect",))
            return told.labelled, told.missed, [each.problem for each in conflicts(line.database)]

        for number, path in paths(station).items():
            move(path, labelled / ("no_defect" if number < 4 else "scratches") / path.name)
        assert found() == (4, 1, [])
        for path in (labelled / "no_defect").iterdir():
            path.unlink()
        assert found() == (4, 1, [Problem.MISSING] * 3)
        (defect,) = (labelled / "scratches").iterdir()
        (labelled / "patches").mkdir()
        shutil.copy2(defect, labelled / "patches")
        assert found()[:2] == (3, 0)
