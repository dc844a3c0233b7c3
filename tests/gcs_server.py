"""Google Cloud Storage's JSON API on a loopback port, in memory, as far as this package uses it; and its bad days."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from gcs_store import Answer, ServiceError, Store
from google.api_core.retry import retry_unary

RESET = "reset"
"""Instead of an answer: the connection breaks."""
CUT = "cut"
"""The answer's body ends in the middle."""


@dataclass
class Fault:
    """What happens to some requests instead of an answer.

    Attributes:
        matches: for whose ``METHOD /path?query`` (percent-decoded).
        what: an HTTP status, :data:`RESET` or :data:`CUT`; or something to do before the request is served as usual.
        skip: how many matching requests are served before.
        times: how many are not, then.
        done: whether the request is carried out all the same, so that only its answer is lost.
        message: what a status says.
    """

    matches: re.Pattern[str]
    what: int | str | Callable[[], object]
    skip: int
    times: int
    done: bool
    message: str
    hits: int = 0


class GcsServer:
    """The server; :attr:`store` is what it holds and :attr:`requests` what it was asked."""

    def __init__(self, page_size: int = 1000, rewrite_bytes: int = 1 << 40) -> None:
        """Lists at most ``page_size`` names and copies at most ``rewrite_bytes`` per request."""
        self.store = Store(page_size, rewrite_bytes)
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"gcs": self})
        self._http = _Listener(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def fail(
        self,
        matches: str,
        what: int | str = 503,
        *,
        skip: int = 0,
        times: int = 1,
        done: bool = False,
        message: str = "",
    ) -> Fault:
        """Let some of the requests to come fail; returns the :class:`Fault`, whose ``hits`` count them."""
        fault = Fault(re.compile(matches), what, skip, times, done, message or f"injected {what}")
        with self.lock:
            self.faults.append(fault)
        return fault

    def meanwhile(self, matches: str, action: Callable[[], object], *, skip: int = 0) -> None:
        """Do something in the moment before a request is served: what another client does at the same time."""
        with self.lock:
            self.faults.append(Fault(re.compile(matches), action, skip, 1, False, ""))

    def asked(self, matches: str) -> list[str]:
        """The requests so far that match, in order."""
        return [request for request in self.requests if re.search(matches, request)]

    def take(self, request: str) -> list[Fault]:
        """Note a request; what happens to it."""
        with self.lock:
            self.requests.append(request)
            matching = [fault for fault in self.faults if fault.matches.search(request)]
            for fault in matching:
                fault.hits += 1
            return [fault for fault in matching if fault.skip < fault.hits <= fault.skip + fault.times]


@contextlib.contextmanager
def emulated(monkeypatch: pytest.MonkeyPatch, **settings: int) -> Iterator[GcsServer]:
    """The package's ``gs://`` is a server of its own, with a bucket ``bucket``, while the block runs.

    The client library retries at once, instead of after a second or more.
    """
    from recbatch.storage import gcs_objects

    server = GcsServer(**settings)
    server.store.buckets["bucket"] = {}
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setattr(retry_unary, "exponential_sleep_generator", lambda *_, **__: itertools.repeat(0.0))
    gcs_objects._client_of.cache_clear()
    try:
        yield server
    finally:
        server.close()
        gcs_objects._client_of.cache_clear()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a connection that broke is nothing to report
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    gcs: GcsServer

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        raw_path, _, raw_query = self.path.partition("?")
        faults = self.gcs.take(f"{self.command} {unquote(raw_path)}" + (f"?{unquote(raw_query)}" if raw_query else ""))
        for action in [fault.what for fault in faults if callable(fault.what)]:
            action()
        fault = next((fault for fault in faults if not callable(fault.what)), None)
        answer: Answer | None = None
        if fault is None or fault.done or fault.what == CUT:
            answer = self._answer(raw_path, dict(parse_qsl(raw_query)), body)
        if fault is not None and fault.what == RESET:
            self._reset()
        elif fault is not None and isinstance(fault.what, int):
            self._send(ServiceError(fault.what, fault.message).answer())
        elif answer is not None:
            self._send(answer, cut=fault is not None)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _answer(self, raw_path: str, query: dict[str, str], body: bytes) -> Answer:
        # An object's name is one percent-encoded component, slashes and all.
        parts = tuple(unquote(part) for part in raw_path.strip("/").split("/"))
        headers = {name.lower(): value for name, value in self.headers.items()}
        base = f"http://{self.headers['Host']}"
        try:
            return self.gcs.store.answer(self.command, parts, query, headers, body, base)
        except ServiceError as error:
            return error.answer(plain=parts[0] == "download")

    def _send(self, answer: Answer, cut: bool = False) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if cut else answer.body)
        if cut:
            self._reset()

    def _reset(self) -> None:
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the connection was broken on purpose
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what was asked is in ``GcsServer.requests``."""
