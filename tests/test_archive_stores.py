"""Archives in object stores: what a store must do is checked, and faults neither lose nor double calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from object_stores import ObjectStore, serve_object_store

import callframe as cf
from callframe.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("moto")
pytestmark = pytest.mark.slow


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with serve_object_store() as served:
        yield served


def test_store_that_ignores_if_none_match_is_refused_before_anything_is_stored(store: ObjectStore) -> None:
    store.set_faults(ignore_conditions=True)
    archive = cf.Archive("s3://bucket/calls.delta", storage_options=store.options)
    with cf.demo(calls=2_000, days=1) as project, pytest.raises(FileError, match=r"If-None-Match.*lose calls"):
        archive.sync(project)
    with pytest.raises(TableNotFoundError):
        DeltaTable("s3://bucket/calls.delta", storage_options=store.options)


def test_store_is_checked_once(store: ObjectStore) -> None:
    with cf.demo(calls=2_000, days=1) as project:
        assert cf.Archive("s3://bucket/calls.delta", storage_options=store.options).sync(project).complete
        store.set_faults(ignore_conditions=True)  # a second check would refuse it
        assert cf.Archive("s3://bucket/calls.delta", storage_options=store.options).sync(project).complete


def test_archive_made_before_the_check_is_checked_by_the_next_sync(store: ObjectStore) -> None:
    uri = "s3://bucket/calls.delta"
    with cf.demo(calls=2_000, days=1) as project:
        cf.Archive(uri, storage_options=store.options).sync(project)
        other = {"callframe.checkedStore": "another store"}
        DeltaTable(uri, storage_options=store.options).alter.set_table_properties(other, raise_if_not_exists=False)
        store.set_faults(ignore_conditions=True)
        with pytest.raises(FileError, match="If-None-Match"):
            cf.Archive(uri, storage_options=store.options).sync(project)
        store.set_faults()
        assert cf.Archive(uri, storage_options=store.options).sync(project).complete
    properties = DeltaTable(uri, storage_options=store.options).metadata().configuration
    assert properties["callframe.checkedStore"] != "another store"
