"""Made-up calls of a made-up project, served by a real HTTP service on this machine's loopback address."""

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
    Start a service with a made-up project, and connect to it as to a real one.

    The service runs in this process until the project is closed.

    Parameters
    ----------
    calls
        Number of calls, exactly.
    functions
        Number of functions, 1 to 100.
    seed
        Chooses among worlds of the same kind.
    end_time
        When the history ends; None is now.
    days
        Length of the history.
    latency_s
        Seconds every answer waits, as answers from afar do.
    page_cap
        Most calls a page holds, whatever limit is asked for.
    faults
        What goes wrong on the way, see `callframe.sample.server.Faults`; None for nothing.

    Returns
    -------
    project
        Also a context manager: `with callframe.demo() as project:`.

    Raises
    ------
    CallframeError
        Starlette or uvicorn is not installed.
    """
    from callframe.project import connect  # noqa: PLC0415 - connect knows nothing of the demo

    made = {"calls": calls, "functions": functions, "seed": seed, "end_time": end_time, "days": days}
    service = _service(made, latency_s=latency_s, page_cap=page_cap, faults=faults)
    service.start()
    try:
        project = connect(base_url=service.url, project=service.project, token=service.token)
        project.on_close(service.stop)
    except BaseException:
        service.stop()
        raise
    return project


def serve(*, announce: Callable[[dict[str, str]], None], port: int = 0, latency_s: float = 0.0, **made: Any) -> None:
    """
    Serve a made-up project until Ctrl-C or SIGTERM.

    Parameters
    ----------
    announce
        Called once requests are answered, with the environment variables that lead a client there.
    port
        Port to listen on; 0 for any that is free.
    latency_s
        Seconds every answer waits.
    **made
        What `World.generate` takes: `calls`, `functions`, `seed`, `end_time`, `days`.

    Raises
    ------
    CallframeError
        Starlette or uvicorn is not installed, or the port is taken.
    """
    service = _service(made, port=port, latency_s=latency_s)
    service.serve_forever(lambda: announce(service.environment()))


def _service(made: dict[str, Any], **options: Any) -> Service:
    try:
        from callframe.sample.server import Service  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        if error.name not in {"starlette", "uvicorn"}:
            raise
        raise CallframeError("The embedded service needs the extra: pip install 'callframe[demo]'") from error
    from callframe.sample.project_data import ProjectData  # noqa: PLC0415 - keeps this module light

    return Service(ProjectData.generate(**made), **options)
