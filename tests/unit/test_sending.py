"""Mail servers and brokers, spoken to for real; and what is said when they refuse."""

import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from receivers import Broker, Dripping, HangingUp, MailServer, WebServer, certificate_of, listening
from records import NOW

from config.addresses import parse_address
from config.oversight import Mail, Mqtt, Webhook
from config.settings import Settings
from daemon.alarms.messages import message
from daemon.alarms.sending import Sender, SendError

if TYPE_CHECKING:
    from collections.abc import Callable
    from socketserver import TCPServer

BODY = message(
    "night shift", {}, {"space": "the disk of /srv is almost full (ä)\nfree it"}, {}, NOW
)
ANNA = parse_address("mailto:anna@plant.example")


def send_mail(server: MailServer, **keys: Any) -> None:
    mail = Mail(**({"host": "localhost", "port": server.port, "tls": "none"} | keys))
    Sender(Settings(mail=mail)).send(ANNA, BODY)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_of(tmp_path_factory.mktemp("mail"))


def test_a_mail_server_of_the_lines_own_takes_the_message_as_it_is() -> None:
    server = MailServer()
    with listening(server):
        send_mail(server, sender="line-1@plant.example")
    (letter,) = server.letters
    assert "From: line-1@plant.example" in letter
    assert "To: anna@plant.example" in letter
    assert "Subject: [night shift]" in letter
    assert f"Message-ID: <{BODY['id']}@" in letter
    assert "rcpt TO:<anna@plant.example>" in server.heard


def test_a_login_is_sent_through_tls_only_and_a_wrong_one_is_told(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    password = tmp_path / "password"
    password.write_text("right\n")
    login = {"tls": "starttls", "user": "line-1", "password_file": password}
    server = MailServer(context, password="right")  # noqa: S106 -- of a server on loopback
    with listening(server):
        send_mail(server, **login)
        assert len(server.letters) == 1
        assert server.heard.index("STARTTLS") < next(
            place for place, line in enumerate(server.heard) if line.startswith("AUTH")
        )
        password.write_text("wr0ng")
        with pytest.raises(SendError, match=r"refused the login \(535\)") as refused:
            send_mail(server, **login)
        assert "wr0ng" not in str(refused.value)
        password.unlink()
        with pytest.raises(SendError, match="password cannot be read: No such file"):
            send_mail(server, **login)
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(SendError, match="certificate is not trusted"):
            send_mail(server, **login)
    assert len(server.letters) == 1


def test_a_secret_that_cannot_be_sent_is_not_told_with_the_reason(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    hook = WebServer()
    with listening(hook):
        sender = Sender(Settings(webhook=Webhook(token_file=secret)))
        secret.write_text("s3cret\nolder\n")
        with pytest.raises(SendError, match="token has several lines") as refused:
            sender.send(parse_address(hook.url), BODY)
        assert "s3cret" not in str(refused.value)
        secret.write_text("s3cret…")
        with pytest.raises(SendError, match="write ASCII alone"):
            sender.send(parse_address(hook.url), BODY)
        secret.write_text("s3cret\n")
        with pytest.raises(SendError, match="write ASCII alone"):
            sender.send(parse_address(f"{hook.url}/ü"), BODY)
        sender.send(parse_address(hook.url), BODY)
        secret.unlink()
        os.mkfifo(secret)  # which nobody writes to
        with pytest.raises(SendError, match="token cannot be read: it is not an ordinary file"):
            sender.send(parse_address(hook.url), BODY)
    assert hook.tokens == ["Bearer s3cret"]


def test_the_token_goes_to_those_alone_that_it_is_for(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    hook = WebServer()
    with listening(hook):
        for hosts in ((), ("127.0.0.1", "tickets.plant"), ("tickets.plant",)):
            webhook = Webhook(token_file=token, token_hosts=hosts)
            Sender(Settings(webhook=webhook)).send(parse_address(hook.url), BODY)
    assert hook.tokens == ["Bearer s3cret", "Bearer s3cret", None]


def test_what_a_mail_server_says_is_told() -> None:
    server = MailServer()
    with listening(server):
        mail = Mail(host="localhost", port=server.port, tls="none")
        nobody = parse_address("mailto:nobody@plant.example")
        with pytest.raises(SendError, match="refused the address: 550 no such user here"):
            Sender(Settings(mail=mail)).send(nobody, BODY)
        with pytest.raises(SendError, match="cannot do this: STARTTLS"):
            send_mail(server, tls="starttls")
        with pytest.raises(SendError, match=r"to have no TLS: .*, or set mail\.tls = .starttls"):
            send_mail(server, tls="tls")
    with pytest.raises(SendError, match="connection refused"):
        send_mail(server)


@pytest.mark.parametrize("way", ["http", "https", "mail", "mail by TLS"])
def test_who_answers_a_letter_at_a_time_holds_up_no_other_message(
    way: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Dripping(context if way in ("https", "mail by TLS") else None)
    mail = Mail(host="localhost", port=server.port, tls="tls" if server.context else "none")
    address = (
        parse_address(f"{way}://localhost:{server.port}/") if way in ("http", "https") else ANNA
    )
    with listening(server):
        sender = Sender(Settings(mail=mail), longest_seconds=0.2)
        with pytest.raises(SendError, match=r"not answered in full after 0\.2 s"):
            sender.send(address, BODY)


@pytest.mark.parametrize(
    ("made", "remedy"),
    [
        ({"days": -1}, "certificate has expired; renew it there, or set this computer's clock"),
        ({"name": "other"}, "let the address name the server as its certificate does"),
    ],
    ids=["expired", "of another name"],
)
def test_what_is_wrong_with_a_certificate_is_told_with_its_remedy(
    made: dict[str, Any], remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = certificate_of(tmp_path, **made)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Dripping(context)
    with listening(server), pytest.raises(SendError, match=remedy):
        Sender(Settings()).send(parse_address(f"https://localhost:{server.port}/"), BODY)


def test_what_is_no_web_server_is_told() -> None:
    server = MailServer()
    with (
        listening(server),
        pytest.raises(SendError, match="does not speak HTTP, or hung up; see the port, or"),
    ):
        Sender(Settings()).send(parse_address(f"http://localhost:{server.port}/"), BODY)


PLAIN: Final = 'write "{}://" if it is to be without TLS'
ENCRYPTED: Final = 'write "{}s://" if it speaks TLS'


# paho leaves the socket of a handshake that failed to Python, to be closed.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.parametrize(
    ("scheme", "listens", "says"),
    [
        ("https", "plain", f"seems to have no TLS: WRONG_VERSION_NUMBER; .*{PLAIN.format('http')}"),
        ("mqtts", "plain", f"seems to have no TLS: WRONG_VERSION_NUMBER; .*{PLAIN.format('mqtt')}"),
        ("https", "hangs up", f"it hung up: Connection reset by peer; .*{PLAIN.format('http')}"),
        ("mqtts", "hangs up", f"it hung up: Connection reset by peer; .*{PLAIN.format('mqtt')}"),
        ("http", "TLS", ENCRYPTED.format("http")),
        ("mqtt", "TLS", f"did not answer, but hung up; .*{ENCRYPTED.format('mqtt')}"),
        ("http", "a web server's TLS", f"answered 400 Bad Request; .*{ENCRYPTED.format('http')}"),
    ],
)
def test_where_one_side_speaks_tls_and_the_other_does_not_it_is_said_what_to_change(
    scheme: str, listens: str, says: str, certificate: Path
) -> None:
    if scheme.startswith("mqtt"):
        pytest.importorskip("paho.mqtt.client", reason="the extra mqtt is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    made: dict[str, Callable[[], TCPServer]] = {
        "plain": Dripping,
        "hangs up": HangingUp,
        "TLS": lambda: Dripping(context),
        "a web server's TLS": lambda: WebServer(answers=[(400, {})]),
    }
    server = made[listens]()
    address = parse_address(f"{scheme}://localhost:{server.server_address[1]}/alarms")
    with listening(server), pytest.raises(SendError, match=says):
        Sender(Settings()).send(address, BODY)


def test_a_mail_server_that_hangs_up_may_want_tls_from_the_first_byte() -> None:
    server = HangingUp()
    server.RequestHandlerClass = lambda *_: None  # type: ignore[assignment,misc]
    mail = Mail(host="localhost", port=server.server_address[1], tls="none")
    with listening(server), pytest.raises(SendError, match=r"hung up: .*as 465 does"):
        Sender(Settings(mail=mail)).send(ANNA, BODY)


def test_a_broker_confirms_the_message() -> None:
    pytest.importorskip("paho.mqtt.client", reason="the extra mqtt is not installed")
    broker = Broker()
    with listening(broker):
        Sender(Settings()).send(parse_address(f"{broker.url}/plant/line-1/alarms"), BODY)
    assert broker.published == [("plant/line-1/alarms", BODY)]


def test_a_broker_that_refuses_is_told() -> None:
    pytest.importorskip("paho.mqtt.client", reason="the extra mqtt is not installed")
    broker = Broker(refusal=5)
    with listening(broker):
        address = parse_address(f"{broker.url}/alarms")
        with pytest.raises(SendError, match=r"the broker refused the connection: Not authorized"):
            Sender(Settings(mqtt=Mqtt(user="line-1"))).send(address, BODY)
    assert broker.published == []
    with pytest.raises(SendError, match="connection refused"):
        Sender(Settings()).send(address, BODY)
