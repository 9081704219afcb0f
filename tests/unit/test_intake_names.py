import pytest

from daemon.intake.names import NameRule

RULE = NameRule(
    extensions=(".jpg", ".bmp"),
    ignore=("*.tmp", "*.part", ".*", "Thumbs.db", "desktop.ini", "@eaDir", "lost+found"),
)


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg",
        "A.JPG",
        "b.Bmp",
        "day/shift/a.jpg",
        "a b.jpg",
        "a\n.jpg",
        "\udcff.jpg",
        "x.jpg/y.jpg",
    ],
)
def test_what_is_an_image(name: str) -> None:
    assert RULE.is_image(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.txt",
        "jpg",
        ".jpg",
        ".a.jpg",
        "a.jpg.tmp",
        "a.jpg.part",
        "Thumbs.db",
        "@eaDir/a.jpg",
        "lost+found/a.jpg",
        ".day/a.jpg",
        "day.part/a.jpg",
        ".123-456.leaving",
    ],
)
def test_what_is_none(name: str) -> None:
    assert not RULE.is_image(name)
