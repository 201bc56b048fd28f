"""Connections: redirects, cookies, proxies, certificates, and errors without a response."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import ipaddress
import os
import signal
import socket
import ssl
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import certifi
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from factories import NOW_MS, call_record, function_record
from services import TOKEN, FakeServer, ReceivedRequest, Reply, client_of, json_reply, running
from urllib3.connection import HTTPConnection

from callframe.api.client import DECODE_LOCK, Client
from callframe.auth.oauth import ClientCredentials
from callframe.auth.settings import Target
from callframe.auth.tokens import StaticToken
from callframe.errors import CallframeError, IncompleteWarning, InvalidResponseError, TransportError
from callframe.http.retry import Retry
from callframe.http.transport import StoppedError, Transport
from callframe.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CALL = json_reply(call_record())
NO_RETRY = Retry(status=0, connect=0)


def test_redirect_is_not_followed() -> None:
    elsewhere = FakeServer(CALL)
    with running(elsewhere):
        server = FakeServer(Reply(307, b"", {"Location": f"{elsewhere.url}/api/v1/projects/demo/functions/7/calls/1"}))
        with client_of(server) as client, pytest.raises(InvalidResponseError, match=r"redirected to 127\.0\.0\.1"):
            client.retrieve_call(7, 1)
    assert elsewhere.requests == []
    assert len(server.requests) == 1


def test_cookies_are_not_stored() -> None:
    server = FakeServer(json_reply(call_record(), Set_Cookie="session=1; Path=/"))
    with client_of(server) as client:
        client.retrieve_call(7, 1)
        client.retrieve_call(7, 1)
    assert ["cookie" in request.headers for request in server.requests] == [False, False]


def test_netrc_does_not_replace_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password else\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = FakeServer(CALL)
    with client_of(server) as client:
        client.retrieve_call(7, 1)
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxy_of_the_environment_is_not_used_for_loopback(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = FakeServer(json_reply({}))
    with running(proxy), client_of(FakeServer(CALL)) as client:
        monkeypatch.setenv(variable, proxy.url)
        assert client.retrieve_call(7, 1).id == 1
    assert proxy.requests == []


def client_with_proxies(**arguments: Any) -> Client:
    target = Target("https://westeurope-1.cognitedata.com", "demo")
    transport = Transport(target.base_url, **arguments)
    return Client(target, StaticToken(TOKEN), retry=NO_RETRY, transport=transport)


def test_error_names_a_proxy_that_rejects_the_connection() -> None:
    proxy = FakeServer(Reply(407, b""))
    with running(proxy):
        client = client_with_proxies(proxies={"https": proxy.url})
        with pytest.raises(TransportError, match=r"did not forward the request to westeurope-1\..*407"):
            client.retrieve_call(7, 1)
        client.close()


@pytest.mark.parametrize("is_argument", [True, False])
def test_proxy_receives_the_host_and_no_token(is_argument: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = FakeServer(Reply(403, b""))
    with running(proxy):
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9" if is_argument else proxy.url)
        client = client_with_proxies(proxies={"https": proxy.url} if is_argument else None)
        with pytest.raises(TransportError):
            client.retrieve_call(7, 1)
        client.close()
    (request,) = proxy.requests
    assert (request.method, request.path) == ("CONNECT", "westeurope-1.cognitedata.com:443")
    assert "authorization" not in request.headers


def test_error_says_that_a_host_name_was_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    target = Target("https://westeurop-1.cognitedata.com", "demo")
    client = Client(target, StaticToken(TOKEN), retry=NO_RETRY)
    with pytest.raises(TransportError, match=r"westeurop-1\.cognitedata\.com was not found \(DNS\)"):
        client.retrieve_call(7, 1)


def test_error_says_that_a_port_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = Client(Target(f"http://127.0.0.1:{port}", "demo"), StaticToken(TOKEN), retry=NO_RETRY)
    with pytest.raises(TransportError, match=r"No connection to 127\.0\.0\.1: .*refused"):
        client.retrieve_call(7, 1)


def test_missing_response_is_an_error() -> None:
    done = threading.Event()
    with client_of(FakeServer(Reply(wait_for=done)), retry=NO_RETRY, timeout_s=(1.0, 0.05)) as client:
        with pytest.raises(TransportError, match="did not respond in time"):
            client.retrieve_call(7, 1)
        done.set()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse the connection instead of waiting")
def test_connection_that_is_not_accepted_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        backlog = [socket.socket() for _ in range(4)]
        for connection in backlog:
            connection.settimeout(0)
            connection.connect_ex(full.getsockname())
        target = Target(f"http://127.0.0.1:{full.getsockname()[1]}", "demo")
        transport = Transport(target.base_url, timeout_s=(0.1, 0.1))
        client = Client(target, StaticToken(TOKEN), retry=NO_RETRY, transport=transport)
        with pytest.raises(TransportError, match="did not accept a connection in time"):
            client.retrieve_call(7, 1)
        for connection in backlog:
            connection.close()


def test_forked_process_opens_its_own_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[HTTPConnection] = []
    connect = HTTPConnection.connect

    def counting_connect(self: HTTPConnection) -> None:
        connections.append(self)
        connect(self)

    monkeypatch.setattr(HTTPConnection, "connect", counting_connect)
    with client_of(FakeServer(CALL)) as client:
        client.retrieve_call(7, 1)
        client.retrieve_call(7, 1)
        assert len(connections) == 1
        monkeypatch.setattr(os, "getpid", lambda: -1)  # as after a fork
        client.retrieve_call(7, 1)
        assert len(connections) == 2


@pytest.mark.parametrize("url", ["https://x.cognitedata.com/", "http://x.cognitedata.com/"])
@pytest.mark.parametrize("proxies", [{}, {"http": "http://127.0.0.1:9", "https": "http://127.0.0.1:9"}])
def test_connections_never_print_what_they_send(
    url: str, proxies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HTTPConnection, "debuglevel", 1)
    adapter: Any = Transport(url)._session.get_adapter(url)
    request = requests.Request("GET", url).prepare()
    connection = adapter.get_connection_with_tls_context(request, verify=True, proxies=proxies).ConnectionCls("x")
    assert isinstance(connection, HTTPConnection)
    assert connection.debuglevel == 0


# Certificates


@dataclass(frozen=True)
class SelfSigned:
    """TLS context of a server with a self-signed certificate, which `bundle` contains."""

    context: ssl.SSLContext
    bundle: str


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> SelfSigned:
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "callframe")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(pem) + secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return SelfSigned(context, str(path))


@pytest.fixture
def no_bundle_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.usefixtures("no_bundle_variables")
def test_untrusted_certificate_is_rejected(self_signed: SelfSigned) -> None:
    server = FakeServer(CALL)
    with (
        client_of(server, tls=self_signed.context, retry=NO_RETRY) as client,
        pytest.raises(TransportError, match=r"No trusted TLS connection to 127\.0\.0\.1: .*self-signed.*verify="),
    ):
        client.retrieve_call(7, 1)
    assert server.requests == []


@pytest.mark.usefixtures("no_bundle_variables")
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("verify", [True, False])
def test_certificate_is_verified_with_a_given_bundle_or_not_at_all(self_signed: SelfSigned, verify: bool) -> None:
    with client_of(FakeServer(CALL), tls=self_signed.context, verify=self_signed.bundle if verify else False) as client:
        assert client.retrieve_call(7, 1).id == 1


@pytest.mark.usefixtures("no_bundle_variables")
@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_bundle_of_the_environment_is_used(
    self_signed: SelfSigned, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, self_signed.bundle)
    with client_of(FakeServer(CALL), tls=self_signed.context) as client:
        assert client.retrieve_call(7, 1).id == 1


def test_given_bundle_takes_precedence_over_the_environment(
    self_signed: SelfSigned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "no-such-file.pem"))
    with client_of(FakeServer(CALL), tls=self_signed.context, verify=self_signed.bundle) as client:
        assert client.retrieve_call(7, 1).id == 1


@pytest.mark.skipif(sys.platform != "linux", reason="OpenSSL reads the certificates of the system there")
@pytest.mark.usefixtures("no_bundle_variables")
def test_certificates_of_the_system_are_trusted(self_signed: SelfSigned, monkeypatch: pytest.MonkeyPatch) -> None:
    with client_of(FakeServer(CALL), tls=self_signed.context) as client:
        monkeypatch.setenv("SSL_CERT_FILE", self_signed.bundle)  # where OpenSSL looks for them when it connects
        assert client.retrieve_call(7, 1).id == 1


@pytest.mark.skipif(sys.platform != "linux", reason="OpenSSL reads the certificates of the system there")
@pytest.mark.usefixtures("no_bundle_variables")
def test_given_bundle_is_trusted_instead_of_the_certificates_of_the_system(
    self_signed: SelfSigned, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_of(FakeServer(CALL), tls=self_signed.context, retry=NO_RETRY, verify=certifi.where()) as client:
        monkeypatch.setenv("SSL_CERT_FILE", self_signed.bundle)
        with pytest.raises(TransportError, match="No trusted TLS connection"):
            client.retrieve_call(7, 1)


# Slow, large and stopped responses

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"


@contextmanager
def dripping_server(at_once: bytes, *, pause_s: float = 0.01) -> Iterator[str]:
    """Send the beginning of a response at once and then a byte at a time, without end."""
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(at_once)
            while not done.wait(pause_s):
                connection.sendall(b"x")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done.set()
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("at_once", [HEAD, b"HTTP/1.1 200 OK\r\nX-Slow: "], ids=["body", "headers"])
def test_response_that_drips_without_end_is_given_up_at_the_deadline(at_once: bytes) -> None:
    with dripping_server(at_once) as url:
        client = Client(Target(url, "demo"), StaticToken(TOKEN), transport=Transport(url, deadline_s=0.3))
        started_s = time.monotonic()
        with pytest.raises(TransportError, match=r"did not complete its response in 0\.3 s; deadline_s="):
            client.retrieve_call(7, 1)
        assert time.monotonic() - started_s < 2  # once, and without the 60 seconds of the read timeout


@pytest.mark.parametrize(("at_once", "pause_s"), [(b"", 60), (HEAD, 60), (HEAD, 0.01)], ids=["silent", "body", "drip"])
def test_stopped_request_ends_at_once(at_once: bytes, pause_s: float) -> None:
    stop = threading.Event()
    with dripping_server(at_once, pause_s=pause_s) as url:
        client = Client(Target(url, "demo"), StaticToken(TOKEN), workers=1)
        threading.Timer(0.1, stop.set).start()
        started_s = time.monotonic()
        with pytest.raises(StoppedError):
            client.filter_calls(7, {}, stop=stop)
        assert time.monotonic() - started_s < 1
        assert client.throttle.in_flight == 0


def test_request_that_waits_for_a_slow_identity_provider_can_be_stopped() -> None:
    stop = threading.Event()
    with dripping_server(b"", pause_s=60) as url, running(FakeServer(CALL)) as server:
        credentials = ClientCredentials(
            token_url=f"{url}/token", client_id="robot", client_secret="pssst", transport=Transport(url)
        )
        client = Client(Target(server.url, "demo"), credentials)
        threading.Timer(0.1, stop.set).start()
        started_s = time.monotonic()
        with pytest.raises(StoppedError):
            client.filter_calls(7, {}, stop=stop)
        assert time.monotonic() - started_s < 1


def test_project_can_be_used_again_at_once_after_a_slow_fetch_was_interrupted() -> None:
    done, stop = threading.Event(), threading.Event()

    def respond(request: ReceivedRequest) -> Reply:
        if request.path.endswith("/functions/list"):
            return json_reply({"items": [function_record()]})
        threading.Timer(0.1, stop.set).start()
        return Reply(wait_for=done)

    with client_of(FakeServer(respond=respond), workers=2) as client:
        project = Project(client, clock=lambda: NOW_MS / 1000)
        with pytest.warns(IncompleteWarning):
            project.calls(stop=stop)
        started_s = time.monotonic()
        assert len(project.functions()) == 1
        assert time.monotonic() - started_s < 1
        done.set()


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_body_over_the_limit_is_an_error_and_not_retried(encoding: str) -> None:
    body = b'{"items": []' + b" " * 3_000_000 + b"}"
    sent = gzip.compress(body) if encoding == "gzip" else body
    server = FakeServer(Reply(200, sent, {"Content-Encoding": encoding}))
    with client_of(server, max_body_mb=2) as client, pytest.raises(TransportError, match=r"larger than 2 MB; max_body"):
        client.list_functions()
    assert len(server.requests) == 1
    with client_of(server, max_body_mb=4) as client:
        assert client.list_functions().items == []


def test_gzip_bomb_takes_no_more_memory_than_the_limit() -> None:
    server = FakeServer(Reply(200, gzip.compress(bytes(300_000_000), 1), {"Content-Encoding": "gzip"}))
    with client_of(server, max_body_mb=10) as client:
        tracemalloc.start()
        with pytest.raises(TransportError, match="larger than 10 MB"):
            client.list_functions()
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak_bytes < 30_000_000


# Forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_process_can_send_requests_while_threads_of_its_parent_do() -> None:
    done, both = threading.Event(), threading.Barrier(3)

    def respond(request: ReceivedRequest) -> Reply:
        return Reply(wait_for=done) if "/functions/8/" in request.path else CALL

    server = FakeServer(respond=respond)
    with client_of(server, workers=2) as client, ThreadPoolExecutor(2) as pool:

        def retrieve() -> None:
            both.wait(10)
            with contextlib.suppress(CallframeError):
                client.retrieve_call(8, 1)

        _ = [pool.submit(retrieve) for _ in range(2)]
        both.wait(10)
        while len(server.requests) < 2:
            time.sleep(0.001)
        with DECODE_LOCK, client._credentials._lock, client.throttle._lock:  # as if held by another thread
            process_id = os.fork()
            if process_id == 0:
                signal.alarm(10)
                os._exit(0 if client.retrieve_call(7, 1).id == 1 else 1)
        done.set()
        assert os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]) == 0
