import os
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from daemon.names import from_text, to_text

NAMES = st.binary(min_size=1, max_size=255).map(
    lambda raw: raw.replace(b"\0", b"x").replace(b"/", b"_")
)
# What could be mistaken for an escape is not met by chance.
TRICKY = st.lists(
    st.sampled_from([b"\\", b"\\x", b"\\x5c", b"\\xff", b"5c", b"\xff", b"\xc3", b"\xa9", b"e9"]),
    min_size=1,
).map(b"".join)


@given(NAMES | TRICKY)
@example(b"\\x5cx41")
@example(b"\\\xff")
def test_every_file_name_comes_back_as_the_same_bytes(raw: bytes) -> None:
    assert os.fsencode(from_text(to_text(os.fsdecode(raw)))) == raw


@given(NAMES | TRICKY)
def test_the_text_of_a_name_can_be_stored_and_sent_anywhere(raw: bytes) -> None:
    to_text(os.fsdecode(raw)).encode("utf-8")


@given(st.text(st.characters(exclude_characters="\0/\\", exclude_categories=["Cs"]), min_size=1))
def test_a_name_in_utf_8_is_its_own_text(name: str) -> None:
    assert to_text(name) == name
    assert from_text(name) == name


@given(NAMES | TRICKY, NAMES | TRICKY)
def test_two_names_never_have_one_text(one: bytes, other: bytes) -> None:
    assert (to_text(os.fsdecode(one)) == to_text(os.fsdecode(other))) == (one == other)


def test_a_byte_that_is_not_utf_8_is_shown_as_its_number() -> None:
    assert to_text(os.fsdecode(b"caf\xe9.jpg")) == r"caf\xe9.jpg"
    assert to_text(r"caf\xe9.jpg") == r"caf\x5cxe9.jpg"


def test_a_path_keeps_its_folders() -> None:
    assert to_text(Path("/srv") / os.fsdecode(b"\xff") / "a.jpg") == r"/srv/\xff/a.jpg"
