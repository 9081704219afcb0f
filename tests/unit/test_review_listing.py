"""The listing of the review folder: what is new, where some have gone, and nothing read twice."""

import os
import tracemalloc
from pathlib import Path

import pytest
from filesystems import obeying_permissions

from daemon.review.listing import Listing

LONG_AGO = 1_000_000_000 * 10**9


def listing(root: Path) -> Listing:
    return Listing((root,), lambda name: name.startswith("."))


def lie(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def rest(root: Path) -> None:
    """As if nothing had changed for long."""
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(folder, ns=(LONG_AGO, LONG_AGO))


def test_at_first_all_came_then_only_what_is_new_and_where_some_have_gone(tmp_path: Path) -> None:
    first, deep = lie(tmp_path / "a"), lie(tmp_path / "x/y/b")
    lie(tmp_path / ".hidden")
    lie(tmp_path / ".trash/c")
    look = listing(tmp_path)
    assert set(look.changes(now=0.0).came) == {first, deep}
    again = look.changes(now=1.0)
    assert (again.came, again.lost, again.failed) == ([], [], [])
    new = lie(tmp_path / "x/d")
    first.unlink()
    changes = look.changes(now=2.0)
    assert (changes.came, changes.lost) == ([new], [tmp_path])
    (tmp_path / "x").rename(tmp_path / "z")
    changes = look.changes(now=3.0)
    assert set(changes.came) == {tmp_path / "z/d", tmp_path / "z/y/b"}
    assert set(changes.lost) == {tmp_path / "x", tmp_path / "x/y"}


def test_what_the_daemon_put_there_itself_is_no_news_and_nothing_else_is_passed_over(
    tmp_path: Path,
) -> None:
    look = listing(tmp_path)
    lie(tmp_path / "x/known")
    look.changes(now=0.0)
    ours, first_of_a_day = tmp_path / "x/ours", tmp_path / "y/ours"
    gone_again, elsewhere = tmp_path / "x/gone again", tmp_path / "archive/ours"
    strangers = {lie(tmp_path / "x/stranger"), lie(tmp_path / "z/ours")}
    look.expect([lie(ours), lie(first_of_a_day), gone_again, elsewhere])
    assert set(look.changes(now=1.0).came) == strangers
    assert look.changes(now=1000.0).came == []
    assert look.changes(now=1001.0).came == []
    lie(gone_again)
    assert look.changes(now=1002.0).came == [gone_again]
    ours.unlink()
    assert look.changes(now=1003.0).lost == [ours.parent]
    assert look.changes(now=1004.0).came == [], "it is not waited for any more"
    lie(ours)
    assert look.changes(now=1005.0).came == [ours]


def test_a_folder_whose_time_has_not_changed_is_not_listed_but_for_every_few_minutes(
    tmp_path: Path,
) -> None:
    lie(tmp_path / "x/a")
    rest(tmp_path)
    look = listing(tmp_path)
    look.changes(now=0.0)
    unseen = lie(tmp_path / "x/b")
    rest(tmp_path)
    assert look.changes(now=100.0).came == []
    assert look.changes(now=1000.0).came == [unseen]


def test_links_are_names_and_lead_nowhere(tmp_path: Path) -> None:
    lie(tmp_path / "elsewhere/a")
    root = tmp_path / "root"
    root.mkdir()
    link = root / "link"
    link.symlink_to(tmp_path / "elsewhere")
    assert listing(root).changes(now=0.0).came == [link]


def test_a_folder_that_cannot_be_listed_is_told_and_nothing_in_it_is_taken_for_gone(
    tmp_path: Path,
) -> None:
    kept, other = lie(tmp_path / "shut/a"), lie(tmp_path / "open/b")
    look = listing(tmp_path)
    assert set(look.changes(now=0.0).came) == {kept, other}
    kept.parent.chmod(0)
    new = lie(tmp_path / "open/c")
    with obeying_permissions():
        changes = look.changes(now=1.0)
    kept.parent.chmod(0o755)
    assert (changes.came, changes.lost) == ([new], [])
    ((folder, error),) = changes.failed
    assert folder == kept.parent
    assert isinstance(error, PermissionError)


def test_a_root_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert listing(tmp_path / "none").changes(now=0.0).came == []
    with pytest.raises(FileNotFoundError):
        (tmp_path / "none").stat()


def test_of_thousands_each_that_comes_is_told_once_and_each_folder_that_loses_one(
    tmp_path: Path,
) -> None:
    lain = [lie(tmp_path / f"{folder}/{number}") for folder in "ab" for number in range(1000)]
    look = listing(tmp_path)
    assert sorted(look.changes(now=0.0).came) == sorted(lain)
    new = [lie(tmp_path / f"a/new {number}") for number in range(300)]
    lain[-1].unlink()
    changes = look.changes(now=1.0)
    assert (sorted(changes.came), changes.lost) == (sorted(new), [tmp_path / "b"])
    again = look.changes(now=2.0)
    assert (again.came, again.lost) == ([], [])
    assert look.changes(now=3.0).came == []
    assert lie(lain[-1]) == lain[-1]
    assert look.changes(now=4.0).came == [lain[-1]]


def test_a_listing_of_many_names_stays_small(tmp_path: Path) -> None:
    for number in range(20_000):
        lie(tmp_path / f"camera__2026-11-26T00-00-00Z__{number}__a name as long as they are.jpg")
    look = listing(tmp_path)
    tracemalloc.start()
    try:
        assert len(look.changes(now=0.0).came) == 20_000
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20_000 * 24
