"""The page is not bared to a network unawares."""

from pathlib import Path

import pytest
from commands import Millwatch
from plants import HEAD, check, only


@pytest.mark.parametrize(
    ("web", "key", "words"),
    [
        ('host = "0.0.0.0"', "web.host", "passwords would cross the network"),
        ('host = "line-1.plant"', "web.host", "beyond this computer, without TLS"),
        ('host = "::"\ninsecure = false', "web.insecure", "without TLS"),
        ('tls_certificate = "/c.pem"', "web.tls_certificate", "TLS needs both"),
        ('tls_key = "/k.pem"', "web.tls_key", "TLS needs both"),
        (
            'host = "0.0.0.0"\ninsecure = true\nopen_on_loopback = true',
            "web.open_on_loopback",
            "without a password",
        ),
        ('host_names = ["a b"]', "web.host_names[1]", "not the name of a computer"),
    ],
)
def test_what_would_bare_the_page_is_a_problem(
    tmp_path: Path, web: str, key: str, words: str
) -> None:
    problem = only(check(tmp_path, f"{HEAD}[web]\n{web}\n"))
    assert problem.key == key
    assert words in problem.what


@pytest.mark.parametrize(
    "web",
    [
        'host = "0.0.0.0"\ninsecure = true',
        'host = "0.0.0.0"\ntls_certificate = "/c.pem"\ntls_key = "/k.pem"',
        'host = "0.0.0.0"\nenabled = false',
        'host = "127.0.0.2"\nopen_on_loopback = true',
        'host = "::1"',
        'host = "localhost"',
        'host_names = ["line-1.plant", "10.0.0.7", "[fe80::1]"]',
    ],
)
def test_what_is_meant_and_safe_is_taken(tmp_path: Path, web: str) -> None:
    assert check(tmp_path, f"{HEAD}[web]\n{web}\n") == []


@pytest.mark.fault(39)
def test_a_page_beyond_this_computer_needs_tls_or_an_open_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "millwatch.toml"
    file.write_text(f'state_dir = "{tmp_path}/state"\n[web]\nhost = "0.0.0.0"\n')
    ended = Millwatch(capsys)("run", "--config", file)
    assert ended.status == 78
    assert "web.tls_certificate" in ended.err
