"""Helpers of the archive tests: a project that changes over time, and the frame an archive of it should contain."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from factories import DAY_MS, MINUTE_MS, NOW_MS, call_record, function_record, page_body
from wire import FAST_RETRY

from callframe import frame
from callframe.api import schemas
from callframe.api.catalogue import Catalogue
from callframe.api.client import Client
from callframe.api.schemas import Call, Function, decode_page
from callframe.auth.credentials import StaticToken
from callframe.auth.settings import Target
from callframe.project import Project
from callframe.sample.http_api import ApiError
from callframe.sample.project_data import ProjectData
from callframe.sample.server import Service

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    import pandas as pd

    from callframe.sample.project_data import Filter, Page

RUN_LIMIT_MS = 15 * MINUTE_MS
"""How late a call may appear in a listing."""


class ChangingProject(ProjectData):
    """Project data with a clock, and with time ranges of functions that cannot be listed."""

    now_ms: int = NOW_MS
    unreadable: list[tuple[int, int, int]]
    """Function id, start and end of the time ranges that cannot be listed."""

    def page(self, function_id: int, filter_: Filter, **more: Any) -> Page:
        low, high = filter_.start
        for unreadable_id, start_ms, end_ms in self.unreadable:
            if (
                unreadable_id == function_id
                and low is not None
                and high is not None
                and low < end_ms
                and high >= start_ms
            ):
                raise ApiError(400, "This range cannot be listed")
        return super().page(function_id, filter_, **more)


def changing_project(
    *calls: dict[str, Any], functions: list[dict[str, Any]] | None = None, **more: Any
) -> ChangingProject:
    """Build project data with calls, by default of the function seven."""
    by_function: dict[int, list[dict[str, Any]]] = {7: []}
    for call in calls:
        by_function.setdefault(call["functionId"], []).append(call)
    data = ChangingProject.from_records(functions=functions or [function_record()], calls=by_function, **more)
    assert isinstance(data, ChangingProject)
    data.unreadable = []
    return data


@contextmanager
def serve(data: ChangingProject, **options: Any) -> Iterator[Project]:
    """Serve project data to a project with the same clock."""
    with Service(data, **options) as service:
        client = Client(Target(service.url, service.project), StaticToken(service.token), workers=2, retry=FAST_RETRY)
        with Project(client, clock=lambda: data.now_ms / 1000) as project:
            yield project


@dataclass
class RecordedHistory:
    """Every function and every state of a call that was ever listed."""

    functions: dict[int, dict[str, Any]] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def record(self, data: ChangingProject) -> None:
        self.functions |= {function["id"]: function for function in data.functions}
        for function in data.functions:
            self.calls += data.calls(function["id"])

    def to_frame(self) -> pd.DataFrame:
        """Return the frame that a single fetch of everything would give."""
        calls = decode_page(page_body(*self.calls), Call)
        functions = decode_page(page_body(*self.functions.values()), Function)
        return frame.from_columns([schemas.to_columns(calls.items)], Catalogue(functions.items).labels)


@dataclass
class RandomChanges:
    """Changes project data at random, in ways that the service allows."""

    data: ChangingProject
    rng: random.Random
    next_id: int = 1000

    def advance(self) -> None:
        """Let time pass: calls end, calls start."""
        before_ms = self.data.now_ms
        self.data.now_ms += self.rng.choice([1, 20 * MINUTE_MS, DAY_MS // 3, DAY_MS, 5 * DAY_MS])
        for function in self.data.functions:
            for call in self.data.calls(function["id"]):
                if call["status"] not in {"Completed", "Failed", "Timeout"} and self.rng.random() < 0.5:
                    self.data.replace_call(self._end(call))
            for _ in range(self.rng.randrange(4)):
                self.data.add_call(self._start(function["id"], before_ms, self.data.now_ms))
            if self.rng.random() < 0.3:  # a call that started before the last sync, but was not listed then
                self.data.add_call(self._start(function["id"], before_ms - RUN_LIMIT_MS, before_ms))

    def delete(self, function_ids: set[int]) -> None:
        """Delete calls of functions, and redeploy some."""
        for function in list(self.data.functions):
            if function["id"] not in function_ids:
                continue
            for call in self.data.calls(function["id"]):
                if self.rng.random() < 0.2:
                    self.data.remove_call(function["id"], call["id"])
            if self.rng.random() < 0.2:
                self.data.remove_function(function["id"])
                self.next_id += 1
                self.data.add_function({**function, "id": self.next_id, "createdTime": self.data.now_ms})

    def _start(self, function_id: int, after_ms: int, before_ms: int) -> dict[str, Any]:
        self.next_id += 1
        start_ms = self.rng.randrange(after_ms, before_ms)
        call = call_record(id=self.next_id, functionId=function_id, startTime=start_ms, status="Running", endTime=...)
        if self.rng.random() < 0.5:
            call |= {"scheduledTime": start_ms - 1, "scheduleId": 3}
        if self.rng.random() < 0.1:
            call["status"] = "Paused"
        return self._end(call) if self.rng.random() < 0.6 else call

    def _end(self, call: dict[str, Any]) -> dict[str, Any]:
        status = self.rng.choice(["Completed", "Failed", "Timeout"])
        error = {"error": {"message": "no", "trace": "at all"}} if status == "Failed" else {}
        return {**call, "status": status, "endTime": call["startTime"] + self.rng.randrange(600_000), **error}
