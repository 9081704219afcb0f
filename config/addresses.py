"""Where an alarm goes: a web address, an e-mail address or a topic of an MQTT broker."""

import re
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final
from urllib.parse import unquote, urlsplit

from config.values import refuse, shown

_MAILBOX: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
_EXAMPLES: Final = (
    'Write "https://host/path" for a webhook, "mailto:name@plant.example", or '
    '"mqtt://broker/topic"; "mqtts://" is with TLS.'
)
_PORTS: Final = {"http": 80, "https": 443, "mqtt": 1883, "mqtts": 8883}


class Way(StrEnum):
    """How a message travels."""

    WEBHOOK = "webhook"
    MAIL = "mail"
    MQTT = "mqtt"


@dataclass(frozen=True, kw_only=True)
class Address:
    """One place that a message goes to.

    Attributes:
        target: path and query of a webhook, an e-mail address, or an MQTT topic.
        shown: the address as people may see it: what follows the host of a webhook is often a
            secret, and left out.
        key: tells one address from another, and nothing of it.
    """

    way: Way
    host: str
    port: int
    secure: bool
    target: str
    shown: str
    key: str


def parse_address(text: str) -> Address:
    """Raises the validator's refusal, a ValueError, when it is none."""
    key = sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    scheme, _, rest = text.partition(":")
    if scheme == "mailto":
        if not _MAILBOX.fullmatch(rest):
            raise refuse(f"{shown(text)} is not an e-mail address", _EXAMPLES)
        return Address(
            way=Way.MAIL, host="", port=0, secure=False, target=rest, shown=text, key=key
        )
    if scheme not in _PORTS:
        # Only the scheme is told: the rest may hold a secret.
        raise refuse(f"begins with {shown(scheme)}, which is no way to send an alarm", _EXAMPLES)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port or _PORTS[scheme]
    except ValueError:
        host, port, parts = "", 0, urlsplit("")
    if not host or not text.isprintable() or " " in text or "#" in text:
        raise refuse(f"is no {scheme} address that can be called", _EXAMPLES)
    if parts.username is not None or parts.password is not None:
        raise refuse(
            "holds a user or a password before the host",
            "Take them out: webhook.token_file, mqtt.user and mqtt.password_file are for them.",
        )
    if scheme in ("http", "https"):
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        hidden = "/…" if target != "/" else ""
        told = f"{scheme}://{parts.netloc}{hidden}"
    else:
        target = unquote(parts.path).lstrip("/")
        if not target or any(sign in target for sign in "+#"):
            raise refuse(f"{shown(text)} names no topic to publish to", _EXAMPLES)
        told = text
    return Address(
        way=Way.WEBHOOK if scheme in ("http", "https") else Way.MQTT,
        host=host,
        port=port,
        secure=scheme in ("https", "mqtts"),
        target=target,
        shown=told,
        key=key,
    )
