"""What the tests of the archive share: a project whose history goes on, and one fetch of all that was ever seen."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from factories import DAY_MS, NOW_MS, call_record, function_record
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

MINUTE = 60_000
LATE_MS = 15 * MINUTE
"""How late a call may appear in a listing: the run limit."""


class Story(ProjectData):
    """A world that goes on in time, where stretches of functions may be unreadable for a while."""

    now_ms: int = NOW_MS
    broken: list[tuple[int, int, int]]
    """Function id and start times, from and before, of what cannot be listed."""

    def page(self, function_id: int, filter_: Filter, **more: Any) -> Page:
        low, high = filter_.start
        for one, start, end in self.broken:
            if one == function_id and low is not None and high is not None and low < end and high >= start:
                raise ApiError(400, "This stretch cannot be listed")
        return super().page(function_id, filter_, **more)


def story(*calls: dict[str, Any], functions: list[dict[str, Any]] | None = None, **more: Any) -> Story:
    """Begin a story, of one function, seven, unless it is told of others."""
    made = Story.from_records(functions=functions or [function_record()], calls={7: [], **_by_function(calls)}, **more)
    assert isinstance(made, Story)
    made.broken = []
    return made


@contextmanager
def told(world: Story, **options: Any) -> Iterator[Project]:
    """Serve a story to a project whose time is that of the story."""
    with Service(world, **options) as service:
        client = Client(Target(service.url, service.project), StaticToken(service.token), workers=2, retry=FAST_RETRY)
        with Project(client, clock=lambda: world.now_ms / 1000) as project:
            yield project


@dataclass
class Seen:
    """All that was ever seen of a story: the functions, and each record as it was."""

    functions: dict[int, dict[str, Any]] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)

    def look(self, world: Story) -> None:
        """See all there is now."""
        self.functions |= {one["id"]: one for one in world.functions}
        for one in world.functions:
            self.records += world.calls(one["id"])

    def at_once(self) -> pd.DataFrame:
        """Make the frame of one fetch of all of it."""
        import json  # noqa: PLC0415

        page = decode_page(json.dumps({"items": self.records}).encode(), Call)
        listed = decode_page(json.dumps({"items": list(self.functions.values())}).encode(), Function)
        return frame.from_columns([schemas.to_columns(page.items)], Catalogue(listed.items).labels)


@dataclass
class Life:
    """Lets a story go on at random, in ways the service allows."""

    world: Story
    chance: random.Random
    next_id: int = 1000

    def go_on(self) -> None:
        """Let time pass: calls end, calls begin."""
        before = self.world.now_ms
        self.world.now_ms += self.chance.choice([1, 20 * MINUTE, DAY_MS // 3, DAY_MS, 5 * DAY_MS])
        for one in self.world.functions:
            for call in self.world.calls(one["id"]):
                if call["status"] not in {"Completed", "Failed", "Timeout"} and self.chance.random() < 0.5:
                    self.world.replace_call(self._ended(call))
            for _ in range(self.chance.randrange(4)):
                self.world.add_call(self._begun(one["id"], before))
            if self.chance.random() < 0.3:  # a call that began before the last sync, and was not listed then
                self.world.add_call(self._begun(one["id"], before - LATE_MS, before))

    def forget(self, clean: set[int]) -> None:
        """Delete calls and redeploy functions, of those that have just been read."""
        for one in list(self.world.functions):
            if one["id"] not in clean:
                continue
            for call in self.world.calls(one["id"]):
                if self.chance.random() < 0.2:
                    self.world.remove_call(one["id"], call["id"])
            if self.chance.random() < 0.2:
                self.world.remove_function(one["id"])
                self.next_id += 1
                self.world.add_function({**one, "id": self.next_id, "createdTime": self.world.now_ms})

    def _begun(self, function_id: int, after: int, before: int | None = None) -> dict[str, Any]:
        self.next_id += 1
        start = self.chance.randrange(after, self.world.now_ms if before is None else before)
        begun = call_record(id=self.next_id, functionId=function_id, startTime=start, status="Running")
        del begun["endTime"]
        if self.chance.random() < 0.5:
            begun |= {"scheduledTime": start - 1, "scheduleId": 3}
        if self.chance.random() < 0.1:
            begun["status"] = "Paused"
        return self._ended(begun) if self.chance.random() < 0.6 else begun

    def _ended(self, call: dict[str, Any]) -> dict[str, Any]:
        status = self.chance.choice(["Completed", "Failed", "Timeout"])
        error = {"error": {"message": "no", "trace": "at all"}} if status == "Failed" else {}
        return {**call, "status": status, "endTime": call["startTime"] + self.chance.randrange(600_000), **error}


def _by_function(calls: tuple[dict[str, Any], ...]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for one in calls:
        found.setdefault(one["functionId"], []).append(one)
    return found
