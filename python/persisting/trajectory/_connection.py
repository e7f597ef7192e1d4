"""Connections to a process that serves a store of trajectories.

The protocol is described in `engine/trajectory/remote/wire.go`. Nothing here needs the engine, so
that processes which only write or load steps begin fast, and those that were forked can do so too.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import weakref
from typing import TYPE_CHECKING, Any

from persisting._errors import ClosedError, InvalidArgumentError, PersistingError, error_for

if TYPE_CHECKING:
    from collections.abc import Sequence

_GREETING = struct.pack("<8sII", b"\x89PTRJ\r\n\x1a", 1, 0)
_HEAD = struct.Struct("<IBBxxQ")  # length of what follows, operation, status, number
_COUNTED = _HEAD.size - 4  # of it, by that length
_LENGTH = struct.Struct("<I")
_DRAWN = struct.Struct("<q")
_SAMPLE = struct.Struct("<qq")

_CALL, _SAMPLING = 1, 2
_LAST, _MORE, _FAILED = 0, 1, 2

_DIAL_SECONDS = 5.0
_JOINED = 64 << 10  # what is copied together rather than sent piece by piece
_MOST = 1 << 30  # bytes of a request


class Connection:
    """A connection, for one request after the other.

    What ends in the middle ends it, an interruption of the program too: nobody knows then what
    comes next.

    Parameters
    ----------
    address
        ``unix:PATH`` or ``tcp:HOST:PORT``.

    Raises
    ------
    ClosedError
        Nobody serves there.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.process = os.getpid()
        self._number = 0
        self._head = bytearray(_HEAD.size)
        connected: socket.socket | None = None
        try:
            connected = _dial(address)
            connected.sendall(_GREETING)
            greeting = bytearray(len(_GREETING))
            _receive(connected, memoryview(greeting))
            if greeting != _GREETING:
                raise OSError(
                    f"it greets with {bytes(greeting).hex(' ')}, and speaks another version"
                )
            connected.settimeout(None)
        except OSError as error:
            if connected is not None:
                connected.close()
            raise self._lost(error) from None
        self._socket = connected
        self._finalizer = weakref.finalize(self, connected.close)

    def close(self) -> None:
        """End it; a second call does nothing."""
        self._finalizer()

    def alive(self) -> bool:
        """Whether it is there still, and of this process: nothing comes while nobody asks."""
        if self.process != os.getpid() or not self._finalizer.alive:
            return False
        try:
            self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def call(self, verb: str, body: Sequence[Any] = (), **arguments: Any) -> tuple[Any, memoryview]:
        """Ask for something and return what is answered: JSON, and bytes.

        Raises
        ------
        ClosedError
            The connection has ended. It is not known whether it was done.
        PersistingError
            It failed at the other side, with the error of that.
        """
        text = json.dumps({"verb": verb, **arguments}).encode()
        with self._whole():
            self._send(_CALL, [_LENGTH.pack(len(text)), text, *body])
            status, content = self._answer()
        if status == _FAILED:
            raise _failure(content)
        (length,) = _LENGTH.unpack_from(content)
        end = _LENGTH.size + length
        return json.loads(bytes(content[_LENGTH.size : end])), content[end:]

    def sample(self, draws: int, oldest: int, into: Sequence[Any]) -> tuple[int, Any]:
        """Draw into arrays; return how many were drawn, and where the sampler is."""
        with self._whole():
            self._send(_SAMPLING, [_SAMPLE.pack(draws, oldest)])
            status, size = self._frame()
            if status != _FAILED:
                views = [array.data.cast("B") for array in into if array.nbytes]
                rest = size - _DRAWN.size - sum(map(len, views))
                if rest < 0:
                    raise OSError(f"a sample of {size} bytes is {-rest} too short")
                drawn, position = bytearray(_DRAWN.size), bytearray(rest)
                self._fill([memoryview(drawn), *views, memoryview(position)])
                return _DRAWN.unpack(drawn)[0], json.loads(position)
            content = self._content(size)
        raise _failure(content)

    # ---- frames ----

    @contextlib.contextmanager
    def _whole(self) -> Any:
        """Do all of an exchange, or end the connection."""
        try:
            yield
        except OSError as error:
            self.close()
            raise self._lost(error) from None
        except BaseException:
            self.close()
            raise

    def _lost(self, error: OSError) -> ClosedError:
        return ClosedError(
            f"no connection to the owner of the trajectory store at {self.address}: {error};"
            " once it serves again, the same can be said again"
        )

    def _send(self, operation: int, pieces: Sequence[Any]) -> None:
        self._number += 1
        size = sum(map(len, pieces))
        if size > _MOST:
            raise InvalidArgumentError(f"{size} bytes at once, want at most {_MOST}: send parts")
        head = _HEAD.pack(_COUNTED + size, operation, 0, self._number)
        if size < _JOINED:
            self._socket.sendall(b"".join([head, *pieces]))
            return
        for piece in (head, *pieces):
            self._socket.sendall(piece)

    def _frame(self) -> tuple[int, int]:
        """Return the status of the next frame, and the size of its content."""
        _receive(self._socket, memoryview(self._head))
        length, _, status, number = _HEAD.unpack(self._head)
        if number != self._number or length < _COUNTED:
            raise OSError(
                f"request {self._number} is answered by frame {bytes(self._head).hex(' ')}"
            )
        return status, length - _COUNTED

    def _content(self, size: int) -> memoryview:
        content = memoryview(bytearray(size))
        _receive(self._socket, content)
        return content

    def _answer(self) -> tuple[int, memoryview]:
        """Return the status of an answer, and its content."""
        pieces: list[memoryview] = []
        while True:
            status, size = self._frame()
            content = self._content(size)
            if status == _FAILED or (status == _LAST and not pieces):
                return status, content
            pieces.append(content)
            if status == _LAST:
                return status, memoryview(b"".join(pieces))

    def _fill(self, views: list[memoryview]) -> None:
        """Receive into several places, mostly at once."""
        got = self._socket.recvmsg_into(views, 0, socket.MSG_WAITALL)[0]
        for view in views:
            if got < len(view):
                _receive(self._socket, view[got:])
            got = max(0, got - len(view))


def _dial(address: str) -> socket.socket:
    kind, _, place = address.partition(":")
    if kind == "unix" and place:
        connected = socket.socket(socket.AF_UNIX)
        connected.settimeout(_DIAL_SECONDS)
        try:
            connected.connect(place)
        except BaseException:
            connected.close()
            raise
        return connected
    host, colon, port = place.rpartition(":")
    if kind != "tcp" or not colon or not port.isdecimal():
        raise InvalidArgumentError(f"address is {address!r}, want unix:PATH or tcp:HOST:PORT")
    connected = socket.create_connection((host.strip("[]"), int(port)), _DIAL_SECONDS)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return connected


def _receive(connected: socket.socket, view: memoryview) -> None:
    """Fill memory."""
    while len(view):
        got = connected.recv_into(view, 0, socket.MSG_WAITALL)
        if not got:
            raise ConnectionResetError("it has ended")
        view = view[got:]


def _failure(content: memoryview) -> PersistingError:
    """Return the error of the other side, of the class that it has there."""
    told = json.loads(bytes(content))
    return error_for(told["code"], told["message"], told["detail"])
