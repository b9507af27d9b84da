"""What is kept of a container's stdout and stderr: they arrive mixed in one stream of frames, and each has its cap.

The form is the engine's (Docker Engine API, "Stream format" of ContainerAttach): u8 stream (0 or 1 stdout, 2 stderr), three
zero bytes, u32 BE length, the bytes. Memory in use is bounded by the caps, whatever lengths the frames announce.
"""

from __future__ import annotations

import struct

_HEADER = struct.Struct(">BxxxI")
_STDOUT = frozenset({0, 1})
_STDERR = 2


class BrokenStream(Exception):
    """The engine's framing is broken. A program cannot cause this: the engine writes the headers."""


class Streams:
    """Takes the attach stream piece by piece, and keeps the first bytes of either side.

    `exceeded` turns true when stdout has more than `output_bytes` or stderr more than `flood_bytes`, and stays so.
    """

    def __init__(self, output_bytes: int, sealed_bytes: int, flood_bytes: int) -> None:
        self._output, self._sealed = bytearray(), bytearray()
        self._output_bytes, self._sealed_bytes, self._flood_bytes = output_bytes, sealed_bytes, flood_bytes
        self._header = bytearray()
        self._side, self._left = 0, 0
        self._stderr_seen = 0
        self.exceeded = False

    def feed(self, data: bytes) -> None:
        """Takes what was read from the attach stream, cut anywhere. Raises BrokenStream."""
        view = memoryview(data)
        while view and not self.exceeded:
            if self._left:
                piece, view = view[: self._left], view[self._left :]
                self._left -= len(piece)
                self._keep(piece)
            else:
                missing = _HEADER.size - len(self._header)
                self._header += view[:missing]
                view = view[missing:]
                self._open_frame()

    def _open_frame(self) -> None:
        if len(self._header) < _HEADER.size:
            return
        self._side, self._left = _HEADER.unpack(self._header)
        self._header.clear()
        if self._side not in _STDOUT and self._side != _STDERR:
            raise BrokenStream

    def _keep(self, piece: memoryview) -> None:
        if self._side == _STDERR:
            self._stderr_seen += len(piece)
            self._sealed += piece[: self._sealed_bytes - len(self._sealed)]
            self.exceeded = self._stderr_seen > self._flood_bytes
        else:
            room = self._output_bytes - len(self._output)
            self._output += piece[:room]
            self.exceeded = len(piece) > room

    @property
    def output(self) -> bytes:
        """What is kept of stdout."""
        return bytes(self._output)

    @property
    def sealed(self) -> bytes:
        """What is kept of stderr."""
        return bytes(self._sealed)
