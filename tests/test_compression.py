"""Stored compression: smaller in Redis, the same for clients, and never needed to read."""

from __future__ import annotations

import random
from typing import Annotated

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import Response
from httpx import AsyncClient

from apps import caching_app, memory_settings, serving, state_of
from redis_fastapi import Cached, CacheSetupError
from redis_fastapi._redis import compression
from redis_fastapi._redis.compression import compressor, decompressed
from redis_fastapi._redis.entry import Entry, decode, encode
from support import start_up

VALIDITY = b"shape--1"
TEXT = b"the same words over and over; " * 100
NOISE = random.Random(1).randbytes(4_096)
ENTRY = Entry(200, ((b"content-type", b"text/plain"),), TEXT, 1_000, 0)


@pytest.fixture
def without_zstandard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_zstandard", lambda: None)


def test_a_large_body_is_stored_smaller_and_comes_back() -> None:
    raw = encode(ENTRY, VALIDITY, compressor("zstd"))
    assert len(raw) < len(TEXT) / 10
    assert decode(raw, VALIDITY) == ENTRY


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY._replace(body=TEXT[:2_047]),
        ENTRY._replace(body=NOISE),
        ENTRY._replace(headers=((b"content-encoding", b"gzip"),)),
    ],
    ids=["below-2-KB", "incompressible", "encoded-already"],
)
def test_an_incompressible_body_is_stored_as_it_is(entry: Entry) -> None:
    assert encode(entry, VALIDITY, compressor("zstd")) == encode(entry, VALIDITY)


def test_a_damaged_frame_is_a_miss() -> None:
    raw = encode(ENTRY, VALIDITY, compressor("zstd"))
    for position in range(len(raw) - 40, len(raw)):
        damaged = bytearray(raw)
        damaged[position] ^= 0x55
        assert decode(bytes(damaged), VALIDITY) is None


def test_a_frame_is_read_to_its_end_and_no_further() -> None:
    packed = compressor("zstd")(TEXT)  # type: ignore[misc] # there is one for this name
    assert decompressed(packed) == TEXT
    assert decompressed(packed[:-1]) is None
    assert decompressed(packed + b"x") is None


@pytest.mark.usefixtures("without_zstandard")
def test_without_the_package_a_compressed_entry_is_a_miss() -> None:
    assert decompressed(b"anything") is None


@pytest.mark.usefixtures("without_zstandard")
def test_without_the_package_start_up_names_the_extra() -> None:
    with pytest.raises(CacheSetupError, match=r"pip install .*\[compression\]"):
        start_up(caching_app(memory_settings(compression="zstd")))


async def test_a_client_sees_no_difference_and_another_process_reads_it() -> None:
    server = FakeServer()
    answers = []
    for chosen in ("zstd", None):
        async with FakeAsyncRedis(server=server) as client:
            app = caching_app(memory_settings(compression=chosen))

            @app.get("/text")
            async def read_text() -> Annotated[Response, Cached(60)]:
                return Response(TEXT, media_type="text/plain")

            async with serving(app, client) as http:
                answers += [await get(http), await get(http)]
            (key,) = [one async for one in client.scan_iter("*:e:*")]
            assert await client.strlen(key) < len(TEXT) / 2
    assert [state for state, _ in answers] == ["MISS", "HIT", "HIT", "HIT"]
    assert {body for _, body in answers} == {TEXT}


async def get(http: AsyncClient) -> tuple[str | None, bytes]:
    answer = await http.get("/text", headers={"accept-encoding": "identity"})
    return state_of(answer), answer.content
