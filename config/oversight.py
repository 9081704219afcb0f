"""What is watched over beyond single images: drift of the cameras, and alarms."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from config.addresses import Address, parse_address
from config.table import Table
from config.values import (
    AbsolutePath,
    HostNames,
    NamePatterns,
    as_tuple,
    is_loopback,
    refuse,
    shown,
)


class Drift(Table):
    enabled: bool = Field(
        default=True, description="Whether it is told that a camera's images change, or are alike."
    )
    images_in_a_row: int = Field(
        default=20,
        ge=0,
        description="So many identical, black or overexposed images in a row are told; 0 for never.",
    )
    black_below: float = Field(
        default=8.0, ge=0, le=255, description="An image whose pixels average so little is black."
    )
    overexposed_above: float = Field(
        default=247.0,
        ge=0,
        le=255,
        description="An image whose pixels average so much is overexposed.",
    )
    min_images: int = Field(
        default=200, ge=1, description="A camera's day with fewer images is not compared."
    )
    max_brightness_change: float = Field(
        default=15.0,
        ge=0,
        le=255,
        description="By how many of 255 grey levels a day may be brighter or darker than usual.",
    )
    max_sharpness_change: float = Field(
        default=0.2, ge=0, description="By which share of it sharpness may change."
    )
    max_novelty_change: float = Field(
        default=0.2, ge=0, description="By which share of it novelty may rise."
    )
    max_mix_change: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Which share of the images may be called otherwise than usual.",
    )


def _address(text: str) -> str:
    parse_address(text)
    return text


def _at_least_one(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if not addresses:
        raise refuse("is empty, so the alarm would go nowhere", "List an address, or remove it.")
    return addresses


def _alarm_name(name: str) -> str:
    if not name.strip() or not name.isprintable() or len(name) > 64:
        raise refuse(
            f"{shown(name)} cannot be an alarm's name: it must be 1 to 64 characters of one line",
            'Choose a short name such as "night shift": messages begin with it.',
        )
    return name


Addresses = Annotated[
    tuple[Annotated[str, AfterValidator(_address)], ...],
    BeforeValidator(as_tuple),
    AfterValidator(_at_least_one),
]
_ONLY_FOR: Final = {
    "troubles": ("trouble",),
    "max_rate": ("rate",),
    "min_rate": ("rate",),
    "min_images": ("rate",),
    "hours": ("rate",),
    "defect_class": ("defects",),
    "count": ("defects",),
    "minutes": ("defects",),
    "free_below_gb": ("disk",),
    "camera": ("trouble", "silent", "rate", "chart", "defects"),
}


class Alarm(Table):
    name: Annotated[str, AfterValidator(_alarm_name)] = Field(
        description="What the alarm is called in its messages."
    )
    when: Literal["trouble", "silent", "disk", "retraining", "rate", "chart", "defects"] = Field(
        description="What it is about."
    )
    to: Addresses = Field(description="Where its messages go.")
    camera: str = Field(default="", description="One camera alone; every camera when empty.")
    min_interval_minutes: float = Field(
        default=10.0,
        ge=0,
        le=525_600,
        description="Between two messages of this alarm lies at least so much.",
    )
    troubles: NamePatterns = Field(
        default=("*",), description="Patterns of the names of troubles, as the status has them."
    )
    max_rate: float = Field(
        default=1.0, ge=0, le=1, description="A defect rate above this is out of limits."
    )
    min_rate: float = Field(
        default=0.0, ge=0, le=1, description="A defect rate below this is out of limits."
    )
    min_images: int = Field(
        default=50, ge=1, description="With fewer images a rate says nothing, and nothing changes."
    )
    hours: int = Field(default=1, ge=1, le=168, description="The rate of so many hours.")
    defect_class: str = Field(default="", description="Defects of one class; of any when empty.")
    count: int = Field(default=1, ge=1, description="So many defects are told of.")
    minutes: int = Field(default=10, ge=1, le=1440, description="Within so many minutes.")
    free_below_gb: float = Field(
        default=20.0, gt=0, description="With less free space on a disk of Millwatch's it is told."
    )

    @property
    def addresses(self) -> tuple[Address, ...]:
        return tuple(parse_address(text) for text in self.to)

    @field_validator(*_ONLY_FOR)
    @classmethod
    def _is_about_it(cls, value: Any, info: ValidationInfo) -> Any:
        name, when = info.field_name or "", info.data.get("when")
        kinds = _ONLY_FOR[name]
        if when and when not in kinds and value != cls.model_fields[name].default:
            listed = " or ".join(f'"{kind}"' for kind in kinds)
            raise refuse(
                f'has no meaning for an alarm with when = "{when}"',
                f"Remove the line; it is for when = {listed}.",
            )
        return value


class Mail(Table):
    host: str = Field(default="", description="The mail server that alarms are handed to.")
    port: int = Field(default=587, ge=1, le=65535, description="Its port.")
    tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="How the connection is encrypted."
    )
    sender: str = Field(default="", description="Who the e-mails are from.")
    user: str = Field(default="", description="The user to log in as; none when empty.")
    password_file: AbsolutePath | None = Field(
        default=None, description="The file that holds the user's password."
    )

    @field_validator("password_file")
    @classmethod
    def _is_not_sent_in_the_clear(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        host, tls = info.data.get("host"), info.data.get("tls")
        if file is not None and tls == "none" and host and not is_loopback(host):
            raise refuse(
                f'the password would cross the network to {shown(host)} in the clear (tls = "none")',
                'Set mail.tls = "starttls" or "tls", or send without a user.',
                also="tls",
            )
        return file


class Mqtt(Table):
    user: str = Field(default="", description="The user to log in to brokers as.")
    password_file: AbsolutePath | None = Field(
        default=None, description="The file that holds the user's password."
    )


class Webhook(Table):
    token_file: AbsolutePath | None = Field(
        default=None, description="The file with a token that webhooks are sent as their bearer's."
    )
    token_hosts: HostNames = Field(
        default=(), description="The hosts that the token is for; empty where there is but one."
    )

    def token_for(self, host: str) -> Path | None:
        """The file with the token that a webhook of this host is sent; None without one."""
        hosts = [each.strip("[]") for each in self.token_hosts]
        return self.token_file if not hosts or host in hosts else None
