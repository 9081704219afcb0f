"""Where the review page is served, and to whom."""

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from config.table import Table
from config.values import AbsolutePath, Host, HostNames, is_loopback, refuse, shown


class Web(Table):
    enabled: bool = Field(default=True, description="Whether the review page is served.")
    host: Host = Field(default="127.0.0.1", description="The address that the page is served on.")
    port: int = Field(
        default=8470, ge=1, le=65535, description="The port that the page is served on."
    )
    tls_certificate: AbsolutePath | None = Field(
        default=None, description="The certificate (PEM) that the page is served with."
    )
    tls_key: AbsolutePath | None = Field(
        default=None, description="The private key (PEM) of tls_certificate."
    )
    insecure: bool = Field(
        default=False,
        description="Serve the page beyond this computer without TLS: passwords cross in the clear.",
    )
    open_on_loopback: bool = Field(
        default=False,
        description="Let everybody at this computer label and promote without a password.",
    )
    host_names: HostNames = Field(
        default=(),
        description="Names under which the page may be asked for; any, beyond this computer, when "
        "empty.",
    )
    session_hours: float = Field(
        default=12.0, gt=0, le=8760, description="After so many hours people log in again."
    )
    hsts_days: float = Field(
        default=7.0,
        ge=0,
        le=3650,
        description="For so many days browsers that came by TLS ask for this computer's name in no other "
        "way (RFC 6797).",
    )

    @property
    def on_loopback(self) -> bool:
        """Whether nothing but this computer can reach the page."""
        return is_loopback(self.host)

    @field_validator("tls_key")
    @classmethod
    def _key_and_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        certificate = info.data.get("tls_certificate")
        if "tls_certificate" in info.data and (key is None) != (certificate is None):
            have, lack = (
                ("tls_certificate", "tls_key") if key is None else ("tls_key", "tls_certificate")
            )
            raise refuse(
                f"{have} is set without {lack}: TLS needs both",
                f"Set {lack} as well, or remove {have}.",
                also="tls_certificate",
            )
        return key

    @field_validator("insecure")
    @classmethod
    def _is_not_bared_unawares(cls, insecure: bool, info: ValidationInfo) -> bool:
        host, encrypted = info.data.get("host"), info.data.get("tls_certificate") is not None
        beyond = host is not None and not is_loopback(host)
        if info.data.get("enabled") and beyond and not encrypted and not insecure:
            raise refuse(
                f"the page would be served on {shown(host)}, beyond this computer, without TLS: "
                "passwords would cross the network in the clear",
                "Set web.tls_certificate and web.tls_key; or web.insecure = true, where the network "
                'is trusted; or web.host = "127.0.0.1".',
                also="host",
            )
        return insecure

    @field_validator("open_on_loopback")
    @classmethod
    def _opens_to_this_computer_only(cls, is_open: bool, info: ValidationInfo) -> bool:
        host = info.data.get("host")
        if is_open and host is not None and not is_loopback(host):
            raise refuse(
                f"open_on_loopback lets people in without a password, and {shown(host)} is not only "
                "this computer",
                'Set it false and add users with `millwatch users add`, or set web.host = "127.0.0.1".',
                also="host",
            )
        return is_open
