import structlog

from daemon.process.health import Health


def test_a_trouble_told_often_is_logged_once_and_its_end_once() -> None:
    health = Health()
    with structlog.testing.capture_logs() as logs:
        for number in range(5):
            health.trouble("disk", f"{number} bytes left")
        assert health.troubles() == {"disk": "4 bytes left"}
        for _ in range(5):
            health.mended("disk")
    assert [entry["event"] for entry in logs] == ["degraded", "mended"]
    assert health.troubles() == {}


def test_what_was_never_wrong_is_not_mended() -> None:
    with structlog.testing.capture_logs() as logs:
        Health().mended("disk")
    assert logs == []
