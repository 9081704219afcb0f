"""Whether the page can be served: its port, and its certificate, really tried."""

import errno
import socket
import ssl
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from config.document import bytes_of
from config.settings import Settings
from config.text import counted
from config.web import Web
from daemon.doctor.checked import Checked, bad, good, remark

_SOON_DAYS: Final = 30
_FIRST_FREE_PORT: Final = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def port_check(settings: Settings, *, daemon_runs: bool) -> Checked:
    """Whether the page's port is ours, or could be."""
    web, check = settings.web, "page"
    where = f"{web.host} port {web.port}"
    if not web.enabled:
        return good(check, "web.enabled is false: none is served")
    if daemon_runs:
        return good(check, f"the daemon that runs serves it on {where}")
    bare = web.host.strip("[]")
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    try:
        socket.create_server((bare, web.port), family=family).close()
    except OSError as error:
        step = {
            errno.EADDRINUSE: "Another program has it (`ss -ltnp` tells which): set web.port to another.",
            errno.EADDRNOTAVAIL: "This computer has no such address: set web.host to one that it has.",
        }.get(error.errno or 0, "Set web.host and web.port to what this computer has.")
        return bad(check, f"{where} cannot be had: {error.strerror or error}", step)
    if web.port < _first_free_port():
        return bad(
            check,
            f"{where}: ports below {_first_free_port()} are for root only, which the service is not",
            "Set web.port to a higher one, such as 8470; a server in front may have 443.",
        )
    return good(check, f"{where} is free")


def certificate_checks(settings: Settings, now: datetime) -> Iterator[Checked]:
    """Whether the service's user can serve with the certificate, and for how long."""
    web, check = settings.web, "certificate"
    if not web.enabled or web.tls_certificate is None or web.tls_key is None:
        return
    try:
        ends = _ends(web)
    except (OSError, ValueError) as error:
        yield bad(
            check,
            f"{web.tls_certificate} with {web.tls_key} cannot be used: {error}",
            "Let the service's user read both; the key must belong to the certificate, be PEM and have "
            "no passphrase.",
        )
        return
    if ends is None:
        step = "Have a new one issued, and put it in its place; then restart Millwatch."
        yield bad(check, f"{web.tls_certificate} is not valid today: browsers refuse it", step)
        return
    days = (ends - now.timestamp()) / 86_400
    if days < _SOON_DAYS:
        step = "Have a new one issued before that; a restart takes it up."
        yield remark(check, f"{web.tls_certificate} ends in {counted(round(days), 'day')}", step)
    else:
        yield good(
            check, f"{web.tls_certificate} is valid for another {counted(round(days), 'day')}"
        )
    if web.tls_key.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        step = f"chmod o-rw '{web.tls_key}'"
        yield bad(check, f"everybody on this computer may read {web.tls_key}", step)


def _ends(web: Web) -> float | None:
    """When the certificate ends, in seconds since 1970; None where it is not valid now.

    By a handshake in memory with a client that trusts this one certificate. Raises OSError, ValueError.
    """
    for file in filter(None, (web.tls_certificate, web.tls_key)):
        bytes_of(file)  # of a pipe OpenSSL would wait for a writer for ever
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A key with a passphrase would be asked for on the terminal.
    server.load_cert_chain(web.tls_certificate or "", web.tls_key, password=lambda: b"")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(web.tls_certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server)
    answering = server.wrap_bio(to_server, to_client, server_side=True)
    try:
        for _ in range(4):  # a handshake has three flights at most
            for side in (asking, answering):
                _go_on(side)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _NOT_NOW:
            return None
        raise
    certificate = asking.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))


_NOT_NOW: Final = {9, 10}
"""X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED."""


def _go_on(side: ssl.SSLObject) -> None:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return


def _first_free_port() -> int:
    try:
        return int(_FIRST_FREE_PORT.read_text())
    except (OSError, ValueError):
        return 1024
