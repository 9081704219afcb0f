"""One message to one address: a webhook, a mail server or an MQTT broker. Nothing else is called.

No redirect is followed and no proxy is asked: only what the configuration names is connected to.
"""

import http.client
import json
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final

from config.addresses import Address, Way
from config.document import bytes_of
from config.settings import Settings
from config.text import as_one_line
from daemon.clock import moment

SECONDS: Final = 10.0
"""Without a word from the other side for so long, it is given up for now."""
_LONGEST_SECONDS: Final = 30.0
"""And after so long, whatever was said: what comes a letter at a time would hold up every other message."""
_LONGEST_SUBJECT: Final = 120
_STEP_SECONDS: Final = 0.1
Body = Mapping[str, Any]
_IN_WORDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (
        socket.gaierror,
        "its name is not known here; see the address and this computer's name server",
    ),
    (
        TimeoutError,
        f"no answer within {SECONDS:g} s; see whether it runs and a firewall lets it through",
    ),
    (
        ConnectionRefusedError,
        "nothing listens there: connection refused; see the port, and whether it runs",
    ),
    (
        UnicodeError,
        "a letter of its address, of the user or of the secret cannot be sent: write ASCII alone",
    ),
)

_NOT_TRUSTED: Final = "let this computer trust your plant's authority"
_ANOTHER_NAME: Final = "let the address name the server as its certificate does"
_TIME_IS_OVER: Final = "renew it there, or set this computer's clock"
# By OpenSSL's number of what is wrong (its x509_vfy.h).
_OF_CERTIFICATES: Final = {
    9: _TIME_IS_OVER,
    10: _TIME_IS_OVER,
    62: _ANOTHER_NAME,
    64: _ANOTHER_NAME,
}


class SendError(Exception):
    """A message was not delivered; the message says why, and no secret."""


class _Mailing(smtplib.SMTP):
    """To be ended in time from its beginning on, which waits for a greeting."""

    def __init__(self, going: "_Going", host: str, port: int, **kind: Any) -> None:
        going.append(self)
        super().__init__(host, port, **kind)


class _MailingByTls(_Mailing, smtplib.SMTP_SSL):
    """Encrypted from its first byte on."""


_Going = list[http.client.HTTPConnection | smtplib.SMTP]


class Sender:
    """Sends as `[mail]`, `[mqtt]` and `[webhook]` say."""

    def __init__(self, settings: Settings, *, longest_seconds: float = _LONGEST_SECONDS) -> None:
        self._longest_seconds = longest_seconds
        self._mail = settings.mail
        self._mqtt = settings.mqtt
        self._webhook = settings.webhook

    def send(self, address: Address, body: Body) -> None:
        """Deliver a message, or raise SendError."""
        ways = {Way.WEBHOOK: self._post, Way.MAIL: self._hand_over, Way.MQTT: self._publish}
        try:
            with _ended_after(self._longest_seconds) as going:
                ways[address.way](address, body, going)
        except SendError:
            raise
        except Exception as error:  # whatever a network, a server and its answer may be
            raise SendError(_why(error, address)) from error

    def _post(self, address: Address, body: Body, going: _Going) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "millwatch"}
        if (file := self._webhook.token_for(address.host)) is not None:
            headers["Authorization"] = f"Bearer {_secret(file)}"
        connection = (
            http.client.HTTPSConnection(
                address.host, address.port, timeout=SECONDS, context=ssl.create_default_context()
            )
            if address.secure
            else http.client.HTTPConnection(address.host, address.port, timeout=SECONDS)
        )
        going.append(connection)
        try:
            connection.request("POST", address.target, json.dumps(body).encode(), headers)
            status, reason = (answer := connection.getresponse()).status, answer.reason
        finally:
            connection.close()
        if not 200 <= status < 300:
            told = f"the server answered {status} {as_one_line(reason)}"
            # Which is how a web server says on a port with TLS that it was spoken to without.
            hint = f"; {_other_way(address)}" if status == 400 and not address.secure else ""
            raise SendError(f"{told}{hint}")

    def _hand_over(self, address: Address, body: Body, going: _Going) -> None:
        mail, name = self._mail, socket.gethostname()
        if not mail.host:
            raise SendError("no mail server is configured; set mail.host")
        letter = EmailMessage()
        letter["From"] = mail.sender or f"millwatch@{name}"
        letter["To"] = address.target
        letter["Subject"] = as_one_line(str(body["subject"]))[:_LONGEST_SUBJECT]
        letter["Date"] = format_datetime(moment(body["at"]))
        letter["Message-ID"] = f"<{body['id']}@{name}>"
        letter.set_content(body["text"])
        kind: dict[str, Any] = {"timeout": SECONDS, "local_hostname": name}
        if mail.tls == "tls":
            context = ssl.create_default_context()
            server: _Mailing = _MailingByTls(going, mail.host, mail.port, context=context, **kind)
        else:
            server = _Mailing(going, mail.host, mail.port, **kind)
        with server:
            if mail.tls == "starttls":
                server.starttls(context=ssl.create_default_context())
            if mail.user:
                password = "" if mail.password_file is None else _secret(mail.password_file)
                server.login(mail.user, password)
            server.send_message(letter)

    def _publish(self, address: Address, body: Body, _: _Going) -> None:
        try:
            from paho.mqtt import client as paho  # noqa: PLC0415 -- an extra that most lines lack
            from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415 -- likewise
        except ImportError as error:
            raise SendError(
                "MQTT needs paho-mqtt, which is not installed; install Millwatch with the extra mqtt"
            ) from error
        broker = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"millwatch-{body['id']}")
        if self._mqtt.user:
            file = self._mqtt.password_file
            broker.username_pw_set(self._mqtt.user, None if file is None else _secret(file))
        if address.secure:
            broker.tls_set_context(ssl.create_default_context())
        answers: list[Any] = []
        broker.on_connect = lambda *told: answers.append(told[3])
        broker.connect_timeout = SECONDS
        until = time.monotonic() + SECONDS
        try:
            broker.connect(address.host, address.port)
            remedy = "see the address and its port" if address.secure else _other_way(address)
            _go_on(broker, lambda: bool(answers), until, "the broker did not answer", remedy)
            if answers[0].is_failure:
                raise SendError(f"the broker refused the connection: {answers[0]}")
            sent = broker.publish(address.target, json.dumps(body), qos=1)
            _go_on(broker, sent.is_published, until, "the broker did not confirm the message")
        finally:
            with suppress(Exception):
                broker.disconnect()


@contextmanager
def _ended_after(seconds: float) -> Iterator[_Going]:
    """What is put into the list is ended by its socket then. Raises SendError where that was needed."""
    going: _Going = []
    done, over = threading.Event(), threading.Event()

    def end() -> None:
        if done.wait(seconds):
            return
        over.set()
        while not done.wait(_STEP_SECONDS):  # it may be connecting still
            for sock in filter(None, (each.sock for each in going)):
                with suppress(OSError):
                    # Not that of TLS, which takes from whoever reads what it reads by.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    threading.Thread(target=end, name="end of a message", daemon=True).start()
    try:
        yield going
    except Exception as error:
        if over.is_set():
            why = f"it had not answered in full after {seconds:g} s; see whether it is overloaded"
            raise SendError(why) from error
        raise
    finally:
        done.set()


def _go_on(
    broker: Any, done: Callable[[], bool], until: float, what: str, remedy: str = "see its log"
) -> None:
    """Let the client work until it is done. Raises SendError when it fails or the time is over."""
    while not done():
        failed = broker.loop(timeout=0.2)
        if failed and not done():
            lost = failed.name == "MQTT_ERR_CONN_LOST"
            raise SendError(f"{what}, {'but hung up' if lost else failed.name}; {remedy}")
        if time.monotonic() > until:
            raise SendError(f"{what} within {SECONDS:g} s")


def _secret(file: Path) -> str:
    name = as_one_line(str(file))
    try:
        secret = bytes_of(file).decode().strip()
    except UnicodeError as error:
        raise SendError(f"the file {name} cannot be read: it is not text") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SendError(f"the file {name} cannot be read: {why}") from error
    if "\n" in secret or "\r" in secret:  # what refuses it further down would tell it
        raise SendError(f"the file {name} has several lines; write the secret alone into it")
    return secret


def _why(error: Exception, address: Address) -> str:
    """In words, and without what was sent."""
    if isinstance(error, smtplib.SMTPException):
        return _of_mail(error)
    for kind, words in _IN_WORDS:
        if isinstance(error, kind):
            return words
    if isinstance(error, ssl.SSLError):
        return _of_tls(error, address)
    if isinstance(error, http.client.HTTPException):
        remedy = "see the address and its port" if address.secure else _other_way(address)
        return f"what answers there does not speak HTTP, or hung up; {remedy}"
    if isinstance(error, OSError):
        told = as_one_line(error.strerror or str(error))
        lost = isinstance(error, ConnectionError)
        return f"it hung up: {told}; {_other_way(address)}" if lost else told
    return f"{type(error).__name__}: {as_one_line(str(error))}"


def _of_tls(error: ssl.SSLError, address: Address) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = _OF_CERTIFICATES.get(error.verify_code, _NOT_TRUSTED)
        return f"its certificate is not trusted: {error.verify_message.rstrip('.')}; {remedy}"
    reason = error.reason or str(error)
    if "ALERT" in reason:  # only who speaks TLS sends one
        return f"it refused this TLS: {reason}; see what it asks for, a certificate perhaps"
    return f"that port seems to have no TLS: {reason}; {_other_way(address)}"


def _other_way(address: Address) -> str:
    """What to change where one side speaks TLS and the other does not, which both say by hanging up."""
    if address.way is Way.MAIL:
        return 'see mail.port, or set mail.tls = "starttls", as 587 wants it'
    scheme = address.shown.partition(":")[0]
    if address.secure:
        return f'see the port, or write "{scheme.removesuffix("s")}://" if it is to be without TLS'
    return f'see the port, or write "{scheme}s://" if it speaks TLS'


def _of_mail(error: smtplib.SMTPException) -> str:
    match error:
        case smtplib.SMTPAuthenticationError():
            return (
                f"the mail server refused the login ({error.smtp_code}); see mail.user and "
                "mail.password_file"
            )
        case smtplib.SMTPRecipientsRefused():
            code, words = next(iter(error.recipients.values()))
            return f"the mail server refused the address: {code} {_text(words)}"
        case smtplib.SMTPNotSupportedError():
            return (
                f"the mail server cannot do this: {error}; see mail.tls, mail.user and mail.sender"
            )
        case smtplib.SMTPResponseException():
            return f"the mail server refused: {error.smtp_code} {_text(error.smtp_error)}"
        case smtplib.SMTPServerDisconnected():
            return (
                f"the mail server hung up: {as_one_line(str(error))}; see mail.port, and that "
                'mail.tls is "tls" where the port speaks TLS from its first byte, as 465 does'
            )
    return (
        f"the mail server was not understood: {as_one_line(str(error))}; see mail.port and mail.tls"
    )


def _text(words: bytes | str) -> str:
    return as_one_line(words.decode("utf-8", "replace") if isinstance(words, bytes) else words)
