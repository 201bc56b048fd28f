"""A sample project of functions, schedules and calls, served over HTTP on the loopback address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callframe.errors import CallframeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from callframe.project import Project
    from callframe.sample.server import Faults, Service


def demo(
    *,
    calls: int = 150_000,
    functions: int = 20,
    seed: int = 0,
    end_time: datetime | None = None,
    days: float = 14,
    latency_s: float = 0.0,
    page_cap: int = 10_000,
    faults: Faults | None = None,
) -> Project:
    """
    Start a local HTTP service with a sample project and connect to it.

    The service runs in this process until the project is closed.

    Parameters
    ----------
    calls
        Exact number of calls.
    functions
        Number of functions, 1 to 100.
    seed
        Seed of the random generator.
    end_time
        End of the call history; None is now.
    days
        Length of the call history.
    latency_s
        Delay of each response in seconds.
    page_cap
        Largest number of calls in a page, whatever limit is requested.
    faults
        Faults to inject, see `callframe.sample.server.Faults`; None injects none.

    Returns
    -------
    project
        Also a context manager: `with callframe.demo() as project:`.

    Raises
    ------
    CallframeError
        Starlette or uvicorn is not installed.
    """
    from callframe.project import connect  # noqa: PLC0415 - the rest of the package does not depend on the client

    options = {"calls": calls, "functions": functions, "seed": seed, "end_time": end_time, "days": days}
    service = _service(options, latency_s=latency_s, page_cap=page_cap, faults=faults)
    service.start()
    try:
        project = connect(base_url=service.url, project=service.project, token=service.token)
        project.on_close(service.stop)
    except BaseException:
        service.stop()
        raise
    return project


def serve(*, announce: Callable[[dict[str, str]], None], port: int = 0, latency_s: float = 0.0, **options: Any) -> None:
    """
    Serve a sample project until Ctrl-C or SIGTERM.

    Once the service responds, `announce` receives the environment variables that connect a client to it. `options` are
    those of `ProjectData.generate`.
    """
    service = _service(options, port=port, latency_s=latency_s)
    service.serve_forever(lambda: announce(service.environment()))


def _service(data_options: dict[str, Any], **options: Any) -> Service:
    try:
        from callframe.sample.server import Service  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        if error.name not in {"starlette", "uvicorn"}:
            raise
        raise CallframeError("The embedded service needs the extra: pip install 'callframe[demo]'") from error
    from callframe.sample.project_data import ProjectData  # noqa: PLC0415 - imports NumPy

    return Service(ProjectData.generate(**data_options), **options)
