"""An S3 server of moto behind a proxy with faults, in a process: deltalake may hold the interpreter while it waits."""

from __future__ import annotations

import contextlib
import http.client
import random
import subprocess
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOP_HEADERS = ("transfer-encoding", "connection", "content-length")


@dataclass(frozen=True)
class ObjectStore:
    """An S3 server with the bucket `bucket`."""

    url: str

    @property
    def options(self) -> dict[str, str]:
        return {
            "endpoint_url": self.url,
            "allow_http": "true",
            "region": "us-east-1",
            "aws_access_key_id": "testing",
            "aws_secret_access_key": "testing",
        }

    @property
    def requests(self) -> int:
        """How many requests were received, these included."""
        return int(self._get("/-/requests"))

    def set_faults(self, *, ignore_conditions: bool = False, refused: float = 0, lost: float = 0) -> None:
        """Ignore If-None-Match, refuse a share of requests with 503, or lose a share of answers to writes."""
        self._get(f"/-/faults/{int(ignore_conditions)}/{refused}/{lost}")

    def _get(self, path: str) -> str:
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read().decode()


@contextlib.contextmanager
def serve_object_store() -> Iterator[ObjectStore]:
    """Start the server in a process of its own."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            lines = (line.decode().strip() for line in process.stdout)
            yield ObjectStore(next(line for line in lines if line.startswith("http://127.0.0.1:")))
        finally:
            process.kill()


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: tuple[str, int]
    faults: tuple[bool, float, float] = (False, 0.0, 0.0)
    random = random.Random(1)
    count = 0

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        cls = type(self)
        if self.path.startswith("/-/"):
            if self.path.startswith("/-/faults/"):
                ignore, refused_share, lost_share = self.path.split("/")[3:]
                cls.faults = (ignore == "1", float(refused_share), float(lost_share))
            self.send(200, {}, str(cls.count).encode())
            return
        cls.count += 1
        ignore_conditions, refused, lost = cls.faults
        if cls.random.random() < refused:
            self.send(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        headers = dict(self.headers)
        if ignore_conditions:
            headers = {name: value for name, value in headers.items() if name.lower() != "if-none-match"}
        connection = http.client.HTTPConnection(*cls.upstream)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            content = response.read()
        if self.command != "GET" and cls.random.random() < lost:
            self.close_connection = True
            return
        kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_HEADERS}
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        self.send(response.status, kept, content, length)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

    def send(self, status: int, headers: dict[str, str], content: bytes, length: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - the tests import this module without it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _Proxy.upstream = server.get_host_and_port()
    with contextlib.closing(http.client.HTTPConnection(*_Proxy.upstream)) as connection:
        connection.request("PUT", "/bucket")
        connection.getresponse().read()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as proxy:
        print(f"http://127.0.0.1:{proxy.server_port}", flush=True)  # noqa: T201
        proxy.serve_forever()


if __name__ == "__main__":
    main()
