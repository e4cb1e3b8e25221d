"""TLS servers that forward to plain ones, and a CONNECT proxy; only Python's standard library.

Arguments: `PORT=host:port` for a TLS server with /edge/tls.crt, `PORT=proxy` for the proxy. The log has the address of
each CONNECT request.
"""

import asyncio
import contextlib
import ssl
import sys
from pathlib import Path

_FOLDER = Path("/edge")


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(host, port)
    except OSError as error:
        sys.stdout.write(f"not connected to {host}:{port}: {error}\n")
        writer.close()
        return
    await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))


async def _proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    method, address, _ = head.partition("\r\n")[0].split(" ")
    sys.stdout.write(f"{method} {address}\n")
    if method != "CONNECT":
        writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        return
    host, _, port = address.rpartition(":")
    writer.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
    await _join(reader, writer, host.strip("[]"), int(port))


async def _serve(argument: str, context: ssl.SSLContext) -> asyncio.Server:
    port, _, target = argument.partition("=")
    if target == "proxy":
        return await asyncio.start_server(_proxy, port=int(port))
    host, _, far = target.rpartition(":")
    return await asyncio.start_server(
        lambda reader, writer: _join(reader, writer, host, int(far)), port=int(port), ssl=context
    )


async def _main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_FOLDER / "tls.crt", _FOLDER / "tls.key")
    servers = [await _serve(each, context) for each in sys.argv[1:]]
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(_main())
