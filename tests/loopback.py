"""A server on this machine that serves files as real ones do, and misbehaves on demand."""

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Site:
    """A server of ``files``, bytes by path; a context manager.

    Args:
      status: what it answers to everything, if it is no success.
      ranges: whether it can send a part of a file.
      shift: it sends a part so many bytes further on than it was asked for.
      sized: whether it tells how long its answer is.
      cuts: so many bytes of a body it sends before it breaks off, a number an answer; then whole bodies.
      pause: seconds that a connection stays open and silent after what was sent.
      trickle: ``headers`` or ``body``, which it sends a byte at a time, 30 a second.
      gate: what it waits for after the first half of a body.
      moved: other paths that lead to files.
      requests: what it was asked for: path, and range or None.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    status: int | None = None
    ranges: bool = True
    shift: int = 0
    sized: bool = True
    cuts: list[int] = field(default_factory=list)
    pause: float = 0.0
    trickle: str = ""
    gate: threading.Event | None = None
    moved: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def __enter__(self) -> "Site":
        self.closing = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": self}))
        self.server.daemon_threads = False  # so that closing waits for them
        self.server.handle_error = lambda *_: None  # who asked has gone
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def ranges_asked(self) -> list[str | None]:
        return [asked for _, asked in self.requests]


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site, asked = self.site, self.headers.get("Range")
        site.requests.append((self.path, asked))
        body = site.files.get(self.path)
        if self.path in site.moved:
            self.send_response(302)
            self.send_header("Location", site.moved[self.path])
            self.end_headers()
            return
        if site.status or body is None:
            self.send_error(site.status or 404)
            return
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and site.ranges else None
        if first is not None and first >= len(body):
            self.send_error(416)
            return
        start = 0 if first is None else first + site.shift
        self.send_response(200 if first is None else 206)
        if first is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if site.sized:
            self.send_header("Content-Length", str(len(body) - start))
        if site.trickle == "headers":
            self.flush_headers()
            self.slowly(b"X-Long: " + b"x" * 500)
        self.end_headers()
        body = body[start:] if not site.cuts else body[start : start + site.cuts.pop(0)]
        if site.gate is not None:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            site.gate.wait(60)
            body = body[len(body) // 2 :]
        if site.trickle == "body":
            self.slowly(body)
            return
        self.wfile.write(body)
        self.wfile.flush()
        if site.pause:
            site.closing.wait(site.pause)

    def slowly(self, sent: bytes) -> None:
        for byte in sent:
            if self.site.closing.wait(1 / 30):
                break
            self.wfile.write(bytes([byte]))

    def log_message(self, *_: Any) -> None:
        pass
