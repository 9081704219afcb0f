"""What passed and was drawn goes to review through the whole journey, the same after a restart."""

from pathlib import Path

from builders import Station, surface_file
from composed import by_hand


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
