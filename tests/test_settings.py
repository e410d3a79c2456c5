"""Settings: what is read, what is refused and in which words; no secret is ever shown."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from documentation import attribute_docstrings
from redis_fastapi.exceptions import CacheSettingsError
from redis_fastapi.settings import RedisSettings, get_settings

SECRET = "s3cr3t-hunter2"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `REDIS_*` variable and no `.env` but those of the test."""
    for name in RedisSettings.model_fields:
        monkeypatch.delenv(f"REDIS_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fresh_get_settings() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def refusal(**values: Any) -> CacheSettingsError:
    with pytest.raises(CacheSettingsError) as caught:
        RedisSettings(**values)
    return caught.value


# Reading


def test_defaults_are_a_local_server_and_the_documented_limits() -> None:
    settings = RedisSettings()

    assert settings.location == "redis://localhost:6379/0"
    assert (settings.prefix, settings.default_ttl, settings.obey_client_directives) == (
        "fastapi",
        0,
        True,
    )
    assert (settings.max_body_size, settings.max_header_size) == (10_485_760, 8_192)
    assert (settings.deadline, settings.wait_max, settings.lease_ttl) == (0.05, 5.0, 10.0)
    assert (settings.enabled, settings.strict, settings.tls, settings.in_memory) == (
        True,
        False,
        False,
        False,
    )


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("HOST", "cache.example", "cache.example"),
        ("PORT", "6380", 6380),
        ("DB", "3", 3),
        ("USERNAME", "app", "app"),
        ("SSL", "true", True),
        ("SSL_CHECK_HOSTNAME", "false", False),
        ("MAX_CONNECTIONS", "20", 20),
        ("SOCKET_TIMEOUT", "1.5", 1.5),
        ("SOCKET_CONNECT_TIMEOUT", "0.5", 0.5),
        ("CLUSTER", "1", True),
        ("SENTINEL_MASTER_NAME", "shop", "shop"),
        ("SENTINEL_NODES", "a:1,b:2", (("a", 1), ("b", 2))),
        ("SENTINEL_USERNAME", "watcher", "watcher"),
        ("PREFIX", "redis:fastapi", "redis:fastapi"),
        ("DEFAULT_TTL", "300", 300),
        ("MAX_BODY_SIZE", "1024", 1024),
        ("MAX_HEADER_SIZE", "512", 512),
        ("OBEY_CLIENT_DIRECTIVES", "no", False),
        ("ENABLED", "off", False),
        ("STRICT", "yes", True),
        ("DEADLINE", "0.02", 0.02),
        ("WAIT_MAX", "0", 0.0),
        ("LEASE_TTL", "30", 30.0),
    ],
)
def test_each_variable_sets_its_field(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"REDIS_{variable}", text)

    assert getattr(RedisSettings(), variable.lower()) == value


@pytest.mark.parametrize("name", ["url", "password", "sentinel_password"])
def test_secret_variables_are_read(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"REDIS_{name.upper()}", f"redis://:{SECRET}@h/1")

    assert getattr(RedisSettings(), name).get_secret_value() == f"redis://:{SECRET}@h/1"


def test_tls_files_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "some.pem"
    file.touch()
    names = ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs")
    for name in names:
        monkeypatch.setenv(f"REDIS_{name.upper()}", str(file))

    settings = RedisSettings(ssl=True)

    assert [getattr(settings, name) for name in names] == [file, file, file]


def test_keyword_wins_over_environment_and_environment_over_dotenv(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text("REDIS_HOST=file\nREDIS_PREFIX=file\nREDIS_DB=1\n", encoding="utf-8")
    monkeypatch.setenv("REDIS_HOST", "environment")
    monkeypatch.setenv("REDIS_PREFIX", "environment")

    settings = RedisSettings(host="keyword")

    assert (settings.host, settings.prefix, settings.db) == ("keyword", "environment", 1)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "PORT", "PASSWORD", "SENTINEL_NODES"):
        monkeypatch.setenv(f"REDIS_{name}", "")

    assert RedisSettings().location == "redis://localhost:6379/0"


def test_variables_of_others_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_SERVICE_HOST", "10.0.0.1")
    Path(".env").write_text("REDIS_SESSION_COOKIE_NAME=x\nDATABASE_URL=y\n", encoding="utf-8")

    assert RedisSettings().host == "localhost"


def test_an_unknown_keyword_warns_with_the_nearest_name() -> None:
    with pytest.warns(UserWarning, match="ignores 'prot'; did you mean 'port'") as caught:
        RedisSettings(prot=1)

    assert caught[0].filename == __file__


def test_settings_cannot_be_changed_and_compare_by_value() -> None:
    settings = RedisSettings(prefix="a", password=SECRET)

    with pytest.raises(ValidationError):
        settings.prefix = "b"
    assert settings == RedisSettings(prefix="a", password=SECRET)
    assert hash(settings) == hash(RedisSettings(prefix="a", password=SECRET))
    assert settings != RedisSettings(prefix="a", password="another")


def test_a_dump_makes_the_same_settings() -> None:
    settings = RedisSettings(sentinel=True, sentinel_nodes="a,[::1]:3", password=SECRET)

    copied = {name: getattr(settings, name) for name in settings.model_fields_set}

    assert RedisSettings(**copied) == settings


def test_every_field_is_documented_with_its_unit() -> None:
    documented = attribute_docstrings(RedisSettings)

    assert documented.keys() == RedisSettings.model_fields.keys()
    assert all(text.endswith(".") for text in documented.values())
    assert len(set(documented.values())) == len(documented)
    assert [name for name, text in documented.items() if "econds" in text] == [
        "socket_timeout",
        "socket_connect_timeout",
        "default_ttl",
        "stats_interval",
        "local_max_ttl",
        "deadline",
        "wait_max",
        "lease_ttl",
    ]
    assert [name for name, text in documented.items() if "in bytes" in text] == [
        "max_body_size",
        "max_header_size",
        "local_max_bytes",
    ]


# Bad values


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PORT", "x"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("DB", "-1"),
        ("HOST", "two words"),
        ("HOST", "redis://cache"),
        ("SSL", "maybe"),
        ("SSL_CERTFILE", "/no/such/file.pem"),
        ("SSL_KEYFILE", "/no/such/file.pem"),
        ("SSL_CA_CERTS", "/no/such/file.pem"),
        ("MAX_CONNECTIONS", "0"),
        ("SOCKET_TIMEOUT", "0"),
        ("SOCKET_CONNECT_TIMEOUT", "-1"),
        ("SENTINEL_NODES", "a:b"),
        ("SENTINEL_NODES", "::1"),
        ("SENTINEL_NODES", "[::1]x"),
        ("SENTINEL_NODES", "a b"),
        ("PREFIX", "a{b}"),
        ("PREFIX", "a b"),
        ("PREFIX", " "),
        ("DEFAULT_TTL", "-1"),
        ("DEFAULT_TTL", "1.5"),
        ("MAX_BODY_SIZE", "0"),
        ("MAX_HEADER_SIZE", "10MiB"),
        ("OBEY_CLIENT_DIRECTIVES", "sometimes"),
        ("DEADLINE", "0"),
        ("DEADLINE", "inf"),
        ("DEADLINE", "nan"),
        ("WAIT_MAX", "-1"),
        ("LEASE_TTL", "0"),
    ],
)
def test_a_bad_value_is_named_by_its_variable_and_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(f"REDIS_{variable}", text)

    message = str(refusal())

    assert message.startswith(f"REDIS_{variable}: ")
    assert f"(got {text!r})" in message
    assert "\n" not in message


def test_a_bad_keyword_is_refused_like_a_bad_variable() -> None:
    assert str(refusal(port="x")).startswith("REDIS_PORT: ")
    assert str(refusal(prefix="")).startswith("REDIS_PREFIX: ")
    assert str(refusal(sentinel_master_name="")).startswith("REDIS_SENTINEL_MASTER_NAME: ")


def test_the_port_of_a_sentinel_has_the_range_of_a_port() -> None:
    message = str(refusal(sentinel_nodes=["a:1", "b:65536"]))

    assert message.startswith("REDIS_SENTINEL_NODES: ")
    assert "65536" in message


def test_every_bad_value_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PORT", "x")
    monkeypatch.setenv("REDIS_DB", "y")

    lines = str(refusal(deadline=0)).splitlines()

    assert [line.partition(":")[0] for line in lines] == [
        "REDIS_PORT",
        "REDIS_DB",
        "REDIS_DEADLINE",
    ]


def test_a_long_value_is_cut() -> None:
    assert len(str(refusal(prefix="{" * 10_000))) < 300


def test_a_service_link_of_kubernetes_is_explained() -> None:
    assert "enableServiceLinks" in str(refusal(port="tcp://10.0.0.1:6379"))


def test_a_service_link_of_kubernetes_does_no_harm_beside_a_url() -> None:
    assert RedisSettings(url="redis://cache", port="tcp://10.0.0.1:6379").port == 6379


def test_a_secret_that_a_subclass_adds_is_not_shown() -> None:
    class Extended(RedisSettings):
        token: SecretStr = SecretStr("")

    values: dict[str, Any] = {"token": [SECRET]}
    with pytest.raises(CacheSettingsError) as caught:
        Extended(**values)

    assert_hidden(caught.value)


def test_a_dotenv_in_another_encoding_is_named() -> None:
    Path(".env").write_text("REDIS_HOST=cache\n", encoding="utf-16")

    assert str(refusal()) == "the .env file is not UTF-8 text"


def test_a_settings_error_is_also_a_value_error() -> None:
    assert isinstance(refusal(port="x"), ValueError)


# URL


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://cache", "redis://cache"),
        ("redis://cache:6380/2", "redis://cache:6380/2"),
        (f"rediss://app:{SECRET}@cache:6380/2?socket_timeout=1", "rediss://cache:6380/2"),
        (f"redis://:{SECRET}@[::1]:6380", "redis://[::1]:6380"),
        (f"unix:///run/redis.sock?db=1&password={SECRET}", "unix:///run/redis.sock"),
        (f"unix://app:{SECRET}@/run/redis.sock", "unix:///run/redis.sock"),
        ("memory://", "memory://"),
        (" redis://cache/1\n", "redis://cache/1"),
        ("REDIS://cache/1", "redis://cache/1"),
    ],
)
def test_a_url_is_accepted_and_its_location_shows_no_credentials(url: str, location: str) -> None:
    assert RedisSettings(url=url).location == location


@pytest.mark.parametrize(
    "url",
    [
        f"http://app:{SECRET}@cache",
        f"{SECRET}",
        f"app:{SECRET}@cache:6379",
        f"redis://:{SECRET}@cache:port",
        f"redis://:{SECRET}@cache:70000",
        f"redis://:{SECRET}@cache:0",
        f"redis://:{SECRET}/slash@cache",
        f"redis://:{SECRET}#hash@cache",
        f"redis://:1#{SECRET}@cache",
        f"redis://:1?{SECRET}@cache",
        f"redis://:1/{SECRET}@cache",
        f"redis://:{SECRET}[@cache",
        f"redis://:{SECRET}@cache/first",
        f"redis://:{SECRET}@cache?db=first",
        f"redis://:{SECRET}@cache?flag",
        f"unix://:{SECRET}@relative/path",
        f"unix://:{SECRET}@/",
        f"memory://{SECRET}",
        "",
    ],
)
def test_an_unusable_url_is_refused_without_being_quoted(url: str) -> None:
    error = refusal(url=url)

    assert str(error).startswith("REDIS_URL: ")
    assert_hidden(error)


def test_a_url_wins_and_one_warning_names_the_unused_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_HOST", "other")
    monkeypatch.setenv("REDIS_PASSWORD", SECRET)

    with pytest.warns(UserWarning, match="wins") as caught:
        settings = RedisSettings(url="redis://cache", db=2)

    assert [str(each.message) for each in caught] == [
        "REDIS_URL wins over REDIS_HOST, REDIS_DB, REDIS_PASSWORD"
    ]
    assert caught[0].filename == __file__
    assert settings.location == "redis://cache"


def test_sentinels_win_over_host_and_port() -> None:
    with pytest.warns(UserWarning, match="REDIS_SENTINEL wins over REDIS_HOST, REDIS_PORT"):
        RedisSettings(sentinel=True, sentinel_nodes="a", host="b", port=1)


def test_consistent_settings_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RedisSettings(url="redis://cache", prefix="a")
        RedisSettings(host="cache", port=1, db=2, username="a", password=SECRET)
        RedisSettings(sentinel=True, sentinel_nodes="a", db=2, username="a", password=SECRET)


# Sentinels


@pytest.mark.parametrize(
    ("given", "nodes"),
    [
        ("a", (("a", 26379),)),
        (" a:1 , b ,", (("a", 1), ("b", 26379))),
        ("[::1]:1,[fe80::1%eth0]", (("::1", 1), ("fe80::1%eth0", 26379))),
        (["a:1", ("b", 2)], (("a", 1), ("b", 2))),
        ((), ()),
    ],
)
def test_sentinels_are_read_from_text_and_lists(given: object, nodes: object) -> None:
    assert RedisSettings(sentinel_nodes=given).sentinel_nodes == nodes


def test_the_location_of_a_sentinel_set_names_nodes_and_master() -> None:
    settings = RedisSettings(sentinel=True, sentinel_nodes="a,[::1]:1", sentinel_master_name="shop")

    assert settings.location == "sentinel://a:26379,[::1]:1/shop"


# Contradictions


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (
            {"cluster": True, "sentinel": True, "sentinel_nodes": "a"},
            "REDIS_SENTINEL: cannot be combined with REDIS_CLUSTER",
        ),
        ({"cluster": True, "db": 1}, "REDIS_DB: a cluster has database 0 only (got 1)"),
        (
            {"cluster": True, "url": f"redis://:{SECRET}@a/1"},
            "REDIS_URL: a cluster has database 0 only",
        ),
        (
            {"cluster": True, "url": f"redis://:{SECRET}@a?db=1"},
            "REDIS_URL: a cluster has database 0 only",
        ),
        ({"cluster": True, "url": "memory://"}, "REDIS_URL: memory:// cannot be combined"),
        ({"cluster": True, "url": "unix:///a"}, "REDIS_URL: unix:// cannot be combined"),
        ({"sentinel": True}, "REDIS_SENTINEL_NODES: REDIS_SENTINEL needs them"),
        (
            {"sentinel": True, "sentinel_nodes": "a", "url": "memory://"},
            "REDIS_URL: cannot be combined with REDIS_SENTINEL",
        ),
        (
            {"sentinel": True, "sentinel_nodes": "a", "url": f"redis://:{SECRET}@a"},
            "REDIS_URL: cannot be combined with REDIS_SENTINEL",
        ),
        ({"ssl": True, "url": "unix:///a"}, "REDIS_SSL: a unix socket cannot speak TLS"),
        ({"ssl_ca_certs": __file__}, "REDIS_SSL_CA_CERTS: TLS is off"),
        ({"ssl_certfile": __file__}, "REDIS_SSL_CERTFILE: TLS is off"),
        ({"ssl": True, "ssl_keyfile": __file__}, "REDIS_SSL_CERTFILE: REDIS_SSL_KEYFILE is of no"),
    ],
)
def test_a_contradiction_is_refused(values: dict[str, Any], line: str) -> None:
    error = refusal(**values)

    assert str(error).startswith(line)
    assert_hidden(error)


def test_every_contradiction_has_a_line_of_its_own() -> None:
    lines = str(refusal(cluster=True, sentinel=True, db=1)).splitlines()

    assert [line.partition(":")[0] for line in lines] == [
        "REDIS_SENTINEL",
        "REDIS_SENTINEL_NODES",
        "REDIS_DB",
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"cluster": True, "url": "rediss://a/0"},
        {"ssl": True, "url": "redis://a"},
        {"ssl_ca_certs": __file__, "url": "rediss://a"},
        {"ssl_ca_certs": __file__, "ssl": True, "url": "memory://"},
        {"sentinel_nodes": "a"},
    ],
)
def test_consistent_settings_are_accepted(values: dict[str, Any]) -> None:
    assert RedisSettings(**values).model_fields_set == set(values)


# Secrets


def assert_hidden(error: BaseException) -> None:
    shown = [str(error), repr(error), *traceback.format_exception(error)]
    assert not [text for text in shown if SECRET in text]
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    "values",
    [
        {"password": [SECRET]},
        {"sentinel_password": {"value": SECRET}},
        {"url": SECRET.encode() + b"\xff"},
        {"password": SECRET, "port": "x"},
        {"host": f"redis://:{SECRET}@cache"},
        {"sentinel_nodes": f"redis://:{SECRET}@cache"},
    ],
)
def test_an_error_never_shows_a_secret(values: dict[str, Any]) -> None:
    assert_hidden(refusal(**values))


def test_the_error_behind_a_refusal_does_show_the_secret() -> None:
    class Unprotected(BaseModel):
        password: SecretStr

    with pytest.raises(ValidationError) as caught:
        Unprotected.model_validate({"password": [SECRET]})

    assert SECRET in str(caught.value)


def test_validation_by_pydantic_never_shows_a_secret() -> None:
    with pytest.raises(ValueError, match="REDIS_URL") as caught:
        RedisSettings.model_validate({"url": f"http://:{SECRET}@cache"})

    assert SECRET not in str(caught.value)


def test_settings_never_show_a_secret() -> None:
    settings = RedisSettings(
        url=f"redis://:{SECRET}@cache", sentinel_password=SECRET, sentinel_nodes="a"
    )
    protected = RedisSettings(password=SECRET)

    for each in (settings, protected):
        shown = (repr(each), str(each), f"{each}", str(each.model_dump()), each.model_dump_json())
        assert not [text for text in (*shown, each.location) if SECRET in text]


# The settings of the process


@pytest.mark.usefixtures("fresh_get_settings")
def test_the_settings_of_the_process_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = get_settings()
    monkeypatch.setenv("REDIS_PREFIX", "later")

    assert get_settings() is first
    get_settings.cache_clear()
    assert get_settings().prefix == "later"


@pytest.mark.usefixtures("fresh_get_settings")
def test_a_refusal_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PORT", "x")
    with pytest.raises(CacheSettingsError, match="REDIS_PORT"):
        get_settings()

    monkeypatch.setenv("REDIS_PORT", "6380")

    assert get_settings().port == 6380
