from __future__ import annotations

import base64
import copy
import http.client
import json
import logging
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

from callframe.auth.credentials import ClientToken, NotebookToken, StaticToken, TokenFunction
from callframe.auth.interactive import PersonalLogin
from callframe.auth.oauth import LIFETIME_S, ClientCredentials
from callframe.auth.options import HOSTED_VARIABLES, TOOLKIT_VARIABLES, Secret, Target, bearer, find
from callframe.auth.settings import Settings
from callframe.errors import ArgumentError, AuthenticationError, CallframeError, TransportError
from callframe.http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from callframe.auth.credentials import Credentials

SECRET = "s3cr3t-Of-The-Client+/=&"
TOKEN = "t0ken.of-nobody.c2ln"
PLACE = {"CDF_CLUSTER": "westeurope-1", "CDF_PROJECT": "acme"}
CLIENT = {"IDP_CLIENT_ID": "robot", "IDP_CLIENT_SECRET": SECRET, "IDP_TENANT_ID": "acme.onmicrosoft.com"}
HOSTED = {
    "COGNITE_FUSION_NOTEBOOK": "1",
    "COGNITE_PROJECT": "hosted",
    "COGNITE_BASE_URL": "https://az-eastus-1.cognitedata.com",
    "COGNITE_TOKEN": TOKEN,
}


class Provider:
    """A small identity provider: answers by number of the request, the last one for all that follow."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str, bytes]] = []
        self.forms: list[dict[str, list[str]]] = []
        self.headers: list[dict[str, str]] = []
        self.before: Callable[[], object] = lambda: None
        self.url = ""
        self.directory: tuple[int, dict[str, Any]] = (404, {})

    def says(self, fields: Any, status: int = 200) -> None:
        self.answers.append((status, "application/json", json.dumps(fields).encode()))

    def gives(self, token: str = TOKEN, **fields: Any) -> None:
        self.says({"access_token": token, "token_type": "Bearer", "expires_in": 3600, **fields})

    def answer(self, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        self.headers.append(headers)
        self.forms.append(parse_qs(body.decode()))
        self.before()
        return self.answers[min(len(self.forms), len(self.answers)) - 1]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return self.now


def handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.give(*provider.answer(dict(self.headers), body))

        def do_GET(self) -> None:
            status, fields = provider.directory
            self.give(status, "application/json", json.dumps(fields).encode())

        def give(self, status: int, kind: str, answer: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if 300 <= status < 400:
                self.send_header("Location", "https://elsewhere.example/token")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

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
    return ClientCredentials(**{"token_url": url, "client_id": "robot", "client_secret": SECRET, **changes})


def in_threads(count: int, work: Callable[[], object]) -> list[object]:
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


def until(condition: Callable[[], bool]) -> None:
    lock = threading.Condition()
    with lock:
        assert lock.wait_for(condition, timeout=0) or any(lock.wait(0.001) or condition() for _ in range(10_000))


@contextmanager
def failing() -> Iterator[SimpleNamespace]:
    """Catch an error and keep all that a debugger or an error tracker would see of it."""
    seen = SimpleNamespace(error=None, text="")
    try:
        yield seen
    except BaseException as error:  # noqa: BLE001 - an interrupt must keep secrets too
        seen.error = error
        seen.text = everything_shown(error)
    assert seen.error is not None, "nothing was raised"


def everything_shown(error: BaseException) -> str:
    """Print an error and those behind it, with all variables of all frames but the test's own."""
    parts = ["".join(traceback.format_exception(error))]
    link: BaseException | None = error
    while link is not None:
        frames = link.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        assert frames is not None, "no frame of the package's is left to look at"
        parts += VerboseTB().structured_traceback(type(link), link, frames)
        parts += [repr(vars(link)), *(repr(frame.f_locals) for frame, _ in traceback.walk_tb(frames))]
        link = link.__cause__ or link.__context__
    return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(parts))


# where to


@pytest.mark.parametrize(
    ("cluster", "url"),
    [
        ("westeurope-1", "https://westeurope-1.cognitedata.com"),
        ("WestEurope-1", "https://westeurope-1.cognitedata.com"),
        ("acme.plink.az-eastus-1", "https://acme.plink.az-eastus-1.cognitedata.com"),
    ],
)
def test_cluster_becomes_an_address(cluster: str, url: str) -> None:
    assert Target.of_cluster(cluster, "acme").base_url == url


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
def test_anything_but_one_label_is_no_cluster(cluster: Any) -> None:
    with pytest.raises(ArgumentError, match="expected the part of the address before"):
        Target.of_cluster(cluster, "acme")


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
def test_address_is_brought_into_its_normal_form(url: str, origin: str) -> None:
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
def test_anything_but_an_origin_is_refused(url: Any) -> None:
    with pytest.raises(ArgumentError, match="expected"):
        Target(url, "acme")


def test_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(ArgumentError) as caught:
        Target(f"https://user:{TOKEN}@host.example/?token={TOKEN}", "acme")
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("project", ["", "a b", "acme\n", "../other", "a/b", "a?b", "a%2fb", "\u00e5cme", None])
def test_anything_but_a_name_is_no_project(project: Any) -> None:
    with pytest.raises(ArgumentError, match="expected the project's name"):
        Target("https://westeurope-1.cognitedata.com", project)


def test_api_url_ends_in_the_project() -> None:
    target = Target.of_cluster("westeurope-1", "acme_2-test")
    assert target.api_url == "https://westeurope-1.cognitedata.com/api/v1/projects/acme_2-test"


# finding


def test_arguments_are_enough(tmp_path: Path) -> None:
    target, credentials = find(cluster="westeurope-1", project="acme", token=TOKEN, environ={}, folder=tmp_path)
    assert target == Target("https://westeurope-1.cognitedata.com", "acme")
    assert credentials.authorization() == f"Bearer {TOKEN}"


def test_arguments_win_and_variables_fill_in(tmp_path: Path) -> None:
    target, credentials = find(project="other", environ={**PLACE, "CDF_TOKEN": TOKEN}, folder=tmp_path)
    assert target == Target.of_cluster("westeurope-1", "other")
    assert credentials.authorization() == f"Bearer {TOKEN}"


def test_cluster_argument_wins_over_the_address_in_a_variable(tmp_path: Path) -> None:
    environ = {"CDF_URL": "https://a.cognitedata.com", "CDF_PROJECT": "acme", "CDF_TOKEN": TOKEN}
    target, _ = find(cluster="b", environ=environ, folder=tmp_path)
    assert target.base_url == "https://b.cognitedata.com"


def test_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    _, credentials = find(environ={**PLACE, **CLIENT, "CDF_TOKEN": " ", "LOGIN_FLOW": ""}, folder=tmp_path)
    assert isinstance(credentials, ClientCredentials)


def test_token_without_a_client_is_the_token_flow(tmp_path: Path) -> None:
    _, credentials = find(environ={**PLACE, "CDF_TOKEN": TOKEN}, folder=tmp_path)
    assert isinstance(credentials, StaticToken)


def test_client_wins_over_a_token_beside_it_until_login_flow_says_token(tmp_path: Path) -> None:
    environ = {**PLACE, **CLIENT, "CDF_TOKEN": TOKEN}
    assert isinstance(find(environ=environ, folder=tmp_path)[1], ClientCredentials)
    assert isinstance(find(environ={**environ, "LOGIN_FLOW": "token"}, folder=tmp_path)[1], StaticToken)


@pytest.mark.parametrize("flow", ["device_code", "interactive"])
def test_person_signs_in_by_a_flow_of_the_variables(flow: str, tmp_path: Path) -> None:
    _, credentials = find(environ={**PLACE, **CLIENT, "LOGIN_FLOW": flow}, folder=tmp_path)
    assert repr(credentials) == (
        f"<PersonalLogin by {flow} with robot at https://login.microsoftonline.com/acme.onmicrosoft.com>"
    )


@pytest.mark.parametrize(
    ("environ", "url", "scopes", "audience"),
    [
        (CLIENT, "https://login.microsoftonline.com/acme.onmicrosoft.com/oauth2/v2.0/token", "default", "default"),
        ({**CLIENT, "PROVIDER": "cdf"}, "https://auth.cognite.com/oauth2/token", None, None),
        (
            {
                **CLIENT,
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
def test_defaults_follow_the_provider(
    environ: dict[str, str], url: str, scopes: str | None, audience: str | None, tmp_path: Path
) -> None:
    _, credentials = find(environ={**PLACE, **environ}, folder=tmp_path)
    resource = "https://westeurope-1.cognitedata.com"
    assert isinstance(credentials, ClientCredentials)
    assert credentials._token_url == url
    assert credentials._extra == {
        "scope": {"default": f"{resource}/.default", None: ""}.get(scopes, scopes),
        "audience": {"default": resource, None: ""}.get(audience, audience),
    }


def test_scopes_of_a_private_link_are_those_of_its_cluster(tmp_path: Path) -> None:
    environ = {**CLIENT, "CDF_PROJECT": "acme", "CDF_CLUSTER": "acme.plink.westeurope-1"}
    _, credentials = find(environ=environ, folder=tmp_path)
    assert isinstance(credentials, ClientCredentials)
    assert credentials._extra["scope"] == "https://westeurope-1.cognitedata.com/.default"


def test_secret_argument_is_completed_by_variables(provider: Provider, tmp_path: Path) -> None:
    provider.gives()
    environ = {**PLACE, "IDP_CLIENT_ID": "robot", "IDP_TOKEN_URL": provider.url}
    _, credentials = find(client_secret=SECRET, environ=environ, folder=tmp_path)
    assert credentials.authorization() == f"Bearer {TOKEN}"
    assert provider.forms[0]["client_secret"] == [SECRET]


def test_cluster_and_address_that_agree_are_taken(tmp_path: Path) -> None:
    environ = {**PLACE, "CDF_URL": "https://acme.plink.westeurope-1.cognitedata.com", "CDF_TOKEN": TOKEN}
    assert find(environ=environ, folder=tmp_path)[0].base_url == "https://acme.plink.westeurope-1.cognitedata.com"


def test_cluster_and_address_that_disagree_are_both_named(tmp_path: Path) -> None:
    environ = {**PLACE, "CDF_URL": "https://az-eastus-1.cognitedata.com", "CDF_TOKEN": TOKEN}
    with pytest.raises(ArgumentError, match=r"CDF_CLUSTER is 'westeurope-1' and CDF_URL is 'https://az-eastus-1"):
        find(environ=environ, folder=tmp_path)


def test_service_on_this_machine_may_stand_in_for_any_cluster(tmp_path: Path) -> None:
    environ = {**PLACE, "CDF_URL": "http://127.0.0.1:8000", "CDF_TOKEN": TOKEN}
    assert find(environ=environ, folder=tmp_path)[0].base_url == "http://127.0.0.1:8000"


@pytest.mark.parametrize("name", ["CDF_URL", "COGNITE_BASE_URL"])
@pytest.mark.parametrize(
    "url", ["https://evil.example", "https://cognitedata.com.evil.example", "https://evilcognitedata.com"]
)
def test_variable_sends_no_token_to_another_host(name: str, url: str, tmp_path: Path) -> None:
    environ = {"CDF_PROJECT": "acme", "CDF_TOKEN": TOKEN} if name == "CDF_URL" else HOSTED
    with pytest.raises(ArgumentError, match=rf"{name} is .* expected a host under \.cognitedata\.com"):
        find(environ={**environ, name: url}, folder=tmp_path)


def test_argument_may_name_another_host(tmp_path: Path) -> None:
    environ = {"CDF_PROJECT": "acme", "CDF_TOKEN": TOKEN}
    assert (
        find(base_url="https://proxy.example", environ=environ, folder=tmp_path)[0].base_url == "https://proxy.example"
    )


@pytest.mark.parametrize("name", ["PROVIDER", "LOGIN_FLOW"])
def test_unknown_word_is_answered_with_the_known_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=rf"{name} is 'kerberos'; expected one of .*, .*, .*, "):
        find(
            environ={**PLACE, "IDP_CLIENT_ID": "robot", "IDP_CLIENT_SECRET": SECRET, name: "kerberos"}, folder=tmp_path
        )


def test_session_is_said_to_be_the_toolkits(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="'session', which only Cognite's toolkit can use"):
        find(environ={**PLACE, "LOGIN_FLOW": "session"}, folder=tmp_path)


@pytest.mark.parametrize("url", ["http://idp.example/token", "idp.example", "https://user:pw@idp.example/token", ""])
def test_secret_goes_to_no_doubtful_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"token_url= is"):
        find(token_url=url, environ={**PLACE, **CLIENT}, folder=tmp_path)


@pytest.mark.parametrize("tenant", ["../evil", "a/b", "a?b", "a\n", "a b"])
def test_anything_but_a_name_is_no_tenant(tenant: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"IDP_TENANT_ID is .* expected the id or the domain"):
        find(environ={**PLACE, **CLIENT, "IDP_TENANT_ID": tenant}, folder=tmp_path)


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
def test_arguments_that_cannot_be_meant_are_refused(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError) as caught:
        find(**arguments, environ=PLACE, folder=tmp_path)
    assert SECRET not in str(caught.value)


def test_personal_login_needs_entra_id(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="works with entra_id only"):
        find(environ={**PLACE, **CLIENT, "PROVIDER": "cdf", "LOGIN_FLOW": "interactive"}, folder=tmp_path)


def test_nothing_found_lists_all_that_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"IDP_CLIENT_SECRET={SECRET}")
    with pytest.raises(AuthenticationError) as caught:
        find(environ={"CDF_PROJECT": "acme"}, folder=tmp_path)
    words = str(caught.value)
    assert all(name in words for name in (*HOSTED_VARIABLES, *TOOLKIT_VARIABLES))
    assert "CDF_PROJECT set" in words
    assert "CDF_CLUSTER not set" in words
    assert f"IDP_CLIENT_SECRET set in {tmp_path / '.env'}" in words
    assert f"{tmp_path.parent / '.env'} not there" in words
    assert words.count("callframe.connect(") == 2
    assert SECRET not in words


# .env files


def test_file_in_the_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"CDF_CLUSTER=westeurope-1\nCDF_PROJECT='acme'\nCDF_TOKEN={TOKEN}\n")
    target, credentials = find(environ={}, folder=tmp_path)
    assert target == Target.of_cluster("westeurope-1", "acme")
    assert credentials.authorization() == f"Bearer {TOKEN}"


def test_file_in_the_folder_wins_over_the_one_above(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (tmp_path / ".env").write_text("CDF_PROJECT=above")
    assert Settings(Secret({}), folder).text("CDF_PROJECT") == "above"
    (folder / ".env").write_text("CDF_PROJECT=here")
    assert Settings(Secret({}), folder).text("CDF_PROJECT") == "here"


def test_shell_wins_over_the_file_inside_values_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CDF_CLUSTER=file\nCDF_URL=https://${CDF_CLUSTER}.cognitedata.com")
    settings = Settings(Secret({"CDF_CLUSTER": "shell"}), tmp_path)
    assert settings.text("CDF_URL") == "https://shell.cognitedata.com"


def test_dollars_in_a_password_stay(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("IDP_CLIENT_SECRET='a$b${c'\nIDP_AUDIENCE=${nothing}\nIDP_SCOPES=${nothing:-some}")
    settings = Settings(Secret({}), tmp_path)
    secret = settings.secret("IDP_CLIENT_SECRET")
    assert secret is not None
    assert secret.reveal() == "a$b${c"
    assert settings.text("IDP_AUDIENCE") == "${nothing}"
    assert settings.text("IDP_SCOPES") == "some"


def test_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfCDF_PROJECT=acme\r\n")
    assert Settings(Secret({}), tmp_path).text("CDF_PROJECT") == "acme"


def test_file_leaves_the_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CDF_PROJECT", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"CDF_CLUSTER=a\nCDF_PROJECT=acme\nCDF_TOKEN={TOKEN}")
    find()
    with pytest.raises(AuthenticationError):
        find(folder=tmp_path / "elsewhere" / "deep")


def test_folder_called_env_is_no_file(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert Settings(Secret({}), tmp_path).path is None


def test_unreadable_file_is_named_and_not_quoted(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(f"CDF_TOKEN={TOKEN}\xff".encode("latin-1"))
    with failing() as seen:
        find(environ={}, folder=tmp_path)
    assert "could not be read (UnicodeDecodeError)" in str(seen.error)
    assert TOKEN not in seen.text


# hosted notebooks and existing clients


def test_hosted_notebook_wins_over_the_toolkits_variables(tmp_path: Path) -> None:
    target, credentials = find(environ={**PLACE, "CDF_TOKEN": "other", **HOSTED}, folder=tmp_path)
    assert target == Target("https://az-eastus-1.cognitedata.com", "hosted")
    assert isinstance(credentials, NotebookToken)


def test_token_of_a_hosted_notebook_is_read_anew(tmp_path: Path) -> None:
    environ = dict(HOSTED)
    _, credentials = find(environ=environ, folder=tmp_path)
    environ["COGNITE_TOKEN"] = "fresh"
    assert credentials.authorization() == "Bearer fresh"
    del environ["COGNITE_TOKEN"]
    with pytest.raises(AuthenticationError, match="COGNITE_TOKEN gave no token"):
        credentials.authorization()


def test_token_of_a_hosted_notebook_goes_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cluster= is 'westeurope-1' and COGNITE_TOKEN is"):
        find(cluster="westeurope-1", environ=HOSTED, folder=tmp_path)


def test_own_token_in_a_hosted_notebook_goes_to_its_cluster(tmp_path: Path) -> None:
    target, credentials = find(token="own", environ=HOSTED, folder=tmp_path)
    assert target.base_url == HOSTED["COGNITE_BASE_URL"]
    assert credentials.authorization() == "Bearer own"


def fake_client(header: object = ("Authorization", f"Bearer {TOKEN}"), url: str = "https://a.cognitedata.com") -> Any:
    credentials = SimpleNamespace(authorization_header=lambda: header)
    return SimpleNamespace(config=SimpleNamespace(project="acme", base_url=url, credentials=credentials))


def test_client_is_read_through_three_names_only(tmp_path: Path) -> None:
    target, credentials = find(client=fake_client(), environ={}, folder=tmp_path)
    assert target == Target("https://a.cognitedata.com", "acme")
    assert credentials.authorization() == f"Bearer {TOKEN}"


def test_client_wins_over_variables_and_an_argument_over_the_client(tmp_path: Path) -> None:
    target, _ = find(client=fake_client(), project="other", environ={**HOSTED, **PLACE}, folder=tmp_path)
    assert target == Target("https://a.cognitedata.com", "other")


@pytest.mark.parametrize("other", [{"cluster": "b"}, {"base_url": "https://b.cognitedata.com"}])
def test_token_of_a_client_goes_nowhere_else(other: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"https://a\.cognitedata\.com"):
        find(client=fake_client(), **other, environ={}, folder=tmp_path)


@pytest.mark.parametrize("header", [("api-key", "Bearer x"), ("Authorization", "Basic x"), None, "Bearer x", ("a",)])
def test_client_without_a_bearer_token_cannot_sign_in(header: object) -> None:
    with pytest.raises(AuthenticationError, match=r"client\.config\.credentials\.authorization_header\(\)"):
        ClientToken(fake_client(header).config.credentials).authorization()


@pytest.mark.parametrize("kind", [CogniteClient, AsyncCogniteClient])
def test_clients_of_the_sdk_are_taken(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(global_config, "disable_pypi_version_check", True)
    config = ClientConfig("test", "acme", Token(TOKEN), base_url="https://a.cognitedata.com/")
    target, credentials = find(client=kind(config), environ={}, folder=tmp_path)
    assert target == Target("https://a.cognitedata.com", "acme")
    assert credentials.authorization() == f"Bearer {TOKEN}"


# tokens


@pytest.mark.parametrize("token", [TOKEN, f"Bearer {TOKEN}", f"  bearer {TOKEN}\n", f"\t{TOKEN} "])
def test_token_is_taken_with_or_without_bearer(token: str) -> None:
    assert StaticToken(token).authorization() == f"Bearer {TOKEN}"


@pytest.mark.parametrize("token", ["", " ", "Bearer ", f"{TOKEN}\r\nX: y", f"{TOKEN} more", f"{TOKEN}\u00e9", b"x", 7])
def test_what_cannot_be_a_token_is_refused_and_not_shown(token: Any) -> None:
    with failing() as seen:
        StaticToken(token)
    assert isinstance(seen.error, AuthenticationError)
    assert TOKEN not in seen.text


def test_static_token_cannot_be_renewed() -> None:
    credentials = StaticToken(TOKEN)
    assert credentials.renew(credentials.authorization()) is False


def test_token_function_is_called_for_every_request() -> None:
    tokens = iter(["one", "two", "three"])
    credentials = TokenFunction(lambda: next(tokens))
    assert credentials.authorization() == "Bearer one"
    assert credentials.authorization() == "Bearer two"
    assert credentials.renew("Bearer two") is True


def test_token_function_that_gives_the_same_again_cannot_be_renewed() -> None:
    credentials = TokenFunction(lambda: TOKEN)
    assert credentials.renew(credentials.authorization()) is False


def test_error_of_a_token_function_is_named_without_its_words() -> None:
    def broken() -> str:
        raise RuntimeError(TOKEN)

    with failing() as seen:
        TokenFunction(broken).authorization()
    assert isinstance(seen.error, AuthenticationError)
    assert "token= raised RuntimeError" in str(seen.error)
    assert seen.error.__cause__ is seen.error.__context__ is None
    assert TOKEN not in seen.text


def test_client_shows_its_secret_in_a_form(provider: Provider) -> None:
    provider.gives()
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
    provider.gives(expires_in=3600)
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
        ({"expires_in": None}, LIFETIME_S),
        ({"expires_in": "soon"}, LIFETIME_S),
        ({"expires_in": float("inf")}, LIFETIME_S),
        ({"expires_in": [1]}, LIFETIME_S),
        ({"expires_in": -5}, -5),
    ],
)
def test_odd_lifetimes_are_understood(
    fields: dict[str, Any], lifetime: float, robot: ClientCredentials, provider: Provider, clock: Clock
) -> None:
    provider.gives(**fields)
    robot.authorization()
    assert robot._outcome.until == clock.now + lifetime


def test_absent_lifetime_is_taken_to_be_short(robot: ClientCredentials, provider: Provider, clock: Clock) -> None:
    provider.says({"access_token": TOKEN})
    robot.authorization()
    assert robot._outcome.until == clock.now + LIFETIME_S


def expired_for_eight(robot: ClientCredentials, provider: Provider, clock: Clock) -> list[object]:
    """Let 8 threads find the token expired, and hold the answer back until all have looked."""
    robot.authorization()
    clock.now += 4000
    clock.looks = 0
    provider.before = lambda: until(lambda: clock.looks >= 9)  # one more: who asks notes when
    return in_threads(8, robot.authorization)


def test_eight_threads_with_an_expired_token_make_one_request(
    robot: ClientCredentials, provider: Provider, clock: Clock
) -> None:
    provider.gives("old")
    provider.gives("new")
    assert expired_for_eight(robot, provider, clock) == ["Bearer new"] * 8
    assert len(provider.forms) == 2


def test_eight_threads_share_one_failure(robot: ClientCredentials, provider: Provider, clock: Clock) -> None:
    provider.gives("old")
    provider.says({"error": "invalid_client"}, 401)
    errors = expired_for_eight(robot, provider, clock)
    assert len(provider.forms) == 2
    assert {str(error) for error in errors} == {str(errors[0])}
    assert len({id(error) for error in errors}) == 8
    assert isinstance(errors[0], AuthenticationError)


def test_failure_is_not_kept(robot: ClientCredentials, provider: Provider) -> None:
    provider.says({"error": "invalid_client"}, 401)
    provider.gives()
    with pytest.raises(AuthenticationError):
        robot.authorization()
    assert robot.authorization() == f"Bearer {TOKEN}"


def test_rejected_token_is_renewed_once_for_all_threads(robot: ClientCredentials, provider: Provider) -> None:
    provider.gives("old")
    provider.gives("new")
    old = robot.authorization()
    assert in_threads(8, lambda: robot.renew(old)) == [True] * 8
    assert robot.authorization() == "Bearer new"
    assert len(provider.forms) == 2


def test_renewal_that_brings_the_same_token_is_none(robot: ClientCredentials, provider: Provider) -> None:
    provider.gives()
    assert robot.renew(robot.authorization()) is False


def test_no_of_the_provider_is_repeated_without_the_secret(robot: ClientCredentials, provider: Provider) -> None:
    words = f"AADSTS7000215: Invalid client secret {SECRET} provided.\r\nTrace \x1b[31m"
    provider.says({"error": "invalid_client", "error_description": words}, 401)
    with failing() as seen:
        robot.authorization()
    assert "invalid_client: AADSTS7000215: Invalid client secret <secret> provided. Trace" in str(seen.error)
    assert "\x1b" not in str(seen.error)
    assert SECRET not in seen.text


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, "text/html; charset=utf-8", b"<html>Welcome to the hotel"), "answered 200 with text/html"),
        ((200, "application/json", b"[]"), "no JSON with a token in it"),
        ((200, "application/json", b"{}"), "gave no token"),
        ((200, "application/json", b'{"access_token": "a b"}'), "white space"),
        ((400, "application/json", b'{"error": {"code": 1}}'), "gave no token: "),
        ((307, "text/plain", b""), "a redirect to elsewhere.example, which is not followed"),
    ],
)
def test_odd_answers_are_named(
    answer: tuple[int, str, bytes], words: str, robot: ClientCredentials, provider: Provider, waits: list[float]
) -> None:
    provider.answers.append(answer)
    with pytest.raises(AuthenticationError, match=re.escape(words)):
        robot.authorization()
    assert waits == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_fault_is_waited_for(
    status: int, robot: ClientCredentials, provider: Provider, waits: list[float]
) -> None:
    provider.says({}, status)
    provider.says({}, status)
    provider.gives()
    assert robot.authorization() == f"Bearer {TOKEN}"
    assert len(waits) == 2
    assert all(0 < wait <= 2 for wait in waits)


def test_lasting_fault_ends_after_three_tries(robot: ClientCredentials, provider: Provider) -> None:
    provider.answers.append((503, "text/html", b"busy"))
    with pytest.raises(AuthenticationError, match="answered 503"):
        robot.authorization()
    assert len(provider.forms) == 3


def test_provider_that_cannot_be_reached_is_a_transport_error(waits: list[float]) -> None:
    with pytest.raises(TransportError, match="the identity provider gave no answer in 3 tries"):
        client_credentials("http://127.0.0.1:1/token", wait=waits.append).authorization()
    assert len(waits) == 2


# signing in as a person


class Elsewhere:
    """Stand between msal, which wants https, and the loopback provider."""

    def __init__(self, provider: Provider, send: Callable[..., requests.Response]) -> None:
        self.paths: list[str] = []
        self._provider = provider
        self._send = send

    def __call__(self, transport: Transport, method: str, url: str, **rest: Any) -> requests.Response:
        self.paths.append(urlsplit(url).path.rpartition("/")[2])
        return self._send(transport, method, self._provider.url, **rest)


@pytest.fixture
def entra(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    base = "https://login.microsoftonline.com/acme"
    elsewhere = Elsewhere(provider, Transport.send)
    monkeypatch.setattr(Transport, "send", lambda *args, **rest: elsewhere(*args, **rest))  # noqa: PLW0108 - a method
    provider.directory = (
        200,
        {
            "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token",
            "device_authorization_endpoint": f"{base}/devicecode",
            "issuer": base,
            "metadata": [],
        },
    )
    return elsewhere


def person(told: list[str], clock: Callable[[], float]) -> PersonalLogin:
    return PersonalLogin(
        flow="device_code",
        authority="https://login.microsoftonline.com/acme",
        client_id="app",
        scopes=["https://a.cognitedata.com/.default"],
        clock=clock,
        tell=told.append,
    )


def in_base64(fields: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


DEVICE = {
    "device_code": "d3v1ce",
    "user_code": "ABCD",
    "message": "Enter ABCD at https://microsoft.com/devicelogin",
    "interval": 0,
    "expires_in": 900,
}
ID_TOKEN = f"e30.{in_base64({'aud': 'app', 'sub': 'me', 'iss': 'x', 'exp': 9_999_999_999, 'oid': 'me'})}.c2ln"
CLIENT_INFO = in_base64({"uid": "me", "utid": "acme"})


def test_device_code_is_told_and_signs_in(entra: Elsewhere, provider: Provider, clock: Clock) -> None:
    told: list[str] = []
    provider.says(DEVICE)
    provider.gives(TOKEN)
    assert person(told, clock).authorization() == f"Bearer {TOKEN}"
    assert told == [DEVICE["message"]]
    assert entra.paths == ["openid-configuration", "devicecode", "token"]


def test_person_is_asked_once_and_renewed_in_silence(entra: Elsewhere, provider: Provider, clock: Clock) -> None:
    told: list[str] = []
    login = person(told, clock)
    provider.says(DEVICE)
    provider.gives("old", refresh_token="r3fresh", id_token=ID_TOKEN, client_info=CLIENT_INFO)
    provider.gives("new")
    assert login.renew(login.authorization()) is True
    assert login.authorization() == "Bearer new"
    assert len(told) == 1
    assert provider.forms[-1]["refresh_token"] == ["r3fresh"]
    assert entra.paths[-1] == "token"


@pytest.mark.usefixtures("entra")
def test_no_to_a_person_is_repeated(provider: Provider, clock: Clock) -> None:
    provider.says({"error": "unauthorized_client", "error_description": "AADSTS700016: not found"}, 400)
    with pytest.raises(AuthenticationError, match="unauthorized_client: AADSTS700016: not found"):
        person([], clock).authorization()


@pytest.mark.usefixtures("entra")
def test_answer_that_is_no_json_reaches_neither_log_nor_traceback(
    provider: Provider, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    provider.says(DEVICE)
    provider.answers.append((200, "text/html", f"oops {TOKEN}".encode()))
    with caplog.at_level(logging.DEBUG), failing() as seen:
        person([], clock).authorization()
    assert isinstance(seen.error, AuthenticationError)
    assert TOKEN not in seen.text + caplog.text
    assert "d3v1ce" not in seen.text + caplog.text


def test_unknown_tenant_is_a_sign_in_error(provider: Provider, entra: Elsewhere, clock: Clock) -> None:
    provider.directory = (400, {"error": "invalid_tenant"})
    with pytest.raises(AuthenticationError, match="Check the tenant"):
        person([], clock).authorization()
    assert entra.paths == ["openid-configuration"]


def test_browser_is_opened_for_the_interactive_flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    environ = {**PLACE, **CLIENT}
    _, credentials = find(login="interactive", environ=environ, folder=tmp_path)
    assert credentials.authorization() == f"Bearer {TOKEN}"
    assert asked == [
        ("robot", "https://login.microsoftonline.com/acme.onmicrosoft.com"),
        ("https://westeurope-1.cognitedata.com/.default",),
    ]


def test_missing_library_is_named_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msal", None)
    with pytest.raises(AuthenticationError, match=re.escape("pip install 'callframe[login]'")):
        find(login="device_code", environ={**PLACE, **CLIENT}, folder=tmp_path)


# where tokens go


def prepared(url: str) -> requests.PreparedRequest:
    return requests.Request("GET", url).prepare()


@pytest.mark.parametrize("path", ["/", "/api/v1/projects/acme", "/?x=https://evil.example"])
def test_header_is_put_on_requests_to_the_origin(path: str) -> None:
    request = bearer(StaticToken(TOKEN), "https://a.cognitedata.com")(prepared(f"https://a.cognitedata.com{path}"))
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
def test_header_is_put_on_no_other_request(url: str) -> None:
    request = requests.PreparedRequest()
    request.prepare_method("GET")
    request.prepare_headers({})
    request.url = url
    with pytest.raises(ArgumentError, match="was not sent"):
        bearer(StaticToken(TOKEN), "https://a.cognitedata.com")(request)
    assert "Authorization" not in request.headers


def test_guard_renews_what_it_sent() -> None:
    tokens = iter(["one", "two", "two"])
    guard = bearer(TokenFunction(lambda: next(tokens)), "https://a.cognitedata.com")
    assert guard.renew() is False
    guard(prepared("https://a.cognitedata.com/"))
    assert guard.renew() is True


def test_guard_takes_what_it_sent_out_of_an_answer() -> None:
    guard = bearer(StaticToken(TOKEN), "https://a.cognitedata.com")
    assert guard.redact(TOKEN) == TOKEN
    guard(prepared("https://a.cognitedata.com/"))
    assert guard.redact(f"no such token: {TOKEN}!") == "no such token: <secret>!"


# secrets


def all_credentials() -> list[Credentials]:
    return [
        StaticToken(TOKEN),
        TokenFunction(lambda: TOKEN),
        NotebookToken(Secret({"COGNITE_TOKEN": TOKEN})),
        ClientToken(fake_client().config.credentials),
        client_credentials("https://idp.example/token", proxies={"https": f"http://me:{TOKEN}@proxy"}),
        person([], Clock()),
    ]


@pytest.mark.parametrize("index", range(6))
def test_credentials_show_nothing_secret(index: int) -> None:
    credentials = all_credentials()[index]
    guard = bearer(credentials, "https://a.cognitedata.com")
    shown = f"{credentials} {credentials!r} {guard} {guard!r} {vars(credentials)} {vars(guard)}"
    assert TOKEN not in shown
    assert SECRET not in shown


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize("spread", [pickle.dumps, copy.copy, copy.deepcopy])
def test_credentials_can_be_neither_pickled_nor_copied(index: int, spread: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="stays in memory: it cannot be pickled or copied"):
        spread(all_credentials()[index])


def test_secret_shows_nothing() -> None:
    secret = Secret(SECRET)
    assert f"{secret} {secret!r} {secret!s:>20}".replace(" ", "") == "<secret>" * 3
    assert format(secret, "x") == "<secret>"
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("spread", [pickle.dumps, copy.copy, copy.deepcopy])
def test_secret_can_be_neither_pickled_nor_copied(spread: Callable[[object], object]) -> None:
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        spread([Secret(SECRET)] if spread is not copy.copy else Secret(SECRET))


def failures(provider: Provider, folder: Path) -> dict[str, Callable[[], object]]:
    environ = {**PLACE, **CLIENT, "CDF_TOKEN": TOKEN, "IDP_TOKEN_URL": provider.url}

    return {
        "variables": find(environ=environ, folder=folder)[1].authorization,
        "bad flow": lambda: find(environ={**environ, "LOGIN_FLOW": "x"}, folder=folder),
        "bad cluster": lambda: find(environ={**environ, "CDF_CLUSTER": "x y"}, folder=folder),
        "not enough": lambda: find(environ={"CDF_TOKEN": TOKEN, "IDP_CLIENT_SECRET": SECRET}, folder=folder),
        "proxy": lambda: find(environ=environ, folder=folder, proxies={"https": f"http://u:{TOKEN}@p"}, cluster="x y"),
        "unreachable": client_credentials("http://127.0.0.1:1/", wait=lambda _: None).authorization,
    }


@pytest.mark.parametrize("name", ["variables", "bad flow", "bad cluster", "not enough", "proxy", "unreachable"])
def test_no_failure_shows_a_secret_even_with_its_variables(name: str, provider: Provider, tmp_path: Path) -> None:
    provider.says({"error": "invalid_client", "error_description": f"{SECRET} is wrong"}, 401)
    fail = failures(provider, tmp_path)[name]
    with failing() as seen:
        fail()
    assert isinstance(seen.error, CallframeError)
    assert seen.error.__cause__ is seen.error.__context__ is None
    assert SECRET not in seen.text
    assert TOKEN not in seen.text


def test_renewal_that_fails_does_not_show_the_rejected_token(robot: ClientCredentials, provider: Provider) -> None:
    provider.gives()
    provider.says({"error": "invalid_client"}, 401)
    robot.authorization()
    with failing() as seen:
        robot.renew(robot.authorization())
    assert isinstance(seen.error, AuthenticationError)
    assert TOKEN not in seen.text


def test_logs_and_debug_prints_show_no_secret(
    robot: ClientCredentials,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 2)
    provider.gives()
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

    provider.gives()
    monkeypatch.setattr(requests.Session, "send", interrupt)
    with failing() as seen:
        robot.authorization()
    assert isinstance(seen.error, KeyboardInterrupt)
    assert SECRET not in seen.text
    monkeypatch.undo()
    assert robot.authorization() == f"Bearer {TOKEN}"
