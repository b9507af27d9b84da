"""How bodies of requests are taken in: few at once, in limited time, and beyond their document only where the service signed it.

Whoever reaches the port may send anything. What that costs is bounded: memory by the places and by the size of a document, time by
a limit for the whole of a body, the wait for a place included.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from keyholder.request import LENGTH, MAX_BODY_BYTES, Unsigned, document_size, signed_part

PLACES = 4
SECONDS = 60.0


class Intake:
    """Takes in bodies that are signed under the service's public key."""

    def __init__(self, key: str) -> None:
        self._key, self._places = key, asyncio.Semaphore(PLACES)

    @contextlib.asynccontextmanager
    async def body(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A whole body, which keeps its place until it is done with. Raises Unsigned, TimeoutError, ClientDisconnect."""
        try:
            async with asyncio.timeout(SECONDS) as limit, self._places:
                found = await self._read(stream)
                limit.reschedule(None)
                yield found
        except Unsigned:
            await _pass_over(stream)
            raise

    async def _read(self, stream: AsyncIterator[bytes]) -> bytes:
        body, end, signed = bytearray(), None, False
        async for part in stream:
            body += part
            if len(body) > MAX_BODY_BYTES:
                raise Unsigned("the request is too large")
            if end is None and len(body) >= LENGTH.size:
                end = LENGTH.size + document_size(body)
            if end is not None and not signed and len(body) >= end:
                await run_in_threadpool(signed_part, bytes(body[LENGTH.size : end]), self._key)
                signed = True
        return bytes(body)


async def _pass_over(stream: AsyncIterator[bytes]) -> None:
    """Let the rest go by unkept: who is cut off while it sends does not read its answer."""
    left = MAX_BODY_BYTES
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(SECONDS):
            async for part in stream:
                left -= len(part)
                if left < 0:
                    return
