"""Delta tables of an archive: opened, created, read by files and replaced by days, with translated errors."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs
from deltalake import ColumnProperties, CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.schema import Field, PrimitiveType

from callframe import frame
from callframe.archive.schema import DAY, on_days
from callframe.errors import ArgumentError, CallframeError, FileError, FileFormatError
from callframe.http.secret import Secret, redact

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LAYOUT = 1
"""Version of the layout of an archive, which is part of the description of each table."""

_DESCRIPTION = "callframe archive, layout {}: {}"
_DESCRIPTION_PATTERN = re.compile(r"callframe archive, layout (\d+): (\w+)")
_CHECK = pa.schema([("row", pa.int64())])
_DATA_FILE_PATTERN = re.compile(r"part-\d{5}-[0-9a-f-]{36}-c\d{3}(\.\w+)?\.parquet")
_ROWS_PER_GROUP = 131_072
_OWN_FOLDERS = ("_callframe", "_delta_log")
_MAX_ERROR_LENGTH = 300
_SPARE_BYTES = 65_536  # for the log
_HOUR_MS = 3_600_000
_COMPRESSION_LEVEL = 9
_COMMITS_PER_CHECKPOINT = 10
_UNSUPPORTED_PATH = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]^|\x00-\x1f\x7f]" + ("" if os.name == "nt" else r"|\\"))
_SECRET_NAMES = ("secret", "key", "token", "password", "sas", "signature", "credential")
_CHECKED_STORE = "callframe.checkedStore"
_STORE_OPTIONS = ("endpoint", "conditional_put", "unsafe_rename")
_MIN_SECRET_LENGTH = 6  # a shorter text occurs in other words too


RETENTION_MS = 48 * _HOUR_MS
"""How long a sync keeps earlier versions by default."""


class ConflictError(CallframeError):
    """Another process changed the same rows first."""


class StorageOptions:
    """Options of an object store, which may contain secrets; unlike a `Secret` they are pickled for Dask workers."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)

    def __repr__(self) -> str:
        return f"<{len(self._options)} storage options>"

    def reveal(self) -> dict[str, str]:
        """Return the options; only for calls whose errors go through `redact`."""
        return dict(self._options)

    def redact(self, text: str) -> str:
        """Replace possible secrets in a text."""
        secrets = [
            Secret(value)
            for name, value in self._options.items()
            if len(value) >= _MIN_SECRET_LENGTH and any(part in name.lower() for part in _SECRET_NAMES)
        ]
        return redact(text, secrets)


class DeltaStore:
    """
    A Delta table of an archive, which need not exist yet; can be pickled.

    `uri` is an absolute path or an address in an object store, `statistics` are the columns with statistics in the log,
    and a `daily` table is partitioned by `start_date`.
    """

    def __init__(
        self,
        uri: str,
        name: str,
        schema: pa.Schema,
        *,
        options: StorageOptions,
        statistics: Sequence[str] = (),
        daily: bool = False,
    ) -> None:
        self.uri = uri
        self.name = name
        self.schema = schema
        self._options = options
        self._statistics = tuple(statistics)
        self._daily = daily

    def open(self, version: int | None = None) -> TableSnapshot | None:
        """Open a version, by default the newest; None if there is no table."""
        folder = local_folder(self.uri)
        if folder is not None:
            if not (folder / "_delta_log").is_dir():
                _check_empty(folder)
                if not (folder / "_delta_log").is_dir():  # another process may just have created it
                    return None
            _check_log(folder, version)
        try:
            with self.translate_errors("opened"):
                table = DeltaTable(self.uri, version=version, storage_options=self.storage_options())
        except TableNotFoundError as error:
            if _is_missing(error):  # or has a log without commits, if its creation was interrupted
                return None
            raise self._file_error("opened", error) from None
        self._check_schema(table)
        return TableSnapshot(self, table)

    def create(self) -> TableSnapshot:
        """Create the table, or open it if another process has just created it."""
        configuration: dict[str, str | None] = {**_log_settings(RETENTION_MS)}
        if self._statistics:
            configuration["delta.dataSkippingStatsColumns"] = ",".join(self._statistics)
        if self._is_checked and self._keeps_commits():
            configuration[_CHECKED_STORE] = self._store_id()
        try:
            with self.translate_errors("created"):
                table = DeltaTable.create(
                    self.uri,
                    schema=self.schema,
                    mode="error",
                    partition_by=[DAY] if self._daily else None,
                    description=_DESCRIPTION.format(LAYOUT, self.name),
                    configuration=configuration,
                    storage_options=self.storage_options(),
                    raise_if_key_not_exists=False,
                )
        except (ConflictError, TableNotFoundError, FileError) as error:
            with contextlib.suppress(FileError):
                if (snapshot := self.open()) is not None:
                    return snapshot
            if isinstance(error, TableNotFoundError):
                raise self._file_error("created", error) from None
            raise
        return TableSnapshot(self, table)

    def open_or_create(self) -> TableSnapshot:
        """Open the newest version to change it, of a new table if there is none."""
        snapshot = self.open() or self.create()
        snapshot.check_writable()
        return snapshot

    def check_store(self, table: DeltaTable) -> None:
        """Check once an archive and store that no commit is overwritten; the table records that it was checked."""
        if not self._is_checked or table.metadata().configuration.get(_CHECKED_STORE) == self._store_id():
            return
        if self._keeps_commits():
            with contextlib.suppress(ConflictError), self.translate_errors("written"):  # or the next sync records it
                table.alter.set_table_properties({_CHECKED_STORE: self._store_id()}, raise_if_not_exists=False)

    @property
    def _is_checked(self) -> bool:
        return self.name == "calls" and local_folder(self.uri) is None

    def _store_id(self) -> str:
        """Identify the store, without secrets, and the options that decide whether it overwrites."""
        options = {name.lower(): value for name, value in (*os.environ.items(), *self._options.reveal().items())}
        parts = [f"{name}={options[name]}" for name in sorted(options) if any(part in name for part in _STORE_OPTIONS)]
        return hashlib.sha256("\n".join((self.uri, *parts)).encode()).hexdigest()[:16]

    def _keeps_commits(self) -> bool:
        """Commit the first version of a new table twice, and refuse a store that takes both; False if undecided."""
        store = DeltaStore(
            f"{self.uri}/_callframe/check-{secrets.token_hex(8)}", "check", _CHECK, options=self._options
        )
        options: dict[str, Any] = {"storage_options": self.storage_options()}
        created: list[DeltaTable] = []

        def rows() -> Iterator[pa.RecordBatch]:
            # The writer has found no table; it creates one after the last row. Its thread cannot commit.
            with ThreadPoolExecutor(1) as executor, contextlib.suppress(DeltaError, OSError):
                created.append(executor.submit(DeltaTable.create, store.uri, schema=_CHECK, **options).result())
            yield pa.record_batch([pa.array([0])], schema=_CHECK)

        with self.translate_errors("checked"):
            try:
                write_deltalake(store.uri, pa.RecordBatchReader.from_batches(_CHECK, rows()), **options)
                versions = DeltaTable(store.uri, **options).version() + 1
            except CommitFailedError:
                versions = 2  # refused
            finally:
                with contextlib.suppress(OSError):
                    store.filesystem().delete_dir("")
        if created and versions == 1:
            raise FileError(
                f"The archive {self.uri} cannot be in this object store: it overwrote an object that it was asked to"
                " create only if absent (If-None-Match), so simultaneous syncs would lose calls. Remove the options"
                " allow_unsafe_rename and conditional_put=disabled if they are set; update the store or a proxy before"
                " it; or use another store or a local folder."
            )
        return bool(created)

    def storage_options(self) -> dict[str, str] | None:
        """Return the options of the object store as deltalake takes them."""
        return self._options.reveal() or None

    def read_all(self) -> pa.Table:
        """Read all rows of the newest version; none if there is no table."""
        snapshot = self.open()
        return self.schema.empty_table() if snapshot is None else snapshot.read().cast(self.schema)

    def read(self, paths: Sequence[str], columns: Sequence[str] | None = None, *, condition: Any = None) -> pa.Table:
        """
        Read rows of files that meet a condition, in the order of the files and without opening the log.

        Short text is dictionary-encoded. By default all columns are read but `start_date`, which is not in the files.
        """
        stored = [field for field in self.schema if not (self._daily and field.name == DAY)]
        text = [field.name for field in stored if field.type == pa.string()]
        encoded = pa.dictionary(pa.int32(), pa.string())
        schema = pa.schema([(field.name, encoded if field.name in text else field.type) for field in stored])
        names = schema.names if columns is None else list(columns)
        if not paths:
            return schema.empty_table().select(names)
        # Not through DeltaTable: workers of Dask read files without opening the log, and decode text to dictionaries.
        file_format = pads.ParquetFileFormat(read_options=pads.ParquetReadOptions(dictionary_columns=text))
        options: dict[str, Any] = {"schema": schema, "format": file_format, "filesystem": self.filesystem()}
        files = [unquote(path) for path in paths]
        try:
            return pads.dataset(files, **options).to_table(columns=names, filter=condition)
        except (OSError, pa.ArrowException) as error:
            for file in files:
                try:
                    pads.dataset([file], **options).to_table(columns=names)
                except (OSError, pa.ArrowException) as file_error:
                    raise FileFormatError(
                        f"The file {file} of the archive {self.uri} is damaged or missing:"
                        f" {self._describe(file_error)}. Earlier versions may still open: info() lists them,"
                        " Archive(..., version=...) opens one, and restore makes it the newest."
                    ) from None
            raise self._file_error("read", error) from None

    def is_own_file(self, path: str) -> bool:
        """Whether a relative path is named as the data files of this table are."""
        folder, _, name = path.rpartition("/")
        is_in_place = folder.startswith(f"{DAY}=") and "/" not in folder if self._daily else not folder
        return is_in_place and _DATA_FILE_PATTERN.fullmatch(name) is not None

    def filesystem(self) -> pafs.FileSystem:
        """Return the file system whose root is the folder of the table."""
        folder = local_folder(self.uri)
        if folder is not None:
            return pafs.SubTreeFileSystem(str(folder), pafs.LocalFileSystem())
        return pafs.PyFileSystem(DeltaStorageHandler(self.uri, self._options.reveal() or None))

    @contextlib.contextmanager
    def translate_errors(self, action: str) -> Iterator[None]:
        """Raise errors of the libraries as ours, without secrets; `TableNotFoundError` is left to the caller."""
        try:
            yield
        except (TableNotFoundError, FileError):
            raise
        except CommitFailedError as error:
            if "features" in str(error):  # unlike after a conflict, another attempt fails too
                raise self._unsupported(self._describe(error).rpartition(": ")[2].strip("[]")) from None
            raise ConflictError(self._describe(error)) from None
        except (DeltaError, OSError, pa.ArrowException) as error:
            damage = _find_damaged_commit(self.uri)
            raise (self._file_error(action, error) if damage is None else FileFormatError(damage)) from None

    def _file_error(self, action: str, error: BaseException) -> FileError:
        return FileError(f"The archive {self.uri} could not be {action}: {self._describe(error)}.")

    def _describe(self, error: BaseException) -> str:
        """Return the message of an error in one line, without colours, stack, queries of URLs and secrets."""
        text = re.sub(r"\x1b\[[\d;]*m", "", str(error)).split("\n   0:")[0]
        text = re.sub(r"(https?://[^\s?]+)\?\S+", r"\1", text)
        lines = [line.strip(" ↳\t") for line in text.splitlines()]
        text = "; ".join(line for line in lines if line).rstrip(".;")
        text = self._options.redact(text)
        return text if len(text) <= _MAX_ERROR_LENGTH else f"{text[:_MAX_ERROR_LENGTH]} ..."

    def _unsupported(self, features: str) -> FileFormatError:
        return FileFormatError(
            f"The archive {self.uri} uses Delta features that callframe does not support: {features}. Another tool"
            " enabled them; turn them off there, or sync to a new folder."
        )

    def _check_schema(self, table: DeltaTable) -> None:
        """Check that the table is one of an archive, of this layout and with its columns."""
        description = _DESCRIPTION_PATTERN.match(table.metadata().description or "")
        if description is None or description[2] != self.name:
            names = ", ".join(field.name for field in table.schema().fields)
            raise FileFormatError(
                f"{self.uri} is a Delta table, but not an archive of callframe: its columns are {names}. Give the"
                " folder of an archive, or a new folder."
            )
        if int(description[1]) != LAYOUT:
            is_newer = int(description[1]) > LAYOUT
            copy = "Write its calls to a Parquet file with that version, and add the file to a new archive: archive.add"
            advice = "Install a newer callframe to use it" if is_newer else copy
            raise FileFormatError(
                f"{self.uri} is an archive of layout {description[1]}, written by"
                f" {'a newer' if is_newer else 'an older'} callframe; this version supports layout {LAYOUT}. {advice}."
            )
        protocol = table.protocol()
        features = set(protocol.reader_features or (["columnMapping"] if protocol.min_reader_version == 2 else []))  # noqa: PLR2004
        if unsupported := ", ".join(sorted(features - {"timestampNtz"})):
            raise self._unsupported(unsupported)
        dtypes = {field.name: field.type for field in pa.schema(table.schema())}
        for field in self.schema:
            if field.name not in dtypes and field.name in frame.RESPONSE_COLUMNS:
                continue  # the next change adds what earlier versions of callframe did not store
            if field.name not in dtypes:
                raise FileFormatError(f"The archive {self.uri} has no column {field.name}: it was removed.")
            if not _is_same_type(dtypes[field.name], field.type):
                raise FileFormatError(
                    f"The column {field.name} of the archive {self.uri} has the type {dtypes[field.name]}, expected"
                    f" {field.type}: it was changed."
                )


class TableSnapshot:
    """A version of a table; a change based on it fails if other processes changed the same rows since."""

    def __init__(self, store: DeltaStore, table: DeltaTable) -> None:
        self.store = store
        self._table = table
        self._files: pa.Table | None = None

    @property
    def version(self) -> int:
        """Number of the version."""
        return int(self._table.version())

    @property
    def id(self) -> str:
        """Id of the table; a table that was created again in the same place has another."""
        return str(self._table.metadata().id)

    def check_writable(self) -> None:
        """Refuse to change a table in which nothing can be replaced, or in a store that overwrites commits."""
        self.store.check_store(self._table)
        if str(self._table.metadata().configuration.get("delta.appendOnly")).lower() == "true":
            raise FileFormatError(
                f"The archive {self.store.uri} can be read, but not changed: another tool set its table property"
                " delta.appendOnly to true, but a sync replaces calls. Set it to false there, or sync"
                " to a new folder."
            )

    @property
    def files(self) -> pa.Table:
        """The files in the order of their days: `path`, `day`, `rows`, `size_bytes`, `min_finality`, `max_finality`."""
        if self._files is None:
            with self.store.translate_errors("opened"):
                actions = pa.table(self._table.get_add_actions(flatten=True))

            def column(name: str, dtype: pa.DataType) -> Any:
                missing = name not in actions.column_names
                return pa.nulls(actions.num_rows, dtype) if missing else actions[name].cast(dtype)

            files = pa.table(
                {
                    "path": column("path", pa.string()),
                    "day": column(f"partition.{DAY}", pa.date32()),
                    "rows": column("num_records", pa.int64()),
                    "size_bytes": column("size_bytes", pa.int64()),
                    "min_finality": column("min.finality", pa.int64()),
                    "max_finality": column("max.finality", pa.int64()),
                }
            )
            self._files = files.sort_by([("day", "ascending"), ("path", "ascending")])
        return self._files

    def paths(self, days: Iterable[dt.date] | None = None) -> list[str]:
        """List the paths of the files of some days, by default of all."""
        files = self.files if days is None else self.files.filter(on_days(self.files["day"], days))
        paths: list[str] = files["path"].to_pylist()
        return paths

    def read(
        self, days: Iterable[dt.date] | None = None, columns: Sequence[str] | None = None, *, condition: Any = None
    ) -> pa.Table:
        """Read the rows of some days, by default of all; see `DeltaStore.read`."""
        return self.store.read(self.paths(days), columns, condition=condition)

    def check_space(self, days: Iterable[dt.date]) -> None:
        """Refuse to rewrite days for which a local disk has no space, before half a file makes it worse."""
        needed = pc.sum(self.files.filter(on_days(self.files["day"], days))["size_bytes"]).as_py() or 0
        folder = local_folder(self.store.uri)
        if folder is not None and (free := shutil.disk_usage(folder).free) < needed + _SPARE_BYTES:
            raise FileError(
                f"The archive {self.store.uri} was not changed: its disk has {free / 1e6:,.1f} MB left, and rewriting a"
                f" day needs {needed / 1e6:,.1f} MB beside the old files. Free some space, for example by vacuum."
            )

    def replace(
        self, rows: pa.Table, days: Iterable[dt.date] | None = None, *, transactions: Mapping[str, int] | None = None
    ) -> int:
        """
        Replace all rows, or those of some days, in one commit, and return the new version.

        `transactions` are numbers by name to record with the commit, for `transaction_version`.
        """
        predicate = None if days is None else " OR ".join(f"{DAY} = '{day.isoformat()}'" for day in sorted(days))
        commit = CommitProperties(app_transactions=list(itertools.starmap(Transaction, (transactions or {}).items())))
        with self.store.translate_errors("written"):
            self._add_missing_columns()
            write_deltalake(
                self._table,
                rows.cast(self.store.schema),
                mode="overwrite",
                schema_mode="merge",  # other tools may have added columns
                predicate=predicate,
                commit_properties=commit,
                writer_properties=_writer_properties(self.store.schema),
            )
        self._files = None
        return self.version

    def _add_missing_columns(self) -> None:
        present = {field.name for field in self._table.schema().fields}
        missing = [name for name in self.store.schema.names if name not in present]
        if missing:
            self._table.alter.add_columns([Field(name, PrimitiveType("string")) for name in missing])

    def transaction_version(self, name: str) -> int | None:
        """Return the number that the latest commit with this name recorded, None if there is none."""
        return self._table.transaction_version(name)

    def restored_since(self, version: int | None) -> int:
        """Return the version whose content this one has: an earlier one if another tool restored it since a version."""
        added = self.version - (self.version if version is None else version)
        with self.store.translate_errors("opened"):
            commits = self._table.history(added) if added > 0 else []
        for commit in commits:  # the newest first
            if commit.get("operation") == "RESTORE":
                return int(commit.get("operationParameters", {}).get("version") or -1)
        return self.version

    def history(self) -> pd.DataFrame:
        """List the versions in the log, the newest first: `version` int64, `time`, `operation` str."""
        with self.store.translate_errors("opened"):
            commits = self._table.history()
        return pd.DataFrame(
            {
                "version": pd.Series([commit["version"] for commit in commits], dtype="int64"),
                "time": frame.time_column([commit.get("timestamp") for commit in commits]),
                "operation": frame.text_column([commit.get("operation") for commit in commits]),
            }
        )

    def vacuum(self, retention_ms: int, *, checkpoint: bool = True) -> int:
        """
        Remove files that only older versions need, or that interrupted processes left, and return their number.

        Without a new checkpoint the log is kept from the last one on.
        """
        hours = -(-retention_ms // _HOUR_MS)
        with self.store.translate_errors("vacuumed"):
            settings = _log_settings(retention_ms)
            if not settings.items() <= self._table.metadata().configuration.items():
                self._table.alter.set_table_properties(settings)
            if checkpoint:
                self._table.create_checkpoint()
            removed = self._table.vacuum(hours, dry_run=False, enforce_retention_duration=False)
            # A full vacuum would remove every unknown file, those of users too: it only lists the candidates.
            unused = self._table.vacuum(hours, enforce_retention_duration=False, full=True)
            orphans = [path for path in map(unquote, unused) if self.store.is_own_file(path)]
            filesystem = self.store.filesystem()
            for path in orphans:
                with contextlib.suppress(FileNotFoundError):  # another process removed it
                    filesystem.delete_file(path)
            self._table.cleanup_metadata()
        return len({*map(unquote, removed), *orphans})

    def unused_paths(self) -> list[str]:
        """List the files in the folder that no version in the log needs."""
        with self.store.translate_errors("read"):
            every = self._table.vacuum(0, enforce_retention_duration=False, full=True)
            return sorted(
                set(map(unquote, every)).difference(
                    map(unquote, self._table.vacuum(0, enforce_retention_duration=False))
                )
            )

    def purge(self) -> int:
        """
        Remove all earlier versions with their log, and return the number of files.

        Other files that callframe wrote are removed only after an hour, for a sync may be about to commit them.
        """
        files = self.vacuum(_HOUR_MS)
        with self.store.translate_errors("purged"):
            files += len(self._table.vacuum(0, dry_run=False, enforce_retention_duration=False))
            table = DeltaTable(self.store.uri, storage_options=self.store.storage_options())
            table.create_checkpoint()
            filesystem = self.store.filesystem()
            for file in filesystem.get_file_info(pafs.FileSelector("_delta_log")):
                if (number := file.base_name.partition(".")[0]).isdigit() and int(number) < table.version():
                    filesystem.delete_file(file.path)
        return files

    def restore(self, version: int) -> int:
        """Make an earlier version the newest, and return its new number."""
        with self.store.translate_errors("restored"):
            self._table.restore(version)
        self._files = None
        return self.version


def _log_settings(retention_ms: int) -> dict[str, str]:
    """Set how often a checkpoint spares readers the commits before it, and how long commits are kept."""
    interval = f"interval {-(-retention_ms // _HOUR_MS)} hours"
    return {
        "delta.checkpointInterval": str(_COMMITS_PER_CHECKPOINT),
        "delta.logRetentionDuration": interval,
        "delta.deletedFileRetentionDuration": interval,
    }


def _writer_properties(schema: pa.Schema) -> WriterProperties:
    """Encode sorted numbers and times by their differences, which are small."""
    numbers = [field.name for field in schema if pa.types.is_int64(field.type) or pa.types.is_timestamp(field.type)]
    differences = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
    return WriterProperties(
        compression="ZSTD",
        compression_level=_COMPRESSION_LEVEL,
        max_row_group_size=_ROWS_PER_GROUP,
        column_properties=dict.fromkeys(numbers, differences),
    )


def check_path(uri: str) -> None:
    """Refuse a local path that deltalake would alter, and then write to one folder and read from another."""
    folder = local_folder(uri)
    found = None if folder is None else _UNSUPPORTED_PATH.search(os.path.realpath(folder))
    if found:
        raise ArgumentError(
            f"An archive cannot be in {uri!r}: its path contains {found[0]!r}, which deltalake reads as something else."
            " Choose a path without backslashes, control characters, [, ], ^, |, and % before two digits."
        )


def local_folder(uri: str) -> Path | None:
    """Return the folder of a local table, None for one in an object store."""
    if "://" not in uri:
        return Path(uri)
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _check_empty(folder: Path) -> None:
    """Refuse a folder that contains anything but tables of an archive."""
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise FileFormatError(f"{folder} is a file; expected the folder of an archive, or a new folder.")
        names = sorted(path.name for path in folder.iterdir() if path.name not in _OWN_FOLDERS)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"The folder {folder} could not be read: {error.strerror}.") from None
    if names:
        examples = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")  # noqa: PLR2004
        raise FileFormatError(
            f"{folder} is not an archive: it contains {examples}. Give the folder of an archive, or a new or empty one."
        )


def _check_log(folder: Path, version: int | None) -> None:
    """Refuse a log with an empty file, which the library reads as a commit that changed nothing."""
    with os.scandir(folder / "_delta_log") as entries:
        empty = [entry.name for entry in entries if entry.name.endswith(".json") and entry.stat().st_size == 0]
    if any(version is None or int(name.removesuffix(".json")) <= version for name in empty):
        raise FileFormatError(_find_damaged_commit(str(folder)) or f"The log of the archive {folder} is damaged.")


def _find_damaged_commit(uri: str) -> str | None:
    """Return a message about the first file of a local log that cannot be read, None if all can."""
    folder = local_folder(uri)
    for path in [] if folder is None else sorted((folder / "_delta_log").glob("*.json")):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            is_valid = bool(lines) and all(isinstance(json.loads(line), dict) for line in lines if line)
        except PermissionError:
            return None
        except (OSError, ValueError):
            is_valid = False
        if not is_valid:
            return (
                f"The log of the archive {uri} is damaged: {path.name} in _delta_log cannot be read. Versions before"
                f" {int(path.stem)} still open: Archive(..., version={max(0, int(path.stem) - 1)}). To continue from"
                " there, move that file and all later ones out of the folder and sync."
            )
    return None


def _is_missing(error: Exception) -> bool:
    return "No files in log segment" in str(error) or "not found" in str(error).lower()


def _is_same_type(dtype: pa.DataType, expected: pa.DataType) -> bool:
    text = (pa.string(), pa.large_string(), pa.string_view())
    return dtype == expected or (dtype in text and expected in text)
