from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import (
    assert_tallies_agree,
    finding,
    nanoseconds,
    open_store,
    record,
    settle,
)

from daemon.store import images
from daemon.store.viewing import all_images
from daemon.values import Progress

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["record", "withdraw", "moved", "unseen", "gone"]),
        st.integers(0, 5),
        st.sampled_from(["pass", "defect", "unsure", "unreadable"]),
        st.sampled_from(["2026-03-01T09:59:59", "2026-03-01T10:00:00", "2026-03-02T00:00:00"]),
    ),
    max_size=12,
)


@settings(max_examples=25)
@given(steps=STEPS)
def test_the_kept_counts_are_those_of_the_images_whatever_happened(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, str, str]],
) -> None:
    store = open_store(tmp_path_factory.mktemp("counts"))
    try:
        for deed, number, verdict, moment in steps:
            pending = images.pending(store)
            mine = [i for i in pending if i.delivery.inode == number]
            if deed == "record":
                captured = nanoseconds(moment) + number
                record(store, finding(number, verdict, mtime_ns=captured), finding(number, verdict))
            elif deed == "withdraw":
                images.withdraw(store, mine)
            else:
                settle(store, *mine, progress=Progress(deed))
            assert_tallies_agree(store)
        verdicts = Counter(each.verdict for each in all_images(store))
        assert images.count_by_verdict(store) == verdicts
    finally:
        store.close()
