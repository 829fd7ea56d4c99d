"""Settings: read once at the start, from the environment (`ACTIONMAP_*`) or a file, then passed on as plain values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from actionmap.errors import SettingsError
from actionmap.vault import Vault

Right = Literal["ingest", "read", "edit", "publish"]
RIGHTS: tuple[Right, ...] = ("ingest", "read", "edit", "publish")


def _split(value: object) -> object:
    return tuple(part for part in value.replace(",", " ").split() if part) if isinstance(value, str) else value


def _check_allow(entries: tuple[str, ...]) -> tuple[str, ...]:
    for entry in entries:
        if "/" in entry:
            try:
                ip_network(entry)
            except ValueError as error:
                raise ValueError(f"{entry!r} is no CIDR: {error}") from error
    return entries


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"{origin!r} is no origin; write scheme and host alone, such as https://admin.example.com")
    return origins


def _check_keys(keys: SecretStr) -> SecretStr:
    parse_api_keys(keys.get_secret_value())
    return keys


def _check_secrets_key(keys: SecretStr) -> SecretStr:
    Vault(keys.get_secret_value())
    return keys


def _check_brokers(text: str) -> str:
    for entry in text.split(","):
        host, colon, port = entry.strip().rpartition(":")
        if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):
            raise ValueError(f"{text!r} is not host:port[,host:port…]")
    return text


_REDIS_SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster")


def _check_redis_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in _REDIS_SCHEMES and bool(parts.hostname) and parts.port != 0
        is_one = is_one and (parts.path.strip("/") or "0").isdigit()
    except ValueError:
        is_one = False
    if not is_one:  # the URL may hold a password, so it is not shown
        raise ValueError(
            "it is not redis://[[user]:password@]host:port/number, or rediss:// for TLS, or redis+cluster:// for any "
            "node of a cluster; characters such as / # ? @ in a password are written percent-encoded"
        )
    return url


_DURATION = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _read_duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is no duration; write a whole number and s, m, h or d, such as 20m")
    return int(match[1]) * _UNITS[match[2]]


#: Seconds, written as a duration.
Seconds = Annotated[float, Field(gt=0), BeforeValidator(_read_duration)]


class Settings(BaseSettings):
    """All settings. Every one has a default that works on one machine, but for the API keys."""

    model_config = SettingsConfigDict(env_prefix="ACTIONMAP_", extra="ignore", frozen=True, validate_default=True)

    kafka_bootstrap_servers: Annotated[str, AfterValidator(_check_brokers)] = Field(
        "127.0.0.1:9092", description="host:port of one or more brokers, comma-separated"
    )
    redis_url: Annotated[str, AfterValidator(_check_redis_url)] = Field(
        "redis://127.0.0.1:6379/0",
        repr=False,
        description="redis://, rediss://, redis+cluster:// or rediss+cluster:// URL",
    )
    redis_prefix: str = Field("am", pattern=r"^[A-Za-z0-9_.-]{1,40}$", description="what every key begins with")
    events_topic: str = Field("website-events", description="the topic that website events are read from")
    events_topic_partitions: int = Field(64, ge=1, le=256, description="partitions, when the topic has to be created")
    consumer_group: str = Field("actionmap", description="the Kafka consumer group of the engine")
    kafka_session_timeout: Seconds = Field(
        45, ge=1, le=300, description="time after which the group gives a silent worker's partitions to others"
    )
    watchdog: Seconds = Field(
        60, ge=5, description="time after which a worker that lags and does not advance ends, to be started again"
    )
    golive_every: Seconds = Field(60, ge=1, description="time between two go-live checks of all active action maps")
    session_timeout: Seconds = Field(20 * 60, description="time without an event after which a session ends")
    allowed_lateness: Seconds = Field(24 * 3600, description="time behind stream time after which an event is late")
    wait_grace: Annotated[float, Field(ge=0), BeforeValidator(_read_duration)] = Field(
        0, description="time added to the due time of absences, for events that come late"
    )
    visitor_ttl: Seconds = Field(
        90 * 86_400, ge=31 * 86_400, description="time after which a visitor without events is forgotten"
    )
    visitor_cache: int = Field(20_000, ge=0, description="visitors kept in a worker's memory")
    outbox_cap: int = Field(20_000, ge=1, description="deliveries owed per partition before the partition waits")
    outbox_integration_cap: int = Field(
        4_000, ge=1, description="deliveries owed to one integration per partition before more of them are parked"
    )
    journal: int = Field(
        1_000, ge=0, le=100_000, description="accepted deliveries kept per partition for people to see; 0: none"
    )
    company: str = Field("default", description="the name of this installation; part of every delivery's id")
    egress_allow: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_check_allow)] = Field(
        (), description="CIDRs or host names that may be reached although private, and over http"
    )
    api_url: str = Field("http://127.0.0.1:8080", description="where the commands find the server")
    api_key: SecretStr = Field(SecretStr(""), description="the key the commands use")
    api_keys: Annotated[SecretStr, AfterValidator(_check_keys)] = Field(
        SecretStr(""),
        description="the keys the server accepts: KEY:right+right, or KEY:right+right@company, separated by commas",
    )
    api_rate: float = Field(1_000, gt=0, description="requests a second that one API key may make to the admin API")
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_check_origins)] = Field(
        (), description="origins whose pages may use the API from a browser, such as https://admin.example.com"
    )
    require_if_match: bool = Field(
        False, description="refuse to replace, change or delete a definition without If-Match"
    )
    secrets_key: Annotated[SecretStr, AfterValidator(_check_secrets_key)] = Field(
        SecretStr(""), description="the keys that secrets in definitions are stored with; the first one encrypts"
    )
    host: str = Field("127.0.0.1", description="the address that `serve` listens on")
    port: int = Field(8080, ge=0, le=65_535, description="the port that `serve` listens on")
    metrics_port: int = Field(9464, ge=0, le=65_535, description="the port of health and metrics of `run`; 0: any")
    ingest_rate: float = Field(10_000, gt=0, description="events a second that one API key may send to one collector")
    log_format: Literal["auto", "text", "json"] = Field("auto", description="auto: text on a terminal, else JSON")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def vault(self) -> Vault:
        """What encrypts and opens secrets, with ``secrets_key``."""
        return Vault(self.secrets_key.get_secret_value())

    @property
    def egress_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The CIDRs of ``egress_allow``."""
        return tuple(ip_network(entry) for entry in self.egress_allow if "/" in entry)

    @property
    def egress_hosts(self) -> frozenset[str]:
        """The host names and single addresses of ``egress_allow``, in lower case."""
        return frozenset(entry.lower() for entry in self.egress_allow if "/" not in entry)


class ApiKey(NamedTuple):
    """What one API key is for; the key itself is kept nowhere."""

    name: str
    rights: frozenset[str]
    #: Whose definitions it may see and change; None for those of all.
    company: str | None = None


def hash_of_key(key: str) -> str:
    """SHA-256 of an API key, hexadecimal: keys are long and random, so none is found by trying."""
    return sha256(key.encode(errors="replace")).hexdigest()


_API_KEY = re.compile(
    r"(?P<key>\S{8,}):(?P<rights>[a-z+]+)(@(?P<company>[a-z0-9]+(-[a-z0-9]+)*))?(#(?P<name>[A-Za-z0-9._-]+))?",
)
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")


def parse_api_keys(text: str) -> dict[str, ApiKey]:
    """``KEY:right+right@company#name, …`` as keys by their hash; company and name may be left out.

    ``KEY`` is the key, or ``sha256:`` and its SHA-256 in hexadecimal. Without a name it is called by its hash.

    Raises:
        ValueError: an entry has no such form; the message shows no key.
    """
    keys: dict[str, ApiKey] = {}
    for number, entry in enumerate((part for part in text.replace(",", " ").split() if part), 1):
        found = _API_KEY.fullmatch(entry)
        rights = frozenset(found["rights"].split("+")) if found else frozenset()
        if found is None or not rights <= set(RIGHTS):
            raise ValueError(
                f"entry {number} is not KEY:rights, KEY:rights@company or KEY:rights@company#name with a key of at "
                f"least 8 characters and rights of {', '.join(RIGHTS)} joined by +"
            )
        hashed = _HASHED.fullmatch(found["key"])
        hash_ = hashed[1] if hashed else hash_of_key(found["key"])
        keys[hash_] = ApiKey(found["name"] or f"key-{hash_[:8]}", rights, found["company"])
    return keys


def load_settings(env_file: Path | None = None, **given: object) -> Settings:
    """Settings from ``given``, then the environment, then ``env_file`` (lines ``ACTIONMAP_NAME=value``).

    Raises:
        SettingsError: a value is wrong; the message names each, and shows no secret.
    """
    if env_file is not None and not env_file.is_file():
        raise SettingsError(f"there is no settings file {env_file}")
    _refuse_unknown(env_file)
    try:
        return Settings(_env_file=env_file, **given)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = "; ".join(
            f"ACTIONMAP_{'_'.join(str(part) for part in problem['loc']).upper()}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_input=False)
        )
        raise SettingsError(problems) from None


def _refuse_unknown(env_file: Path | None) -> None:
    """Refuse settings that do not exist: a misspelt one would be ignored in silence."""
    given: Iterable[str] = (*os.environ, *(dotenv_values(env_file) if env_file else ()))
    known = {f"ACTIONMAP_{name.upper()}" for name in Settings.model_fields}
    for name in given:
        if name.startswith("ACTIONMAP_") and not name.startswith("ACTIONMAP_SECRET_") and name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SettingsError(f"there is no setting {name} in this version{hint}")
