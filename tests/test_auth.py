from __future__ import annotations

import base64
import copy
import http.client
import json
import logging
import os
import pickle
import re
import sys
import threading
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msal
import pytest
import requests
from cognite.client import AsyncCogniteClient, ClientConfig, CogniteClient, global_config
from cognite.client.credentials import Token
from IPython.core.ultratb import VerboseTB

import callframe
from callframe.auth.oauth import DEFAULT_LIFETIME_S, ClientCredentials, UserLogin
from callframe.auth.options import ConnectionOptions, resolve_connection
from callframe.auth.settings import HOSTED_VARIABLES, SHARED_VARIABLES, TOOLKIT_VARIABLES, Settings, Target, cluster_url
from callframe.auth.tokens import BearerAuth, ExistingClient, HostedNotebookToken, StaticToken, TokenFunction
from callframe.errors import ArgumentError, AuthenticationError, CallframeError, TransportError
from callframe.http.secret import Secret
from callframe.http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from callframe.auth.tokens import Credentials

SECRET = "s3cr3t-Of-The-Client+/=&"
TOKEN = "t0ken.of-nobody.c2ln"
LOCATION = {"CDF_CLUSTER": "westeurope-1", "CDF_PROJECT": "acme"}
CLIENT_VARIABLES = {"IDP_CLIENT_ID": "robot", "IDP_CLIENT_SECRET": SECRET, "IDP_TENANT_ID": "acme.onmicrosoft.com"}
HOSTED_NOTEBOOK = {
    "COGNITE_FUSION_NOTEBOOK": "1",
    "COGNITE_PROJECT": "hosted",
    "COGNITE_BASE_URL": "https://az-eastus-1.cognitedata.com",
    "COGNITE_TOKEN": TOKEN,
}


class Provider:
    """A small identity provider that sends the added responses in turn and repeats the last one."""

    def __init__(self) -> None:
        self.responses: list[tuple[int, str, bytes]] = []
        self.forms: list[dict[str, list[str]]] = []
        self.headers: list[dict[str, str]] = []
        self.before_response: Callable[[], object] = lambda: None
        self.url = ""
        self.configuration: tuple[int, dict[str, Any]] = (404, {})

    def add_json(self, fields: Any, status: int = 200) -> None:
        self.responses.append((status, "application/json", json.dumps(fields).encode()))

    def add_token(self, token: str = TOKEN, **fields: Any) -> None:
        self.add_json({"access_token": token, "token_type": "Bearer", "expires_in": 3600, **fields})

    def respond(self, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        self.headers.append(headers)
        self.forms.append(parse_qs(body.decode()))
        self.before_response()
        return self.responses[min(len(self.forms), len(self.responses)) - 1]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


def handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.reply(*provider.respond(dict(self.headers), body))

        def do_GET(self) -> None:
            status, fields = provider.configuration
            self.reply(status, "application/json", json.dumps(fields).encode())

        def reply(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            if 300 <= status < 400:
                self.send_header("Location", "https://elsewhere.example/token")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    return Handler


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(provider)) as server:
        provider.url = f"http://127.0.0.1:{server.server_address[1]}/token"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield provider
        server.shutdown()
        thread.join()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def robot(provider: Provider, clock: Clock, waits: list[float]) -> ClientCredentials:
    return client_credentials(provider.url, clock=clock, wait=waits.append)


def client_credentials(url: str, **changes: Any) -> ClientCredentials:
    arguments = {"token_url": url, "client_id": "robot", "client_secret": SECRET, "transport": Transport(url)}
    return ClientCredentials(**{**arguments, **changes})


def resolve(folder: Path, environ: dict[str, str] | None = None, **arguments: Any) -> tuple[Target, Credentials]:
    options = ConnectionOptions.from_arguments(**arguments)
    return resolve_connection(options, environ=environ or {}, folder=folder)


def write_env(folder: Path, **values: str) -> None:
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def run_in_threads(count: int, work: Callable[[], object]) -> list[object]:
    results: list[object] = []

    def run() -> None:
        try:
            results.append(work())
        except CallframeError as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def wait_until(condition: Callable[[], bool]) -> None:
    lock = threading.Condition()
    with lock:
        assert lock.wait_for(condition, timeout=0) or any(lock.wait(0.001) or condition() for _ in range(10_000))


@contextmanager
def catch_error() -> Iterator[SimpleNamespace]:
    """Catch an error, and keep everything that a debugger or an error tracker would show of it."""
    caught = SimpleNamespace(error=None, text="")
    try:
        yield caught
    except BaseException as error:  # noqa: BLE001 - an interrupt must not show secrets either
        caught.error = error
        caught.text = full_traceback(error)
    assert caught.error is not None, "nothing was raised"


def full_traceback(error: BaseException) -> str:
    """Format an error and its causes with the variables of all frames but those of the test itself."""
    parts = ["".join(traceback.format_exception(error))]
    link: BaseException | None = error
    while link is not None:
        frames = link.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        assert frames is not None, "no frame of the package is left"
        parts += VerboseTB().structured_traceback(type(link), link, frames)
        parts += [repr(vars(link)), *(repr(frame.f_locals) for frame, _ in traceback.walk_tb(frames))]
        link = link.__cause__ or link.__context__
    return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(parts))


# Target


@pytest.mark.parametrize(
    ("cluster", "url"),
    [
        ("westeurope-1", "https://westeurope-1.cognitedata.com"),
        ("WestEurope-1", "https://westeurope-1.cognitedata.com"),
        ("acme.plink.az-eastus-1", "https://acme.plink.az-eastus-1.cognitedata.com"),
    ],
)
def test_cluster_has_a_url(cluster: str, url: str) -> None:
    assert cluster_url(cluster) == url


@pytest.mark.parametrize(
    "cluster",
    [
        "",
        "westeurope-1\n",
        " westeurope-1",
        "evil.example/x?y=#",
        "evil.example",
        "a.b.c",
        "a.plink.b.c",
        "user@host",
        "host:443",
        "-a",
        "a-",
        "a" * 64,
        "\u212aluster",
        "a\x00",
        "https://westeurope-1.cognitedata.com",
        None,
        7,
    ],
)
def test_invalid_cluster_is_rejected(cluster: Any) -> None:
    with pytest.raises(ArgumentError, match="expected the part of the address before"):
        cluster_url(cluster)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://westeurope-1.cognitedata.com", "https://westeurope-1.cognitedata.com"),
        ("HTTPS://WestEurope-1.CogniteData.com/", "https://westeurope-1.cognitedata.com"),
        ("https://proxy.example:8443", "https://proxy.example:8443"),
        ("https://proxy.example:443", "https://proxy.example"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost:80/", "http://localhost"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_base_url_is_normalized(url: str, origin: str) -> None:
    assert Target(url, "acme").base_url == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "westeurope-1.cognitedata.com",
        "http://westeurope-1.cognitedata.com",
        "http://127.0.0.1.evil.example",
        "ftp://localhost",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user:pass@westeurope-1.cognitedata.com",
        "https://westeurope-1.cognitedata.com@evil.example",
        "https://evil.example\\@westeurope-1.cognitedata.com",
        "https://westeurope-1.cognitedata.com/api/v1/projects/acme",
        "https://westeurope-1.cognitedata.com?x=1",
        "https://westeurope-1.cognitedata.com?",
        "https://westeurope-1.cognitedata.com#x",
        "https://westeurope-1.cognitedata.com\n",
        "https://westeurope-1.cognitedata.com\t/",
        "https://westeurope-1 .cognitedata.com",
        "https://westeurope-1.cognitedata.com:99999",
        "https://westeurope-1.cognitedata.com:0",
        "https://westeurope-1.cognitedata.com:port",
        "https://a..b",
        "https://[::1",
        "https://w\u00ebsteurope.cognitedata.com",
        None,
    ],
)
def test_invalid_base_url_is_rejected(url: Any) -> None:
    with pytest.raises(ArgumentError, match="expected"):
        Target(url, "acme")


def test_message_does_not_show_a_password_in_a_base_url() -> None:
    with pytest.raises(ArgumentError) as caught:
        Target(f"https://user:{TOKEN}@host.example/?token={TOKEN}", "acme")
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("project", ["", "a b", "acme\n", "../other", "a/b", "a?b", "a%2fb", "\u00e5cme", None])
def test_invalid_project_is_rejected(project: Any) -> None:
    with pytest.raises(ArgumentError, match="expected the project's name"):
        Target("https://westeurope-1.cognitedata.com", project)


def test_api_url_ends_with_the_project() -> None:
    target = Target("https://westeurope-1.cognitedata.com", "acme_2-test")
    assert target.api_url == "https://westeurope-1.cognitedata.com/api/v1/projects/acme_2-test"


# Options and variables


def test_arguments_are_sufficient(tmp_path: Path) -> None:
    target, credentials = resolve(tmp_path, cluster="westeurope-1", project="acme", token=TOKEN)
    assert target == Target("https://westeurope-1.cognitedata.com", "acme")
    assert credentials.authorization() == f"Bearer {TOKEN}"


def test_arguments_take_precedence_over_variables(tmp_path: Path) -> None:
    target, credentials = resolve(tmp_path, project="other", environ={**LOCATION, "CDF_TOKEN": TOKEN})
    assert target == Target("https://westeurope-1.cognitedata.com", "other")
    assert credentials.authorization() == f"Bearer {TOKEN}"


def test_cluster_argument_takes_precedence_over_cdf_url(tmp_path: Path) -> None:
    environ = {"CDF_URL": "https://a.cognitedata.com", "CDF_PROJECT": "acme", "CDF_TOKEN": TOKEN}
    target, _ = resolve(tmp_path, cluster="b", environ=environ)
    assert target.base_url == "https://b.cognitedata.com"


def test_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    _, credentials = resolve(tmp_path, environ={**LOCATION, **CLIENT_VARIABLES, "CDF_TOKEN": " ", "LOGIN_FLOW": ""})
    assert isinstance(credentials, ClientCredentials)


def test_token_variable_without_a_client_selects_the_token_flow(tmp_path: Path) -> None:
    _, credentials = resolve(tmp_path, environ={**LOCATION, "CDF_TOKEN": TOKEN})
    assert isinstance(credentials, StaticToken)


def test_client_variables_take_precedence_over_a_token_unless_login_flow_is_token(tmp_path: Path) -> None:
    environ = {**LOCATION, **CLIENT_VARIABLES, "CDF_TOKEN": TOKEN}
    assert isinstance(resolve(tmp_path, environ=environ)[1], ClientCredentials)
    assert isinstance(resolve(tmp_path, environ={**environ, "LOGIN_FLOW": "token"})[1], StaticToken)


@pytest.mark.parametrize("flow", ["device_code", "interactive"])
def test_login_flow_variable_selects_a_user_login(flow: str, tmp_path: Path) -> None:
    _, credentials = resolve(tmp_path, environ={**LOCATION, **CLIENT_VARIABLES, "LOGIN_FLOW": flow})
    assert repr(credentials) == (
        f"<UserLogin by {flow} with robot at https://login.microsoftonline.com/acme.onmicrosoft.com>"
    )


@pytest.mark.parametrize(
    ("environ", "url", "scopes", "audience"),
    [
        (
            CLIENT_VARIABLES,
            "https://login.microsoftonline.com/acme.onmicrosoft.com/oauth2/v2.0/token",
            "default",
            "default",
        ),
        ({**CLIENT_VARIABLES, "PROVIDER": "cdf"}, "https://auth.cognite.com/oauth2/token", None, None),
        (
            {
                **CLIENT_VARIABLES,
                "PROVIDER": "auth0",
                "IDP_TOKEN_URL": "https://acme.auth0.com/oauth/token",
                "IDP_SCOPES": "a, b c",
                "IDP_AUDIENCE": "https://aud",
            },
            "https://acme.auth0.com/oauth/token",
            "a b c",
            "https://aud",
        ),
    ],
)
def test_token_url_scopes_and_audience_default_to_those_of_the_provider(
    environ: dict[str, str], url: str, scopes: str | None, audience: str | None, tmp_path: Path
) -> None:
    _, credentials = resolve(tmp_path, environ={**LOCATION, **environ})
    resource = "https://westeurope-1.cognitedata.com"
    assert isinstance(credentials, ClientCredentials)
    assert credentials._token_url == url
    assert credentials._extra_fields == {
        "scope": {"default": f"{resource}/.default", None: ""}.get(scopes, scopes),
        "audience": {"default": resource, None: ""}.get(audience, audience),
    }


def test_scopes_of_a_private_link_name_its_cluster(tmp_path: Path) -> None:
    environ = {**CLIENT_VARIABLES, "CDF_PROJECT": "acme", "CDF_CLUSTER": "acme.plink.westeurope-1"}
    _, credentials = resolve(tmp_path, environ=environ)
    assert isinstance(credentials, ClientCredentials)
    assert credentials._extra_fields["scope"] == "https://westeurope-1.cognitedata.com/.default"


def test_secret_argument_is_completed_by_variables(provider: Provider, tmp_path: Path) -> None:
    provider.add_token()
    environ = {**LOCATION, "IDP_CLIENT_ID": "robot", "IDP_TOKEN_URL": provider.url}
    _, credentials = resolve(tmp_path, client_secret=SECRET, environ=environ)
    assert credentials.authorization() == f"Bearer {TOKEN}"
    assert provider.forms[0]["client_secret"] == [SECRET]


def test_cdf_url_takes_precedence_over_a_matching_cdf_cluster(tmp_path: Path) -> None:
    environ = {**LOCATION, "CDF_URL": "https://acme.plink.westeurope-1.cognitedata.com", "CDF_TOKEN": TOKEN}
    assert resolve(tmp_path, environ=environ)[0].base_url == "https://acme.plink.westeurope-1.cognitedata.com"


def test_error_names_a_cluster_and_url_that_contradict_each_other(tmp_path: Path) -> None:
    environ = {**LOCATION, "CDF_URL": "https://az-eastus-1.cognitedata.com", "CDF_TOKEN": TOKEN}
    with pytest.raises(ArgumentError, match=r"CDF_CLUSTER is 'westeurope-1' and CDF_URL is 'https://az-eastus-1"):
        resolve(tmp_path, environ=environ)


def test_local_service_may_be_combined_with_any_cluster(tmp_path: Path) -> None:
    environ = {**LOCATION, "CDF_URL": "http://127.0.0.1:8000", "CDF_TOKEN": TOKEN}
    assert resolve(tmp_path, environ=environ)[0].base_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize("name", ["CDF_URL", "COGNITE_BASE_URL"])
@pytest.mark.parametrize(
    "url", ["https://evil.example", "https://cognitedata.com.evil.example", "https://evilcognitedata.com"]
)
def test_variable_cannot_name_a_host_outside_of_cognites_domain(name: str, url: str, tmp_path: Path) -> None:
    environ = {"CDF_PROJECT": "acme", "CDF_TOKEN": TOKEN} if name == "CDF_URL" else HOSTED_NOTEBOOK
    with pytest.raises(ArgumentError, match=rf"{name} is .* expected a host under \.cognitedata\.com"):
        resolve(tmp_path, environ={**environ, name: url})


def test_argument_can_name_any_host(tmp_path: Path) -> None:
    environ = {"CDF_PROJECT": "acme", "CDF_TOKEN": TOKEN}
    assert resolve(tmp_path, base_url="https://proxy.example", environ=environ)[0].base_url == "https://proxy.example"


@pytest.mark.parametrize("name", ["PROVIDER", "LOGIN_FLOW"])
def test_error_lists_the_valid_values_of_a_variable(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=rf"{name} is 'kerberos'; expected one of .*, .*, .*, "):
        resolve(tmp_path, environ={**LOCATION, "IDP_CLIENT_ID": "robot", "IDP_CLIENT_SECRET": SECRET, name: "kerberos"})


def test_session_flow_is_reported_as_supported_by_the_toolkit_only(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'session', which only the Cognite Toolkit can use"):
        resolve(tmp_path, environ={**LOCATION, "LOGIN_FLOW": "session"})


@pytest.mark.parametrize("url", ["http://idp.example/token", "idp.example", "https://user:pw@idp.example/token", ""])
def test_invalid_token_url_is_rejected(url: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"token_url= is"):
        resolve(tmp_path, token_url=url, environ={**LOCATION, **CLIENT_VARIABLES})


@pytest.mark.parametrize("tenant", ["../evil", "a/b", "a?b", "a\n", "a b"])
def test_invalid_tenant_is_rejected(tenant: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"IDP_TENANT_ID is .* expected the id or the domain"):
        resolve(tmp_path, environ={**LOCATION, **CLIENT_VARIABLES, "IDP_TENANT_ID": tenant})


@pytest.mark.parametrize(
    "arguments",
    [
        {"token": TOKEN, "client_secret": SECRET},
        {"token": TOKEN, "login": "device_code"},
        {"client_secret": SECRET, "login": "token"},
        {"client": object(), "token": TOKEN},
        {"client": object()},
        {"login": "kerberos"},
        {"client_secret": ""},
        {"client_id": 7},
        {"cluster": "a", "base_url": "https://b.cognitedata.com"},
    ],
)
def test_invalid_and_contradictory_arguments_are_rejected(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError) as caught:
        resolve(tmp_path, **arguments, environ=LOCATION)
    assert SECRET not in str(caught.value)


def test_user_login_requires_entra_id(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="works with entra_id only"):
        resolve(tmp_path, environ={**LOCATION, **CLIENT_VARIABLES, "PROVIDER": "cdf", "LOGIN_FLOW": "interactive"})


def test_error_lists_where_settings_were_looked_for(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"IDP_CLIENT_SECRET={SECRET}")
    with pytest.raises(AuthenticationError) as caught:
        resolve(tmp_path, environ={"CDF_PROJECT": "acme"})
    message = str(caught.value)
    assert all(name in message for name in (*HOSTED_VARIABLES, *TOOLKIT_VARIABLES))
    assert "CDF_PROJECT set" in message
    assert "CDF_CLUSTER not set" in message
    assert f"IDP_CLIENT_SECRET set in {tmp_path / '.env'}" in message
    assert f"{tmp_path.parent / '.env'} not found" in message
    assert message.count("callframe.connect(") == 2
    assert SECRET not in message


# .env files


def test_env_file_of_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"CDF_CLUSTER=westeurope-1\nCDF_PROJECT='acme'\nCDF_TOKEN={TOKEN}\n")
    target, credentials = resolve(tmp_path)
    assert target == Target("https://westeurope-1.cognitedata.com", "acme")
    assert credentials.authorization() == f"Bearer {TOKEN}"


def test_env_file_of_the_folder_takes_precedence_over_that_of_its_parent(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (tmp_path / ".env").write_text("CDF_PROJECT=above")
    assert Settings(Secret({}), folder).text("CDF_PROJECT") == "above"
    (folder / ".env").write_text("CDF_PROJECT=here")
    assert Settings(Secret({}), folder).text("CDF_PROJECT") == "here"


def test_environment_takes_precedence_over_the_file_in_interpolated_values(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CDF_CLUSTER=file\nCDF_URL=https://${CDF_CLUSTER}.cognitedata.com")
    settings = Settings(Secret({"CDF_CLUSTER": "shell"}), tmp_path)
    assert settings.text("CDF_URL") == "https://shell.cognitedata.com"


def test_unknown_references_in_a_password_are_kept(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("IDP_CLIENT_SECRET='a$b${c'\nIDP_AUDIENCE=${nothing}\nIDP_SCOPES=${nothing:-some}")
    settings = Settings(Secret({}), tmp_path)
    secret = settings.secret("IDP_CLIENT_SECRET")
    assert secret is not None
    assert secret.reveal() == "a$b${c"
    assert settings.text("IDP_AUDIENCE") == "${nothing}"
    assert settings.text("IDP_SCOPES") == "some"


def test_env_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfCDF_PROJECT=acme\r\n")
    assert Settings(Secret({}), tmp_path).text("CDF_PROJECT") == "acme"


def test_env_file_does_not_change_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDF_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"CDF_CLUSTER=a\nCDF_PROJECT=acme\nCDF_TOKEN={TOKEN}")
    resolve_connection(ConnectionOptions())
    with pytest.raises(AuthenticationError):
        resolve_connection(ConnectionOptions(), folder=tmp_path / "elsewhere" / "deep")


def test_folder_named_env_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert Settings(Secret({}), tmp_path).path is None


def test_error_about_an_unreadable_env_file_does_not_quote_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(f"CDF_TOKEN={TOKEN}\xff".encode("latin-1"))
    with catch_error() as caught:
        resolve(tmp_path)
    assert "could not be read (UnicodeDecodeError)" in str(caught.error)
    assert TOKEN not in caught.text


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "CDF_TOKEN", "IDP_CLIENT_SECRET", "COGNITE_TOKEN", "cdf_token"])
@pytest.mark.parametrize("value", ["https://aud?u=${%s}", "${%s:-some}"])
def test_env_file_cannot_refer_to_other_variables_of_the_environment(name: str, value: str, tmp_path: Path) -> None:
    write_env(tmp_path, IDP_AUDIENCE=value % name)
    settings = Settings(Secret({name: SECRET}), tmp_path)
    with catch_error() as caught:
        settings.text("IDP_AUDIENCE")
    assert isinstance(caught.error, AuthenticationError)
    message = f"IDP_AUDIENCE in {tmp_path / '.env'} refers to the variable {name} of the environment."
    assert str(caught.error).startswith(message)
    assert "Write the value into the file, or set IDP_AUDIENCE in the environment." in str(caught.error)
    assert SECRET not in caught.text


def test_env_file_cannot_refer_to_the_environment_in_two_steps(tmp_path: Path) -> None:
    write_env(tmp_path, OTHER="${GITHUB_TOKEN}", IDP_SCOPES="${OTHER}")
    with pytest.raises(AuthenticationError, match=r"IDP_SCOPES in .* refers to the variable GITHUB_TOKEN"):
        Settings(Secret({"GITHUB_TOKEN": SECRET}), tmp_path).text("IDP_SCOPES")


def test_refused_reference_is_reported_only_where_its_value_is_used(tmp_path: Path) -> None:
    write_env(tmp_path, DATABASE="${HOME}/db", CDF_PROJECT="${HOME}", CDF_CLUSTER="westeurope-1")
    environ = {"HOME": "/root", "CDF_PROJECT": "acme", "CDF_TOKEN": TOKEN}
    assert resolve(tmp_path, environ=environ)[0] == Target("https://westeurope-1.cognitedata.com", "acme")


@pytest.mark.parametrize("name", ["CDF_TOKEN", "HOME"])
def test_variable_of_the_file_takes_precedence_where_the_environment_is_not_shared(name: str, tmp_path: Path) -> None:
    write_env(tmp_path, **{name: "file", "IDP_SCOPES": f"${{{name}}}"})
    assert Settings(Secret({name: "shell"}), tmp_path).text("IDP_SCOPES") == "file"


@pytest.mark.parametrize("name", SHARED_VARIABLES)
def test_env_file_may_refer_to_documented_variables_without_secrets(name: str, tmp_path: Path) -> None:
    assert set(TOOLKIT_VARIABLES) - set(SHARED_VARIABLES) == {"CDF_TOKEN", "IDP_CLIENT_SECRET"}
    write_env(tmp_path, OTHER=f"a-${{{name}}}")
    assert Settings(Secret({name: "shell"}), tmp_path).text("OTHER") == "a-shell"


# Where secrets are sent


def test_client_secret_of_the_environment_is_not_sent_to_a_token_url_of_a_file(
    provider: Provider, tmp_path: Path
) -> None:
    provider.add_token()
    write_env(tmp_path, IDP_TOKEN_URL=f"{provider.url}?u=1")
    with catch_error() as caught:
        resolve(tmp_path, environ={**LOCATION, **CLIENT_VARIABLES})[1].authorization()
    assert isinstance(caught.error, AuthenticationError)
    assert str(caught.error) == (
        f"Refusing to send IDP_CLIENT_SECRET to '{provider.url}', which IDP_TOKEN_URL in {tmp_path / '.env'} names:"
        " a .env file decides only where its own secrets are sent. If the address is right, pass token_url=, or set"
        f" IDP_TOKEN_URL in the environment, or set IDP_CLIENT_SECRET only in {tmp_path / '.env'}."
    )
    assert SECRET not in caught.text
    assert provider.forms == []


def test_file_of_the_parent_folder_does_not_decide_where_secrets_are_sent_either(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write_env(tmp_path, IDP_TOKEN_URL="https://evil.example/token")
    with pytest.raises(AuthenticationError, match=rf"IDP_TOKEN_URL in {re.escape(str(tmp_path / '.env'))} names"):
        resolve(folder, environ={**LOCATION, **CLIENT_VARIABLES})


@pytest.mark.parametrize(
    "destination",
    [
        {"IDP_TOKEN_URL": "https://evil.example/token"},
        {"IDP_TOKEN_URL": "https://auth.cognite.com.evil.example/oauth2/token"},
        {"IDP_TOKEN_URL": "https://login.microsoftonline.com/evil/oauth2/v2.0/token"},
        {"IDP_TOKEN_URL": "https://evil.example/token", "PROVIDER": "auth0"},
        {"IDP_TENANT_ID": "evil.onmicrosoft.com"},
        {"IDP_TENANT_ID": "evil.onmicrosoft.com", "PROVIDER": "entra_id"},
    ],
)
@pytest.mark.parametrize("source", ["environment", "arguments"])
def test_secret_is_not_sent_to_the_destination_of_a_less_trusted_file(
    source: str, destination: dict[str, str], tmp_path: Path
) -> None:
    write_env(tmp_path, **destination)
    in_environment = {"IDP_CLIENT_SECRET": SECRET} if source == "environment" else {}
    arguments = {"client_secret": SECRET} if source == "arguments" else {}
    with catch_error() as caught:
        resolve(tmp_path, environ={**LOCATION, "IDP_CLIENT_ID": "robot", **in_environment}, **arguments)
    assert isinstance(caught.error, AuthenticationError)
    name = "IDP_CLIENT_SECRET" if in_environment else "client_secret="
    assert str(caught.error).startswith(f"Refusing to send {name} to ")
    assert f", which {next(iter(destination))} in {tmp_path / '.env'} names" in str(caught.error)
    assert SECRET not in caught.text


@pytest.mark.parametrize("destination", [{"IDP_TOKEN_URL": "https://idp.example/token"}, {"IDP_TENANT_ID": "acme"}])
def test_environment_may_name_the_destination_of_a_secret_argument(destination: dict[str, str], tmp_path: Path) -> None:
    environ = {**LOCATION, "IDP_CLIENT_ID": "robot", **destination}
    assert isinstance(resolve(tmp_path, client_secret=SECRET, environ=environ)[1], ClientCredentials)


@pytest.mark.parametrize("trusted", [{"token_url": "https://idp.example/token"}, {"tenant_id": "acme"}])
def test_destination_of_the_arguments_takes_precedence_over_a_file(trusted: dict[str, str], tmp_path: Path) -> None:
    write_env(tmp_path, IDP_TOKEN_URL="https://evil.example/token", IDP_TENANT_ID="evil", PROVIDER="cdf")
    credentials = resolve(tmp_path, client_secret=SECRET, client_id="robot", **trusted, environ=LOCATION)[1]
    assert isinstance(credentials, ClientCredentials)
    assert credentials._host in ("idp.example", "login.microsoftonline.com")


@pytest.mark.parametrize(
    ("file", "trusted"),
    [
        ({"IDP_TOKEN_URL": "https://idp.example/token"}, {"IDP_TOKEN_URL": "https://idp.example/token"}),
        ({"IDP_TENANT_ID": "evil"}, {"IDP_TENANT_ID": "acme"}),
        ({"IDP_TENANT_ID": "evil"}, {"IDP_TOKEN_URL": "https://idp.example/token"}),
        ({"IDP_TENANT_ID": "evil"}, {"PROVIDER": "cdf"}),
        (
            {"IDP_TOKEN_URL": "https://login.microsoftonline.com/${IDP_TENANT_ID}/oauth2/v2.0/token"},
            {"IDP_TENANT_ID": "acme"},
        ),
    ],
)
def test_file_may_repeat_the_destination_of_the_environment(
    file: dict[str, str], trusted: dict[str, str], tmp_path: Path
) -> None:
    environ = {**LOCATION, "IDP_CLIENT_ID": "robot", "IDP_CLIENT_SECRET": SECRET, **trusted}
    expected = resolve(tmp_path, environ=environ)[1]
    write_env(tmp_path, **file)
    credentials = resolve(tmp_path, environ=environ)[1]
    assert isinstance(credentials, ClientCredentials)
    assert isinstance(expected, ClientCredentials)
    assert credentials._token_url == expected._token_url


@pytest.mark.parametrize(
    ("file", "variable"),
    [
        ({"PROVIDER": "cdf"}, "PROVIDER"),
        ({"PROVIDER": "cdf", "IDP_TOKEN_URL": "https://auth.cognite.com/oauth2/token"}, "IDP_TOKEN_URL"),
    ],
)
def test_file_may_choose_cognites_identity_provider_unless_a_trusted_source_names_another(
    file: dict[str, str], variable: str, tmp_path: Path
) -> None:
    write_env(tmp_path, **file)
    environ = {**LOCATION, "IDP_CLIENT_ID": "robot", "IDP_CLIENT_SECRET": SECRET}
    assert repr(resolve(tmp_path, environ=environ)[1]) == "<ClientCredentials of robot at auth.cognite.com>"
    with pytest.raises(AuthenticationError, match=rf"auth\.cognite\.com.*, which {variable} in"):
        resolve(tmp_path, environ={**environ, "IDP_TENANT_ID": "acme"})


def test_file_may_hold_a_secret_and_its_destination(provider: Provider, tmp_path: Path) -> None:
    provider.add_token()
    location = {**LOCATION, "CDF_URL": "http://127.0.0.1:9"}
    write_env(tmp_path, **location, IDP_CLIENT_ID="robot", IDP_CLIENT_SECRET=SECRET, IDP_TOKEN_URL=provider.url)
    target, credentials = resolve(tmp_path, environ={"IDP_TENANT_ID": "acme"})
    assert target.base_url == "http://127.0.0.1:9"
    assert credentials.authorization() == f"Bearer {TOKEN}"
    assert provider.forms[0]["client_secret"] == [SECRET]


def test_secret_of_a_file_may_be_sent_to_the_destination_of_the_environment(tmp_path: Path) -> None:
    write_env(tmp_path, IDP_CLIENT_SECRET=SECRET, CDF_TOKEN=TOKEN)
    environ = {**LOCATION, "IDP_CLIENT_ID": "robot", "IDP_TOKEN_URL": "https://idp.example/token"}
    assert repr(resolve(tmp_path, environ=environ)[1]) == "<ClientCredentials of robot at idp.example>"
    environ = {"CDF_URL": "http://127.0.0.1:9", "CDF_PROJECT": "acme"}
    assert resolve(tmp_path, environ=environ)[0].base_url == "http://127.0.0.1:9"


def test_missing_secret_is_reported_before_its_destination(tmp_path: Path) -> None:
    write_env(tmp_path, CDF_URL="http://127.0.0.1:9", IDP_TOKEN_URL="https://idp.example/token")
    with pytest.raises(AuthenticationError, match="Missing: the client's secret"):
        resolve(tmp_path, environ={**LOCATION, "IDP_CLIENT_ID": "robot"})


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://localhost:9", "http://[::1]:9"])
@pytest.mark.parametrize(
    ("environ", "arguments", "secret"),
    [
        ({"CDF_TOKEN": TOKEN}, {}, "CDF_TOKEN"),
        ({}, {"token": TOKEN}, "token="),
        ({}, {"token": lambda: TOKEN}, "token="),
        (CLIENT_VARIABLES, {}, "a token of IDP_CLIENT_SECRET"),
        (CLIENT_VARIABLES, {"client_secret": SECRET, "tenant_id": "acme"}, "a token of client_secret="),
        (CLIENT_VARIABLES, {"login": "device_code"}, "a token of your login"),
        ({**CLIENT_VARIABLES, "LOGIN_FLOW": "interactive"}, {}, "a token of your login"),
    ],
)
def test_local_service_of_a_file_receives_no_token_of_another_source(
    environ: dict[str, str], arguments: dict[str, Any], secret: str, url: str, tmp_path: Path
) -> None:
    write_env(tmp_path, CDF_URL=url)
    with catch_error() as caught:
        resolve(tmp_path, environ={**LOCATION, **environ}, **arguments)
    assert isinstance(caught.error, AuthenticationError)
    message = f"Refusing to send {secret} to '{url}', which CDF_URL in {tmp_path / '.env'} names"
    assert str(caught.error).startswith(message)
    assert "pass base_url=, or set CDF_URL in the environment" in str(caught.error)
    assert TOKEN not in caught.text
    assert SECRET not in caught.text


@pytest.mark.parametrize("variable", ["CDF_URL", "COGNITE_BASE_URL"])
def test_environment_may_name_a_local_service_for_a_token_argument(variable: str, tmp_path: Path) -> None:
    environ = {"CDF_PROJECT": "acme", "COGNITE_FUSION_NOTEBOOK": "1", variable: "http://127.0.0.1:9"}
    assert resolve(tmp_path, token=TOKEN, environ=environ)[0].base_url == "http://127.0.0.1:9"


@pytest.mark.parametrize("url", ["http://westeurope-1.cognitedata.com", "http://evil.example", "https://evil.example"])
def test_service_of_a_file_is_cognites_and_uses_https(url: str, tmp_path: Path) -> None:
    write_env(tmp_path, CDF_URL=url)
    with pytest.raises(ArgumentError, match="CDF_URL is"):
        resolve(tmp_path, environ={"CDF_PROJECT": "acme", "CDF_TOKEN": TOKEN})


@pytest.mark.parametrize("file", [{"CDF_CLUSTER": "westeurope-1"}, {"CDF_URL": "https://westeurope-1.cognitedata.com"}])
@pytest.mark.parametrize(
    ("environ", "arguments"),
    [
        ({"CDF_TOKEN": TOKEN}, {}),
        ({}, {"token": TOKEN}),
        (CLIENT_VARIABLES, {}),
        (CLIENT_VARIABLES, {"login": "device_code"}),
    ],
)
def test_file_may_choose_the_project_and_a_cluster_of_cognite(
    file: dict[str, str], environ: dict[str, str], arguments: dict[str, Any], tmp_path: Path
) -> None:
    write_env(tmp_path, **file, CDF_PROJECT="acme")
    target = resolve(tmp_path, environ=environ, **arguments)[0]
    assert target == Target("https://westeurope-1.cognitedata.com", "acme")


@pytest.mark.parametrize("flow", ["device_code", "interactive"])
def test_file_may_choose_the_tenant_of_a_user(flow: str, tmp_path: Path) -> None:
    write_env(tmp_path, **LOCATION, IDP_CLIENT_ID="app", IDP_TENANT_ID="acme", LOGIN_FLOW=flow)
    assert isinstance(resolve(tmp_path)[1], UserLogin)


@pytest.mark.parametrize("flow", ["device_code", "interactive"])
@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "https://evil.example/oauth2/v2.0/token"),
        ({}, "https://login.microsoftonline.com.evil.example/acme/oauth2/v2.0/token"),
        ({"IDP_TENANT_ID": "acme"}, "https://login.microsoftonline.com/evil/oauth2/v2.0/token"),
    ],
)
def test_file_cannot_choose_another_login_page_for_a_user(
    environ: dict[str, str], url: str, flow: str, tmp_path: Path
) -> None:
    write_env(tmp_path, IDP_CLIENT_ID="app", IDP_TOKEN_URL=url, LOGIN_FLOW=flow)
    with pytest.raises(AuthenticationError, match=rf"Refusing to send your login to '{url}', which IDP_TOKEN_URL in /"):
        resolve(tmp_path, environ={**LOCATION, **environ})
    trusted = {**LOCATION, **environ, "IDP_TOKEN_URL": url}
    assert isinstance(resolve(tmp_path, environ=trusted)[1], UserLogin)


def test_variables_of_a_hosted_notebook_are_not_read_from_a_file(tmp_path: Path) -> None:
    write_env(tmp_path, **HOSTED_NOTEBOOK | {"COGNITE_BASE_URL": "http://127.0.0.1:9", "COGNITE_TOKEN": "other"})
    for environ in ({}, {"COGNITE_FUSION_NOTEBOOK": "1", "COGNITE_TOKEN": "hosted"}):
        target, credentials = resolve(tmp_path, environ={**LOCATION, "CDF_TOKEN": TOKEN, **environ})
        assert target == Target("https://westeurope-1.cognitedata.com", "acme")
        assert credentials.authorization() == f"Bearer {TOKEN}"


def test_proxies_and_certificates_are_not_read_from_a_file(tmp_path: Path) -> None:
    write_env(tmp_path, HTTPS_PROXY="http://127.0.0.1:9", REQUESTS_CA_BUNDLE="evil.pem", SSL_CERT_FILE="evil.pem")
    before = dict(os.environ)
    credentials = resolve(tmp_path, environ={**LOCATION, **CLIENT_VARIABLES})[1]
    assert isinstance(credentials, ClientCredentials)
    assert credentials._transport._proxies.reveal() == {}
    assert dict(os.environ) == before


def test_file_does_not_change_where_an_existing_client_connects(tmp_path: Path) -> None:
    write_env(tmp_path, CDF_URL="http://127.0.0.1:9", CDF_PROJECT="other", IDP_TOKEN_URL="https://evil.example/token")
    assert resolve(tmp_path, client=fake_client())[0] == Target("https://a.cognitedata.com", "acme")


# Hosted notebooks and existing clients


def test_hosted_notebook_takes_precedence_over_toolkit_variables(tmp_path: Path) -> None:
    target, credentials = resolve(tmp_path, environ={**LOCATION, "CDF_TOKEN": "other", **HOSTED_NOTEBOOK})
    assert target == Target("https://az-eastus-1.cognitedata.com", "hosted")
    assert isinstance(credentials, HostedNotebookToken)


def test_token_of_a_hosted_notebook_is_read_for_every_request(tmp_path: Path) -> None:
    environ = dict(HOSTED_NOTEBOOK)
    _, credentials = resolve(tmp_path, environ=environ)
    environ["COGNITE_TOKEN"] = "fresh"
    assert credentials.authorization() == "Bearer fresh"
    del environ["COGNITE_TOKEN"]
    with pytest.raises(AuthenticationError, match="COGNITE_TOKEN returned no token"):
        credentials.authorization()


def test_token_of_a_hosted_notebook_is_sent_to_its_cluster_only(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cluster= is 'westeurope-1' and COGNITE_TOKEN is"):
        resolve(tmp_path, cluster="westeurope-1", environ=HOSTED_NOTEBOOK)


def test_token_argument_in_a_hosted_notebook_is_used_for_its_cluster(tmp_path: Path) -> None:
    target, credentials = resolve(tmp_path, token="own", environ=HOSTED_NOTEBOOK)
    assert target.base_url == HOSTED_NOTEBOOK["COGNITE_BASE_URL"]
    assert credentials.authorization() == "Bearer own"


def fake_client(header: object = ("Authorization", f"Bearer {TOKEN}"), url: str = "https://a.cognitedata.com") -> Any:
    credentials = SimpleNamespace(authorization_header=lambda: header)
    return SimpleNamespace(config=SimpleNamespace(project="acme", base_url=url, credentials=credentials))


def test_existing_client_provides_target_and_token(tmp_path: Path) -> None:
    target, credentials = resolve(tmp_path, client=fake_client())
    assert target == Target("https://a.cognitedata.com", "acme")
    assert credentials.authorization() == f"Bearer {TOKEN}"


def test_existing_client_takes_precedence_over_variables_but_not_over_arguments(tmp_path: Path) -> None:
    target, _ = resolve(tmp_path, client=fake_client(), project="other", environ={**HOSTED_NOTEBOOK, **LOCATION})
    assert target == Target("https://a.cognitedata.com", "other")


@pytest.mark.parametrize("other", [{"cluster": "b"}, {"base_url": "https://b.cognitedata.com"}])
def test_token_of_an_existing_client_is_sent_to_its_cluster_only(other: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"https://a\.cognitedata\.com"):
        resolve(tmp_path, client=fake_client(), **other)


@pytest.mark.parametrize("header", [("api-key", "Bearer x"), ("Authorization", "Basic x"), None, "Bearer x", ("a",)])
def test_existing_client_without_a_bearer_token_is_rejected(header: object) -> None:
    with pytest.raises(AuthenticationError, match=r"client\.config\.credentials\.authorization_header\(\)"):
        ExistingClient(fake_client(header).config.credentials).authorization()


@pytest.mark.parametrize("kind", [CogniteClient, AsyncCogniteClient])
def test_clients_of_the_sdk_are_supported(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(global_config, "disable_pypi_version_check", True)
    config = ClientConfig("test", "acme", Token(TOKEN), base_url="https://a.cognitedata.com/")
    target, credentials = resolve(tmp_path, client=kind(config))
    assert target == Target("https://a.cognitedata.com", "acme")
    assert credentials.authorization() == f"Bearer {TOKEN}"


# Tokens


@pytest.mark.parametrize("token", [TOKEN, f"Bearer {TOKEN}", f"  bearer {TOKEN}\n", f"\t{TOKEN} "])
def test_token_may_start_with_bearer(token: str) -> None:
    assert StaticToken(token).authorization() == f"Bearer {TOKEN}"


@pytest.mark.parametrize("token", ["", " ", "Bearer ", f"{TOKEN}\r\nX: y", f"{TOKEN} more", f"{TOKEN}\u00e9", b"x", 7])
def test_invalid_token_is_rejected_and_not_shown(token: Any) -> None:
    with catch_error() as caught:
        StaticToken(token)
    assert isinstance(caught.error, AuthenticationError)
    assert TOKEN not in caught.text


def test_static_token_cannot_be_renewed() -> None:
    credentials = StaticToken(TOKEN)
    assert credentials.renew(credentials.authorization()) is False


def test_token_function_is_called_for_every_request() -> None:
    tokens = iter(["one", "two", "three"])
    credentials = TokenFunction(lambda: next(tokens))
    assert credentials.authorization() == "Bearer one"
    assert credentials.authorization() == "Bearer two"
    assert credentials.renew("Bearer two") is True


def test_token_function_that_returns_the_same_token_cannot_be_renewed() -> None:
    credentials = TokenFunction(lambda: TOKEN)
    assert credentials.renew(credentials.authorization()) is False


def test_error_of_a_token_function_is_named_without_its_message() -> None:
    def broken() -> str:
        raise RuntimeError(TOKEN)

    with catch_error() as caught:
        TokenFunction(broken).authorization()
    assert isinstance(caught.error, AuthenticationError)
    assert "token= raised RuntimeError" in str(caught.error)
    assert caught.error.__cause__ is caught.error.__context__ is None
    assert TOKEN not in caught.text


def test_client_credentials_are_sent_in_a_form(provider: Provider) -> None:
    provider.add_token()
    robot = client_credentials(provider.url, scopes=["a", "b"], audience="https://aud")
    assert robot.authorization() == f"Bearer {TOKEN}"
    assert provider.forms == [
        {
            "grant_type": ["client_credentials"],
            "client_id": ["robot"],
            "client_secret": [SECRET],
            "scope": ["a b"],
            "audience": ["https://aud"],
        }
    ]
    assert provider.headers[0]["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in provider.headers[0]


def test_token_is_kept_until_a_minute_before_it_expires(
    robot: ClientCredentials, provider: Provider, clock: Clock
) -> None:
    provider.add_token(expires_in=3600)
    robot.authorization()
    clock.now += 3539
    robot.authorization()
    assert len(provider.forms) == 1
    clock.now += 1
    robot.authorization()
    assert len(provider.forms) == 2


@pytest.mark.parametrize(
    ("fields", "lifetime"),
    [
        ({"expires_in": "1800"}, 1800),
        ({"expires_in": None}, DEFAULT_LIFETIME_S),
        ({"expires_in": "soon"}, DEFAULT_LIFETIME_S),
        ({"expires_in": float("inf")}, DEFAULT_LIFETIME_S),
        ({"expires_in": [1]}, DEFAULT_LIFETIME_S),
        ({"expires_in": -5}, -5),
    ],
)
def test_lifetime_of_a_token_is_parsed(
    fields: dict[str, Any], lifetime: float, robot: ClientCredentials, provider: Provider, clock: Clock
) -> None:
    provider.add_token(**fields)
    robot.authorization()
    assert robot._result.expiry_time_s == clock.now + lifetime


def test_missing_lifetime_has_a_short_default(robot: ClientCredentials, provider: Provider, clock: Clock) -> None:
    provider.add_json({"access_token": TOKEN})
    robot.authorization()
    assert robot._result.expiry_time_s == clock.now + DEFAULT_LIFETIME_S


def expire_for_eight_threads(robot: ClientCredentials, provider: Provider, clock: Clock) -> list[object]:
    """Let eight threads find the token expired; the response is held back until all have checked."""
    robot.authorization()
    clock.now += 4000
    clock.reads = 0
    provider.before_response = lambda: wait_until(lambda: clock.reads >= 9)  # the sender reads it twice
    return run_in_threads(8, robot.authorization)


def test_eight_threads_with_an_expired_token_send_one_request(
    robot: ClientCredentials, provider: Provider, clock: Clock
) -> None:
    provider.add_token("old")
    provider.add_token("new")
    assert expire_for_eight_threads(robot, provider, clock) == ["Bearer new"] * 8
    assert len(provider.forms) == 2


def test_eight_threads_share_one_error(robot: ClientCredentials, provider: Provider, clock: Clock) -> None:
    provider.add_token("old")
    provider.add_json({"error": "invalid_client"}, 401)
    errors = expire_for_eight_threads(robot, provider, clock)
    assert len(provider.forms) == 2
    assert {str(error) for error in errors} == {str(errors[0])}
    assert len({id(error) for error in errors}) == 8
    assert isinstance(errors[0], AuthenticationError)


def test_error_is_not_cached(robot: ClientCredentials, provider: Provider) -> None:
    provider.add_json({"error": "invalid_client"}, 401)
    provider.add_token()
    with pytest.raises(AuthenticationError):
        robot.authorization()
    assert robot.authorization() == f"Bearer {TOKEN}"


def test_rejected_token_is_renewed_once_for_all_threads(robot: ClientCredentials, provider: Provider) -> None:
    provider.add_token("old")
    provider.add_token("new")
    old = robot.authorization()
    assert run_in_threads(8, lambda: robot.renew(old)) == [True] * 8
    assert robot.authorization() == "Bearer new"
    assert len(provider.forms) == 2


def test_renewal_that_returns_the_same_token_is_not_a_renewal(robot: ClientCredentials, provider: Provider) -> None:
    provider.add_token()
    assert robot.renew(robot.authorization()) is False


def test_error_of_the_provider_is_shown_without_the_secret(robot: ClientCredentials, provider: Provider) -> None:
    description = f"AADSTS7000215: Invalid client secret {SECRET} provided.\r\nTrace \x1b[31m"
    provider.add_json({"error": "invalid_client", "error_description": description}, 401)
    with catch_error() as caught:
        robot.authorization()
    assert "invalid_client: AADSTS7000215: Invalid client secret <secret> provided. Trace" in str(caught.error)
    assert "\x1b" not in str(caught.error)
    assert SECRET not in caught.text


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ((200, "text/html; charset=utf-8", b"<html>Welcome to the hotel"), "responded with status 200 and text/html"),
        ((200, "application/json", b"[]"), "instead of JSON with a token"),
        ((200, "application/json", b"{}"), "returned no token"),
        ((200, "application/json", b'{"access_token": "a b"}'), "white space"),
        ((400, "application/json", b'{"error": {"code": 1}}'), "returned no token: "),
        ((307, "text/plain", b""), "a redirect to elsewhere.example, which is not followed"),
    ],
)
def test_unexpected_response_is_described(
    response: tuple[int, str, bytes], message: str, robot: ClientCredentials, provider: Provider, waits: list[float]
) -> None:
    provider.responses.append(response)
    with pytest.raises(AuthenticationError, match=re.escape(message)):
        robot.authorization()
    assert waits == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_temporary_error_is_retried(
    status: int, robot: ClientCredentials, provider: Provider, waits: list[float]
) -> None:
    provider.add_json({}, status)
    provider.add_json({}, status)
    provider.add_token()
    assert robot.authorization() == f"Bearer {TOKEN}"
    assert len(waits) == 2
    assert all(0 < wait <= 2 for wait in waits)


def test_persistent_error_is_raised_after_three_attempts(robot: ClientCredentials, provider: Provider) -> None:
    provider.responses.append((503, "text/html", b"busy"))
    with pytest.raises(AuthenticationError, match="responded with status 503"):
        robot.authorization()
    assert len(provider.forms) == 3


def test_unreachable_provider_is_a_transport_error(waits: list[float]) -> None:
    with pytest.raises(TransportError, match="the identity provider did not respond in 3 attempts"):
        client_credentials("http://127.0.0.1:1/token", wait=waits.append).authorization()
    assert len(waits) == 2


# User login


class Redirected:
    """Send the requests of msal, which requires https, to the provider on loopback."""

    def __init__(self, provider: Provider, send: Callable[..., requests.Response]) -> None:
        self.paths: list[str] = []
        self._provider = provider
        self._send = send

    def __call__(self, transport: Transport, method: str, url: str, **rest: Any) -> requests.Response:
        self.paths.append(urlsplit(url).path.rpartition("/")[2])
        return self._send(transport, method, self._provider.url, **rest)


@pytest.fixture
def entra(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Redirected:
    base = "https://login.microsoftonline.com/acme"
    redirected = Redirected(provider, Transport.send)
    monkeypatch.setattr(Transport, "send", lambda *args, **rest: redirected(*args, **rest))  # noqa: PLW0108 - a method
    provider.configuration = (
        200,
        {
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "device_authorization_endpoint": f"{base}/devicecode",
            "issuer": base,
            "metadata": [],
        },
    )
    return redirected


def user_login(prompts: list[str], clock: Callable[[], float]) -> UserLogin:
    authority = "https://login.microsoftonline.com/acme"
    return UserLogin(
        flow="device_code",
        authority=authority,
        client_id="app",
        scopes=["https://a.cognitedata.com/.default"],
        transport=Transport(authority),
        clock=clock,
        prompt=prompts.append,
    )


def encode_base64(fields: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


DEVICE = {
    "device_code": "d3v1ce",
    "user_code": "ABCD",
    "message": "Enter ABCD at https://microsoft.com/devicelogin",
    "interval": 0,
    "expires_in": 900,
}
ID_TOKEN = f"e30.{encode_base64({'aud': 'app', 'sub': 'me', 'iss': 'x', 'exp': 9_999_999_999, 'oid': 'me'})}.c2ln"
CLIENT_INFO = encode_base64({"uid": "me", "utid": "acme"})


def test_device_code_is_shown_and_signs_in(entra: Redirected, provider: Provider, clock: Clock) -> None:
    prompts: list[str] = []
    provider.add_json(DEVICE)
    provider.add_token(TOKEN)
    assert user_login(prompts, clock).authorization() == f"Bearer {TOKEN}"
    assert prompts == [DEVICE["message"]]
    assert entra.paths == ["openid-configuration", "devicecode", "token"]


def test_user_is_prompted_once_and_the_token_renewed_silently(
    entra: Redirected, provider: Provider, clock: Clock
) -> None:
    prompts: list[str] = []
    login = user_login(prompts, clock)
    provider.add_json(DEVICE)
    provider.add_token("old", refresh_token="r3fresh", id_token=ID_TOKEN, client_info=CLIENT_INFO)
    provider.add_token("new")
    assert login.renew(login.authorization()) is True
    assert login.authorization() == "Bearer new"
    assert len(prompts) == 1
    assert provider.forms[-1]["refresh_token"] == ["r3fresh"]
    assert entra.paths[-1] == "token"


@pytest.mark.usefixtures("entra")
def test_rejected_user_login_shows_the_error_of_the_provider(provider: Provider, clock: Clock) -> None:
    provider.add_json({"error": "unauthorized_client", "error_description": "AADSTS700016: not found"}, 400)
    with pytest.raises(AuthenticationError, match="unauthorized_client: AADSTS700016: not found"):
        user_login([], clock).authorization()


@pytest.mark.usefixtures("entra")
def test_response_that_is_not_json_appears_in_neither_log_nor_traceback(
    provider: Provider, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    provider.add_json(DEVICE)
    provider.responses.append((200, "text/html", f"oops {TOKEN}".encode()))
    with caplog.at_level(logging.DEBUG), catch_error() as caught:
        user_login([], clock).authorization()
    assert isinstance(caught.error, AuthenticationError)
    assert TOKEN not in caught.text + caplog.text
    assert "d3v1ce" not in caught.text + caplog.text


def test_unknown_tenant_is_an_authentication_error(provider: Provider, entra: Redirected, clock: Clock) -> None:
    provider.configuration = (400, {"error": "invalid_tenant"})
    with pytest.raises(AuthenticationError, match="Check the tenant"):
        user_login([], clock).authorization()
    assert entra.paths == ["openid-configuration"]


def test_interactive_flow_opens_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    class Application:
        def __init__(self, *args: Any, **rest: Any) -> None:
            asked.append((*args, rest["authority"]))

        def get_accounts(self) -> list[Any]:
            return []

        def acquire_token_interactive(self, scopes: list[str], **_: Any) -> dict[str, Any]:
            asked.append(tuple(scopes))
            return {"access_token": TOKEN, "expires_in": 3600}

    monkeypatch.setattr(msal, "PublicClientApplication", Application)
    environ = {**LOCATION, **CLIENT_VARIABLES}
    _, credentials = resolve(tmp_path, login="interactive", environ=environ)
    assert credentials.authorization() == f"Bearer {TOKEN}"
    assert asked == [
        ("robot", "https://login.microsoftonline.com/acme.onmicrosoft.com"),
        ("https://westeurope-1.cognitedata.com/.default",),
    ]


def test_error_tells_how_to_install_msal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msal", None)
    with pytest.raises(AuthenticationError, match=re.escape("pip install 'callframe[login]'")):
        resolve(tmp_path, login="device_code", environ={**LOCATION, **CLIENT_VARIABLES})


# Authorization header


def prepared(url: str) -> requests.PreparedRequest:
    return requests.Request("GET", url).prepare()


@pytest.mark.parametrize("path", ["/", "/api/v1/projects/acme", "/?x=https://evil.example"])
def test_header_is_set_for_requests_to_the_origin(path: str) -> None:
    request = BearerAuth(StaticToken(TOKEN), "https://a.cognitedata.com")(prepared(f"https://a.cognitedata.com{path}"))
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    "url",
    [
        "https://a.cognitedata.com.evil.example/",
        "https://a.cognitedata.com@evil.example/",
        "https://a.cognitedata.com:444/",
        "http://a.cognitedata.com/",
        "https://b.cognitedata.com/",
        "https://evil.example/https://a.cognitedata.com/",
        "https://a.cognitedata.com\\@evil.example/",
    ],
)
def test_header_is_not_set_for_other_requests(url: str) -> None:
    request = requests.PreparedRequest()
    request.prepare_method("GET")
    request.prepare_headers({})
    request.url = url
    with pytest.raises(ArgumentError, match="Refusing to send the token"):
        BearerAuth(StaticToken(TOKEN), "https://a.cognitedata.com")(request)
    assert "Authorization" not in request.headers


def test_auth_renews_the_token_it_sent() -> None:
    tokens = iter(["one", "two", "two"])
    auth = BearerAuth(TokenFunction(lambda: next(tokens)), "https://a.cognitedata.com")
    assert auth.renew() is False
    auth(prepared("https://a.cognitedata.com/"))
    assert auth.renew() is True


def test_auth_redacts_the_token_it_sent() -> None:
    auth = BearerAuth(StaticToken(TOKEN), "https://a.cognitedata.com")
    assert auth.redact(TOKEN) == TOKEN
    auth(prepared("https://a.cognitedata.com/"))
    assert auth.redact(f"no such token: {TOKEN}!") == "no such token: <secret>!"


# Secrets


def all_credentials() -> list[Credentials]:
    proxied = Transport("https://idp.example/token", proxies={"https": f"http://me:{TOKEN}@proxy"})
    return [
        StaticToken(TOKEN),
        TokenFunction(lambda: TOKEN),
        HostedNotebookToken(Secret({"COGNITE_TOKEN": TOKEN})),
        ExistingClient(fake_client().config.credentials),
        client_credentials("https://idp.example/token", transport=proxied),
        user_login([], Clock()),
    ]


@pytest.mark.parametrize("index", range(6))
def test_credentials_show_no_secret(index: int) -> None:
    credentials = all_credentials()[index]
    auth = BearerAuth(credentials, "https://a.cognitedata.com")
    shown = f"{credentials} {credentials!r} {auth} {auth!r} {vars(credentials)} {vars(auth)}"
    assert TOKEN not in shown
    assert SECRET not in shown


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_credentials_cannot_be_pickled_or_copied(index: int, duplicate: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="stays in memory: it cannot be pickled or copied"):
        duplicate(all_credentials()[index])


def test_secret_does_not_show_its_value() -> None:
    secret = Secret(SECRET)
    assert f"{secret} {secret!r} {secret!s:>20}".replace(" ", "") == "<secret>" * 3
    assert format(secret, "x") == "<secret>"
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_secret_cannot_be_pickled_or_copied(duplicate: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        duplicate([Secret(SECRET)] if duplicate is not copy.copy else Secret(SECRET))


def failing_calls(provider: Provider, folder: Path) -> dict[str, Callable[[], object]]:
    environ = {**LOCATION, **CLIENT_VARIABLES, "CDF_TOKEN": TOKEN, "IDP_TOKEN_URL": provider.url}
    target: dict[str, Any] = {"base_url": "https://a.cognitedata.com", "project": "acme"}
    proxies = {"https": f"http://user:{TOKEN}@proxy"}
    return {
        "variables": resolve(folder, environ=environ)[1].authorization,
        "invalid flow": lambda: resolve(folder, environ={**environ, "LOGIN_FLOW": "x"}),
        "invalid cluster": lambda: resolve(folder, environ={**environ, "CDF_CLUSTER": "x y"}),
        "missing settings": lambda: resolve(folder, environ={"CDF_TOKEN": TOKEN, "IDP_CLIENT_SECRET": SECRET}),
        "proxy": lambda: resolve(folder, environ=environ, proxies=proxies, cluster="x y"),
        "unreachable": client_credentials("http://127.0.0.1:1/", wait=lambda _: None).authorization,
        "invalid workers": lambda: callframe.connect(**target, token=TOKEN, proxies=proxies, workers=0),
        "contradiction": lambda: callframe.connect(**target, token=TOKEN, client_secret=SECRET, proxies=proxies),
        "invalid token": lambda: callframe.connect(**target, token=f"{TOKEN} {SECRET}", proxies=proxies),
        "missing bundle": lambda: callframe.connect(**target, token=TOKEN, proxies=proxies, verify="missing.pem"),
        "unknown client": lambda: callframe.connect(client={"secret": SECRET}),
    }


@pytest.mark.parametrize(
    "name",
    [
        "variables",
        "invalid flow",
        "invalid cluster",
        "missing settings",
        "proxy",
        "unreachable",
        "invalid workers",
        "contradiction",
        "invalid token",
        "missing bundle",
        "unknown client",
    ],
)
def test_no_error_shows_a_secret_even_with_the_variables_of_its_frames(
    name: str, provider: Provider, tmp_path: Path
) -> None:
    provider.add_json({"error": "invalid_client", "error_description": f"{SECRET} is wrong"}, 401)
    fail = failing_calls(provider, tmp_path)[name]
    with catch_error() as caught:
        fail()
    assert isinstance(caught.error, CallframeError)
    assert caught.error.__cause__ is caught.error.__context__ is None
    assert SECRET not in caught.text
    assert TOKEN not in caught.text


def test_failed_renewal_does_not_show_the_rejected_token(robot: ClientCredentials, provider: Provider) -> None:
    provider.add_token()
    provider.add_json({"error": "invalid_client"}, 401)
    robot.authorization()
    with catch_error() as caught:
        robot.renew(robot.authorization())
    assert isinstance(caught.error, AuthenticationError)
    assert TOKEN not in caught.text


def test_logs_and_debug_output_show_no_secret(
    robot: ClientCredentials,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 2)
    provider.add_token()
    with caplog.at_level(logging.DEBUG):
        robot.authorization()
    shown = caplog.text + "".join(capfd.readouterr())
    assert "POST /token" in shown
    assert SECRET not in shown
    assert TOKEN not in shown


def test_interrupt_shows_no_secret(
    robot: ClientCredentials, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    provider.add_token()
    monkeypatch.setattr(requests.Session, "send", interrupt)
    with catch_error() as caught:
        robot.authorization()
    assert isinstance(caught.error, KeyboardInterrupt)
    assert SECRET not in caught.text
    monkeypatch.undo()
    assert robot.authorization() == f"Bearer {TOKEN}"
