"""All settings, read from ``REDIS_*`` variables and from ``.env``.

Rules:
    - An invalid value raises ``CacheSettingsError`` immediately, with one line per variable.
    - A password appears in no message, ``repr`` or dump; a URL may contain one and is kept secret.
    - A URL overrides host, port, db, username and password; a warning names the ones ignored.
    - An empty variable counts as unset.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ._url import database_of, require_usable
from .exceptions import CacheSettingsError

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(gt=0)]
Address = tuple[str, Port]

_ENV_PREFIX = "REDIS_"
_PORT = 6379
_SENTINEL_PORT = 26379
_IDLE_WITH_URL = ("host", "port", "db", "username", "password")
_IDLE_WITH_SENTINEL = ("host", "port")
_TLS_FILES = ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs")
_LONGEST_SHOWN_VALUE = 80
_PREFIX = re.compile(r"[^\s{}]+")
_HOST = re.compile(r"\[[^\s\[\]/@]+\]|[^\s\[\]/@]+")
_NODE = re.compile(r"(?:\[(?P<ipv6>[^\s\[\]/@]+)\]|(?P<name>[^\s\[\]/@:]+))(?::(?P<port>[0-9]+))?")


class RedisSettings(BaseSettings):
    """Connection, limits and behaviour of the cache; immutable.

    Every field is read from the variable ``REDIS_`` plus its upper-case name, first from the
    environment, then from ``.env``; a keyword argument overrides both.

    Raises:
        CacheSettingsError: A value is invalid, or two settings contradict each other.
    """

    model_config = SettingsConfigDict(
        # an import is cheaper by what only those pay who make settings
        defer_build=True,
        env_prefix=_ENV_PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    url: SecretStr | None = None
    """URL of Redis: ``redis://``, ``rediss://`` (TLS), ``unix://``, ``memory://`` (in-process)."""

    host: str = "localhost"
    """Host name or address of the server, or of any node of the cluster."""

    port: Port = _PORT
    """TCP port of the server, 1 to 65535."""

    db: Annotated[int, Field(ge=0)] = 0
    """Database number; a cluster only has database 0."""

    username: str | None = None
    """ACL user; unset means the user ``default``."""

    password: SecretStr | None = None
    """Password of the user."""

    ssl: bool = False
    """Whether to use TLS; implied by ``rediss://``."""

    ssl_certfile: FilePath | None = None
    """PEM file with the client's certificate."""

    ssl_keyfile: FilePath | None = None
    """PEM file with the client certificate's key, unless the certificate file contains it."""

    ssl_ca_certs: FilePath | None = None
    """PEM file with the CAs trusted to sign the server's certificate; unset means the system's."""

    ssl_check_hostname: bool = True
    """Whether the server's certificate must match the host name."""

    max_connections: Annotated[int, Field(ge=1)] | None = None
    """Maximum connections to one server or cluster node; unset means the default of redis-py."""

    socket_timeout: Seconds | None = None
    """Seconds until a read or write on a socket fails; unset means the default of redis-py."""

    socket_connect_timeout: Seconds | None = None
    """Seconds until opening a connection fails; unset means the default of redis-py."""

    cluster: bool = False
    """Whether the server is a node of a Redis Cluster."""

    sentinel: bool = False
    """Whether to find the master through Sentinel."""

    sentinel_master_name: Annotated[str, Field(min_length=1)] = "mymaster"
    """Name by which the Sentinels monitor the master."""

    sentinel_nodes: Annotated[tuple[Address, ...], NoDecode] = ()
    """Sentinels as ``host:port,host:port`` or a list; IPv6 in brackets; default port 26379."""

    sentinel_username: str | None = None
    """ACL user on the Sentinels themselves."""

    sentinel_password: SecretStr | None = None
    """Password on the Sentinels themselves."""

    prefix: str = "fastapi"
    """First part of every key in Redis; not empty, without braces or white space."""

    default_ttl: Annotated[int, Field(ge=0)] = 0
    """Lifetime in seconds for endpoints without a ttl; 0 means up to 30 days."""

    max_body_size: Bytes = 10 * 1024 * 1024
    """Largest response body that is stored, in bytes."""

    max_header_size: Bytes = 8 * 1024
    """Largest block of response headers that is stored, in bytes."""

    compression: Literal["zstd"] | None = None
    """Compression in Redis of bodies from 2 KB: ``zstd`` or unset; invisible to clients."""

    obey_client_directives: bool = True
    """Whether to obey ``Cache-Control`` in requests (``no-cache``, ``max-age``, ...)."""

    surrogate_header: Literal["Surrogate-Key", "Cache-Tag"] | None = None
    """Header that lists a response's groups for a CDN: ``Surrogate-Key`` or ``Cache-Tag``."""

    debug: bool = False
    """Whether ``Cache-Status`` includes the entry's key, and why a response was not stored."""

    enabled: bool = True
    """Whether to cache at all; if false, endpoints run as if they declared nothing, and
    ``CacheBackend`` keeps nothing."""

    otel_enabled: bool = False
    """Whether to emit OpenTelemetry spans and metrics (extra ``otel``)."""

    stats_interval: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Seconds between publishing counters for ``redis-fastapi stats``; 0 counts nothing."""

    startup_checks: bool = True
    """Whether to check the server's memory policy and the user's permissions after start-up."""

    openapi: bool = True
    """Whether OpenAPI documents describe the cache: 304, response headers, ``x-cache``."""

    local_cache: bool = False
    """Whether to also keep entries in the process; an endpoint's ``local=`` overrides it."""

    local_max_bytes: Bytes = 64 * 1024 * 1024
    """Memory for entries kept in the process, in bytes per process."""

    local_max_ttl: Seconds = 30.0
    """Seconds to keep an entry in the process before it is read from Redis again."""

    strict: bool = False
    """Whether start-up warnings about declarations are errors."""

    deadline: Seconds = 0.05
    """Seconds a request waits for Redis before it bypasses the cache."""

    wait_replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas that must confirm an eviction, so that it survives a failover; 0 means none."""

    wait_max: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0
    """Seconds a request waits for another one computing the same entry; 0 means not at all."""

    lease_ttl: Annotated[float, Field(ge=0.001, allow_inf_nan=False)] = 10.0
    """Seconds until a lease expires if its holder has died; at least 0.001."""

    def __init__(self, **values: Any) -> None:
        problems = ""
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = _explain(error, _secret_fields(type(self)))
        except UnicodeDecodeError:
            problems = "the .env file is not UTF-8 text"
        # Outside of the handlers, so that the error chains to nothing that holds the value.
        if problems:
            raise CacheSettingsError(problems)
        _warn_about_unknown(values, known=type(self).model_fields)
        _warn_about_idle(self)

    @model_validator(mode="before")
    @classmethod
    def _drop_service_link_beside_url(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("url") and _is_service_link(values.get("port")):
            return {name: value for name, value in values.items() if name != "port"}
        return values

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        text = value.get_secret_value().strip()
        require_usable(text)
        return SecretStr(text)

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str) -> str:
        if not _HOST.fullmatch(value):
            raise ValueError("expected a host name or an address; a URL belongs in REDIS_URL")
        return value.strip("[]")

    @field_validator("port", mode="before")
    @classmethod
    def _refuse_service_link(cls, value: object) -> object:
        if _is_service_link(value):
            raise ValueError(
                "Kubernetes set this for a service named 'redis'; "
                "put 'enableServiceLinks: false' into the pod or set REDIS_PORT there"
            )
        return value

    @field_validator("sentinel_nodes", mode="before")
    @classmethod
    def _split_nodes(cls, value: object) -> object:
        if isinstance(value, str):
            return _parse_nodes(part for part in value.split(",") if part.strip())
        return _parse_nodes(value) if isinstance(value, list | tuple) else value

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, value: str) -> str:
        if not _PREFIX.fullmatch(value):
            raise ValueError("must not be empty nor hold braces or white space")
        return value

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> RedisSettings:
        problems = "\n".join(_contradictions(self))
        if problems:
            raise ValueError(problems)
        return self

    @property
    def in_memory(self) -> bool:
        """Whether the cache lives in this process instead of on a server."""
        return self._url_scheme == "memory"

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.ssl or self._url_scheme == "rediss"

    @property
    def location(self) -> str:
        """Where Redis is, for logs: without user names, passwords and options."""
        if self.sentinel:
            nodes = ",".join(_authority(host, port) for host, port in self.sentinel_nodes)
            return f"sentinel://{nodes}/{self.sentinel_master_name}"
        if self.url is None:
            scheme = "rediss" if self.ssl else "redis"
            return f"{scheme}://{_authority(self.host, self.port)}/{self.db}"
        parts = urlsplit(self.url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def address(self) -> Address | None:
        """Host and port of the server; None where the settings do not name one."""
        if self.sentinel:
            return None
        if self.url is None:
            return self.host, self.port
        parts = urlsplit(self.url.get_secret_value())
        return (parts.hostname, parts.port or _PORT) if parts.hostname else None

    @property
    def _url_scheme(self) -> str:
        return urlsplit(self.url.get_secret_value()).scheme if self.url else ""


@lru_cache(maxsize=1)
def get_settings() -> RedisSettings:
    """The settings of this process, read once; ``get_settings.cache_clear()`` reads them again.

    Raises:
        CacheSettingsError: A variable holds a value that cannot be used.
    """
    return RedisSettings()


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse_nodes(nodes: Iterable[object]) -> list[object]:
    return [_parse_node(node, number) for number, node in enumerate(nodes, start=1)]


def _parse_node(node: object, number: int) -> object:
    if not isinstance(node, str):
        return node
    found = _NODE.fullmatch(node.strip())
    if found is None:
        raise ValueError(f"entry {number} is not host:port, with brackets around an IPv6 address")
    return (found["ipv6"] or found["name"], found["port"] or _SENTINEL_PORT)


def _contradictions(settings: RedisSettings) -> Iterator[str]:
    if settings.cluster and settings.sentinel:
        yield "REDIS_SENTINEL: cannot be combined with REDIS_CLUSTER; unset one of the two"
    if settings.sentinel and settings.url is not None:
        yield "REDIS_URL: cannot be combined with REDIS_SENTINEL, which names the server itself"
    if settings.sentinel and not settings.sentinel_nodes:
        yield "REDIS_SENTINEL_NODES: REDIS_SENTINEL needs them, as host:port,host:port"
    if settings.cluster:
        yield from _contradictions_to_cluster(settings)
    yield from _contradictions_to_tls(settings)


def _contradictions_to_cluster(settings: RedisSettings) -> Iterator[str]:
    if settings.url is None:
        if settings.db:
            yield f"REDIS_DB: a cluster has database 0 only (got {settings.db})"
        return
    if (scheme := settings._url_scheme) in ("unix", "memory"):
        yield f"REDIS_URL: {scheme}:// cannot be combined with REDIS_CLUSTER"
    if database_of(settings.url.get_secret_value()):
        yield "REDIS_URL: a cluster has database 0 only"


def _contradictions_to_tls(settings: RedisSettings) -> Iterator[str]:
    scheme = settings._url_scheme
    if settings.ssl and scheme == "unix":
        yield "REDIS_SSL: a unix socket cannot speak TLS"
    if settings.ssl_keyfile and not settings.ssl_certfile:
        yield "REDIS_SSL_CERTFILE: REDIS_SSL_KEYFILE is of no use without the certificate"
    if settings.tls or settings.in_memory:
        return
    for name in _TLS_FILES:
        if getattr(settings, name) is not None:
            yield f"{_variable(name)}: TLS is off; set REDIS_SSL=true or a rediss:// URL"


def _variable(name: str) -> str:
    return f"{_ENV_PREFIX}{name.upper()}"


def _secret_fields(settings: type[RedisSettings]) -> frozenset[str]:
    fields = settings.model_fields.items()
    return frozenset(
        name
        for name, field in fields
        if SecretStr in (field.annotation, *get_args(field.annotation))
    )


def _explain(error: ValidationError, secret: frozenset[str]) -> str:
    return "\n".join(_line(problem, secret) for problem in error.errors(include_url=False))


def _line(problem: ErrorDetails, secret: frozenset[str]) -> str:
    reason = _reason(problem)
    if not problem["loc"]:
        return reason
    name = str(problem["loc"][0])
    return f"{_variable(name)}: {reason}{'' if name in secret else _shown(problem['input'])}"


def _reason(problem: ErrorDetails) -> str:
    """The text of a ``ValueError`` as it was raised; pydantic puts words in front of it."""
    raised = problem.get("ctx", {}).get("error")
    return str(raised) if isinstance(raised, ValueError) else problem["msg"]


def _shown(value: object) -> str:
    """The rejected value, unless it looks like an address that carries a password."""
    text = repr(value)
    if "@" in text or isinstance(value, SecretStr | dict):
        return ""
    if len(text) > _LONGEST_SHOWN_VALUE:
        text = f"{text[:_LONGEST_SHOWN_VALUE]}..."
    return f" (got {text})"


def _warn_about_unknown(values: Iterable[str], *, known: Iterable[str]) -> None:
    names = frozenset(known)
    for name in values:
        if name.startswith("_") or name in names:
            continue
        close = get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        warnings.warn(f"RedisSettings ignores {name!r}{hint}", UserWarning, stacklevel=3)


def _warn_about_idle(settings: RedisSettings) -> None:
    winner, losers = _winner(settings)
    idle = [_variable(name) for name in losers if name in settings.model_fields_set]
    if idle:
        warnings.warn(f"{winner} wins over {', '.join(idle)}", UserWarning, stacklevel=3)


def _winner(settings: RedisSettings) -> tuple[str, tuple[str, ...]]:
    if settings.url is not None:
        return "REDIS_URL", _IDLE_WITH_URL
    return ("REDIS_SENTINEL", _IDLE_WITH_SENTINEL) if settings.sentinel else ("", ())


def _is_service_link(port: object) -> bool:
    """Whether this is what Kubernetes puts into ``REDIS_PORT`` for a service named redis."""
    return isinstance(port, str) and port.startswith("tcp://")
