"""Clients of the gateway's load test."""

import asyncio
from contextlib import closing

import pytest

from contentgen_bench.gateway import clients


async def test_a_stream_that_is_refused_ends_the_benchmark_at_once() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\n\r\n")
            await writer.drain()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.RaisesGroup(RuntimeError) as raised:
            await clients.streams(f"http://127.0.0.1:{port}", 0, asyncio.Event())
    assert "404 Not Found" in str(raised.value.exceptions[0])
