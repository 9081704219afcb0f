"""The page of a running daemon: over TLS, with a port that was taken at first, and images pushed to it."""

import hashlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from builders import (
    Station,
    assert_every_image_accounted_for,
    surface_file,
    wait_until,
)
from commands import Done, Millwatch
from pages import HASH, PASSWORD
from pictures import png


@dataclass
class Served:
    """A station whose page is served over TLS."""

    station: Station
    port: int
    trouble: str
    client: httpx.Client


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[Served]:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with (Debian: apt install openssl)")
    root = tmp_path_factory.mktemp("served")
    certificate, key = _certificate(root)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        web = {"enabled": True, "port": port}
        web |= {"tls_certificate": str(certificate), "tls_key": str(key)}
        intake = {"max_pixels": 1_000_000, "max_bytes": 200_000, "give_up_seconds": 600.0}
        station = Station(root=root, model=model, tables={"web": web, "intake": intake})
        running = station.running()
        running.__enter__()
        try:
            trouble = wait_until(lambda: station.troubles().get("page"))
            station.drop_surfaces(1)  # judged as ever
            station.wait_for_images(1)
            taken.close()
            wait_until(lambda: "page" not in station.troubles())
            station.ask("users add", name="camera", role="label", password_hash=HASH, by="root")
            context = ssl.create_default_context(cafile=certificate)
            with httpx.Client(
                base_url=f"https://127.0.0.1:{port}", verify=context, auth=("camera", PASSWORD)
            ) as client:
                yield Served(station=station, port=port, trouble=trouble, client=client)
        finally:
            running.__exit__(None, None, None)


def _certificate(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "page.pem", folder / "page.key"
    request = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=line "
        "-addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [*request.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key


def push(served: Served, filename: str, data: bytes, **query: object) -> httpx.Response:
    asked = {"camera": "top-1", "filename": filename} | query
    return served.client.post(
        "/api/inspections",
        params=asked,  # type: ignore[arg-type] -- numbers too
        content=data,
        timeout=60,
    )


def remember(served: Served, filename: str, data: bytes) -> None:
    """An upload, as the station remembers deliveries."""
    served.station.expect("top-1", filename, data)


def test_a_port_in_use_is_told_and_the_line_is_judged_all_the_same(served: Served) -> None:
    assert "cannot be served on 127.0.0.1" in served.trouble
    assert "Address already in use" in served.trouble
    assert served.station.count() >= 1


def test_the_page_is_served_over_tls_and_not_without(served: Served) -> None:
    assert served.client.get("/login").status_code == 200
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{served.port}/login")


def test_a_pipe_as_the_key_is_told_and_not_waited_for(
    station: Station, unused_port: int, served: Served
) -> None:
    os.mkfifo(station.root / "page.key")
    web = served.station.tables["web"] | {"tls_key": str(station.root / "page.key")}
    station.tables["web"] = web | {"port": unused_port}
    station.write_config()
    with station.running():
        told = wait_until(lambda: station.troubles().get("page"), seconds=20)
    assert "it is not an ordinary file; see web.host, web.port, web.tls_certificate and" in told


def test_who_opens_the_page_as_soon_as_millwatch_runs_is_not_turned_away(
    station: Station, unused_port: int
) -> None:
    station.tables["web"] = {"enabled": True, "port": unused_port}
    station.write_config()
    with station.process():
        assert httpx.get(f"http://127.0.0.1:{unused_port}/login", timeout=60).status_code == 200


def test_a_pushed_image_goes_the_way_of_any_other(served: Served) -> None:
    data = surface_file("scratches", seed=7)
    answer = push(served, "frame 1.JPG", data)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    remember(served, found["filename"], data)
    assert found["verdict"] in ("defect", "unsure")
    assert found["filename"].startswith("frame-1__")
    assert found["filename"].endswith(".jpg")
    again = served.client.get(answer.headers["location"])
    assert again.json() == found
    served.station.wait_for_images(served.station.count())
    assert_every_image_accounted_for(served.station)


def test_who_does_not_wait_is_told_where_to_ask(served: Served) -> None:
    """Half a picture, which is not judged until its other half is there."""
    data = surface_file("patches", seed=8)
    answer = push(served, "later.jpg", data[:-700], wait_seconds=0)
    assert answer.status_code == 202
    location = answer.json()["location"]
    assert location == answer.headers["location"]
    assert served.client.get(location).status_code == 404
    (filename,) = parse_qs(urlsplit(location).query)["filename"]
    with (served.station.folder("top-1") / filename).open("ab") as file:
        file.write(data[-700:])
    found = wait_until(lambda: (a := served.client.get(location)).status_code == 200 and a).json()
    remember(served, filename, data)
    assert found["filename"] == filename
    assert found["sha256"] == hashlib.sha256(data).hexdigest()


@pytest.mark.fault(39)
def test_a_pushed_name_chooses_no_path(served: Served) -> None:
    for name in ("../../../etc/cron.d/x.jpg", "/etc/passwd.jpg", "..\\..\\x.jpg", ".hidden.jpg"):
        data = surface_file(seed=len(name))
        found = push(served, name, data).json()
        remember(served, found["filename"], data)
        assert "/" not in found["filename"]
        assert not found["filename"].startswith(".")
    for name in ("x.txt", "jpg", "x.jpg.part", "a" * 256 + ".jpg"):
        assert push(served, name, b"x").status_code in (409, 422)
    assert push(served, "a.jpg", b"x", camera="../top-1").status_code == 409


@pytest.mark.fault(39)
def test_an_upload_that_is_too_large_leaves_nothing_behind(served: Served) -> None:
    assert push(served, "large.jpg", bytes(200_001)).status_code == 413
    chunks = (bytes(50_000) for _ in range(5))
    answer = served.client.post(
        "/api/inspections", params={"camera": "top-1", "filename": "chunks.jpg"}, content=chunks
    )
    assert answer.status_code == 413
    assert list(served.station.folder("top-1").iterdir()) == []


@pytest.mark.fault(39)
def test_a_decompression_bomb_is_recorded_and_never_unpacked(served: Served) -> None:
    # 100 MB of black in 100 kB.
    data = png(10_000, 10_000, bits=8, colour=0, rows=bytes(10_001 * 10_000))
    found = push(served, "bomb.png", data).json()
    remember(served, found["filename"], data)
    assert (found["verdict"], found["reason"]) == ("unreadable", "too_many_pixels")
    picture = served.client.get(f"/api/inspections/{found['id']}/picture")
    assert picture.status_code == 404
    assert "quarantine" in picture.json()["detail"]


def test_users_are_added_and_removed_while_the_daemon_runs_and_while_it_does_not(
    served: Served, millwatch: Millwatch, station: Station
) -> None:
    def add(*arguments: str | Path, typed: str) -> Done:
        return millwatch("users", "add", *arguments, typed=f"{typed}\n")

    for each in (served.station, station):
        config = ("--config", each.config)
        added = add("Lena", "--role", "look", *config, typed=PASSWORD)
        assert added.status == 0, added.err
        listed = millwatch("users", "list", "--json", *config).out
        assert '"name": "lena", "role": "look"' in listed
        refused = add("lena", *config, typed=PASSWORD)
        assert refused.status == 1
        assert "a user lena already" in refused.err
        kept = add("lena", "--replace", *config, typed=f"{PASSWORD} forgotten")
        assert kept.out == "lena may now look\n", kept.err
        assert millwatch("users", "remove", "lena", *config).status == 0
        assert millwatch("users", "remove", "lena", *config).status == 1
    short = add("otto", *config, typed="short")
    assert short.status == 1
    assert "at least 10 characters" in short.err
