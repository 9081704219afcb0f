"""Alarms of a whole daemon, and what its commands tell of them."""

import json
from datetime import timedelta
from pathlib import Path

from builders import Station, surface_file, wait_until
from commands import Millwatch
from receivers import WebServer, listening

from daemon.clock import now_utc


def test_a_daemon_tells_what_begins_and_ends_though_a_receiver_hangs(
    tmp_path: Path, model: Path, millwatch: Millwatch, web: WebServer
) -> None:
    hung = WebServer()
    hung.hold.clear()
    alarm = f'[[alarms]]\nname = "office"\nwhen = "trouble"\nto = ["{web.url}/a"]\n'
    alarm += "min_interval_minutes = 0\ntroubles = ['camera *']\n"
    alarm += f'[[alarms]]\nname = "other"\nwhen = "defects"\nto = ["{hung.url}/b"]\n'
    station = Station(root=tmp_path, model=model, extra=alarm)
    with listening(hung), station.running():
        station.folder("top-1").rmdir()
        wait_until(lambda: web.posts)
        assert "cannot be read" in web.posts[0]["began"][0]
        station.folder("top-1").mkdir()
        for seed in range(20):
            station.drop("bottom-1", f"{seed}.jpg", surface_file("patches", seed=seed))
        station.wait_for_images(20)
        wait_until(lambda: hung.posts, what="the second alarm is being sent")
        station.drop("top-1", "meanwhile.jpg", surface_file(seed=50))
        station.wait_for_images(21)
        hung.hold.set()
        tried = millwatch("alarms", "test", "office", "--config", station.config)
        assert tried.out == f"office to {web.url}/…: delivered\n"
        assert (tried.status, web.posts[-1]["test"]) == (0, True)
        listed = millwatch("alarms", "list", "--json", "--config", station.config)
        office, other = json.loads(listed.out)
        assert (office["to"], office["waiting"]) == ([f"{web.url}/…"], 0)
        assert list(office["holds"].values()) == web.posts[0]["began"]
        assert list(other["holds"]) == ["bottom-1"]
        shown = millwatch("alarms", "list", "--config", station.config).out
        assert f"{web.url}/…" in shown, "an address is told whole, not cut"
        written = station.config.read_text()
        station.config.write_text(written + alarm.replace('"office"', '"night"'))
        for named in ([], ["night"]):
            unknown_to_it = millwatch("alarms", "test", *named, "--config", station.config)
            assert unknown_to_it.status == 1
            assert "was started before that was edited: `systemctl restart" in unknown_to_it.err
        station.config.write_text(written)
        web.hold.clear()
        told = len(web.posts)
        station.folder("bottom-1").rmdir()
        wait_until(lambda: len(web.posts) > told, what="another message is being sent")
    waiting = "SELECT count(*) FROM alarm_message WHERE state = 'waiting'"
    assert station.query(waiting) == [(1,)], "it is sent after the next start"
    web.hold.set()
    alone = millwatch("alarms", "test", "--config", station.config)
    assert alone.status == 1
    assert f"office to {web.url}/…: delivered" in alone.out
    assert f"other to {hung.url}/…: NOT delivered: nothing listens there" in alone.out
    assert "1 of 2 test messages not delivered" in alone.err
    unknown = millwatch("alarms", "test", "offce", "--config", station.config)
    assert "no alarm 'offce' in the configuration" in unknown.err


def test_a_camera_that_was_told_to_be_silent_is_so_after_a_restart_until_it_delivers(
    tmp_path: Path, model: Path, web: WebServer
) -> None:
    alarm = f'[[alarms]]\nname = "office"\nwhen = "silent"\nto = ["{web.url}/a"]\n'
    station = Station(root=tmp_path, model=model, extra=alarm)

    def silent_after(**minutes: float) -> None:
        station.write_config()
        text = station.config.read_text()
        for camera, after in minutes.items():
            line = f'name = "{camera}"\n'
            text = text.replace(line, f"{line}silent_after_minutes = {after}\n")
        station.config.write_text(text)

    silent_after(**{"top-1": 0.01})
    station.drop_surfaces(2)
    with station.running():
        station.wait_for_images(2)
        wait_until(lambda: web.posts, what="it is told that top-1 is silent")
    silent_after(**{"top-1": 60, "bottom-1": 60})
    with station.running(clock=lambda: now_utc() + timedelta(hours=3)):
        # Of bottom-1 nobody was told: the line may have rested with the service.
        told = wait_until(station.troubles, what="a silence is told")
        assert told.keys() == {"silent top-1"}
        assert "has delivered no image for 180 minutes" in told["silent top-1"]
        station.drop("top-1", "at-last.jpg", surface_file(seed=9))
        wait_until(lambda: not station.troubles(), what="it is over")
