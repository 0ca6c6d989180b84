"""HTTP whose answers are given up where they come too slowly, whether in their headers or in what they hold.

A socket's own timeout starts anew with each byte: a server that sends one a second would never be given up.
"""

import io
import math
import socket
import ssl
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Annotated, Any
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from pydantic import Field

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Rate = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Pace:
    """How slow a server may be before it counts as failed.

    Args:
      timeout: seconds in which it must have answered, headers included, and over which its rate is taken.
      min_rate: kB a second that must come after that.
    """

    timeout: Seconds = 20.0
    min_rate: Rate = 1.0


USUAL = Pace()


class TooSlow(TimeoutError):
    """Raised by reading from a server that is too slow; the message says so in a few words."""


def opener(pace: Pace) -> OpenerDirector:
    """Opens addresses of HTTP and HTTPS, through the proxies that the environment names, as ``urlopen`` does."""

    class Answer(HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **how: Any):
            super().__init__(sock, *args, **how)
            self.bytes = _Bytes(sock, self.fp, pace)
            self.fp = io.BufferedReader(self.bytes)

        def begin(self) -> None:
            super().begin()
            self.bytes.require(1000 * pace.min_rate)

    class Plain(HTTPConnection):
        response_class = Answer

    class Secure(HTTPSConnection):
        response_class = Answer

    class PlainHandler(HTTPHandler):
        def http_open(self, req: Request) -> Any:
            return self.do_open(Plain, req)

    class SecureHandler(HTTPSHandler):
        def https_open(self, req: Request) -> Any:
            return self.do_open(Secure, req, context=ssl.create_default_context())

    return build_opener(PlainHandler, SecureHandler)


class _Bytes(io.RawIOBase):
    """The bytes of a socket.

    Only the time of waiting for the server counts. First all must come within the timeout, until :meth:`require` is
    called; from then on at a rate, over each stretch of that time.
    """

    def __init__(self, sock: socket.socket, whole: Any, pace: Pace):
        self.sock, self.whole, self.pace = sock, whole, pace
        self.least, self.waited, self.came = math.inf, 0.0, 0

    def require(self, rate: float) -> None:
        """From now on so many bytes a second must come."""
        self.least, self.waited, self.came = rate * self.pace.timeout, 0.0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self.waited >= self.pace.timeout:
                if self.came < max(self.least, 1):
                    raise TooSlow(self._said())
                self.waited, self.came = 0.0, 0
            begun = time.monotonic()
            try:
                self.sock.settimeout(max(self.pace.timeout - self.waited, 1e-3))
                count = self.sock.recv_into(buffer)
            except TimeoutError:
                continue
            finally:
                self.waited += time.monotonic() - begun
            self.came += count
            return count

    def _said(self) -> str:
        seconds = f"{self.pace.timeout:g} s"
        if not self.came:
            return f"silent for {seconds}"
        return f"no answer within {seconds}" if self.least == math.inf else f"sent only {self.came} bytes in {seconds}"

    def close(self) -> None:
        self.whole.close()
        super().close()
