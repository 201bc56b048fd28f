"""A Delta table, as the archive uses it: opened or made, read by files, replaced by whole days, its errors in words."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from callframe import frame
from callframe.archive.schema import DAY
from callframe.errors import CallframeError, FileError, FileFormatError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Sequence

    from callframe.archive.storage_options import StorageOptions

LAYOUT = 1
"""The number of this arrangement of tables; it stands in the description of each."""

_DESCRIPTION = "callframe archive, layout {}: {}"
_DESCRIBED = re.compile(r"callframe archive, layout (\d+): (\w+)")
_ROWS_A_GROUP = 131_072
_OURS = ("_callframe", "_delta_log")
_SHOWN = 300
_HOUR_MS = 3_600_000


class ConflictError(CallframeError):
    """Somebody else changed the same rows first: read again, and try again."""


class Store:
    """
    One Delta table of an archive.

    Parameters
    ----------
    uri
        Absolute path of a folder, or the address of one in an object store.
    name
        What the table holds.
    schema
        Of its rows.
    options
        Of the object store.
    statistics
        Columns to keep statistics of.
    daily
        Whether it is partitioned by day.
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

    def open(self, version: int | None = None) -> Snapshot | None:
        """
        Open the table.

        Parameters
        ----------
        version
            Which of its versions; by default the newest.

        Returns
        -------
        snapshot
            The table as it is now; None where there is none.

        Raises
        ------
        FileError
            It cannot be read, or is damaged; the message names the file.
        FileFormatError
            It is another table, or one of another version of callframe.
        """
        folder = local_folder(self.uri)
        if folder is not None:
            if not (folder / "_delta_log").is_dir():
                _refuse_others(folder)
                if not (folder / "_delta_log").is_dir():  # another process may just have made it
                    return None
            _refuse_emptied(folder, version)
        try:
            with self.told("opened"):
                table = DeltaTable(self.uri, version=version, storage_options=self._options.reveal() or None)
        except TableNotFoundError as error:
            if _is_missing(error):  # a log without a commit is left by who was stopped while making it
                return None
            raise FileError(f"The archive {self.uri} could not be opened: {self._words(error)}.") from None
        self._check(table)
        return Snapshot(self, table)

    def make(self) -> Snapshot:
        """Make the table, or open it where another process has just done so."""
        configuration = {"delta.dataSkippingStatsColumns": ",".join(self._statistics)} if self._statistics else {}
        try:
            with self.told("made"):
                table = DeltaTable.create(
                    self.uri,
                    schema=self.schema,
                    mode="error",
                    partition_by=[DAY] if self._daily else None,
                    description=_DESCRIPTION.format(LAYOUT, self.name),
                    configuration=configuration,
                    storage_options=self._options.reveal() or None,
                )
        except (ConflictError, TableNotFoundError, FileError) as error:
            with contextlib.suppress(FileError):
                if (found := self.open()) is not None:
                    return found
            if isinstance(error, TableNotFoundError):
                raise FileError(f"The archive {self.uri} could not be made: {self._words(error)}.") from None
            raise
        return Snapshot(self, table)

    def open_or_make(self) -> Snapshot:
        """Open the newest version, of a new table if there is none."""
        return self.open() or self.make()

    def read(self, paths: Sequence[str], columns: Sequence[str] | None = None, *, where: Any = None) -> pa.Table:
        """
        Read rows of files, without a look at the log.

        Parameters
        ----------
        paths
            Of which files, in order, as a snapshot names them.
        columns
            Which columns; by default all but the day, which is in no file.
        where
            Expression that rows must meet.

        Returns
        -------
        rows
            In the order of the files; words are dictionaries.

        Raises
        ------
        FileFormatError
            A file is damaged or gone; the message names it.
        """
        kept = [field for field in self.schema if not (self._daily and field.name == DAY)]
        words = [field.name for field in kept if field.type == pa.string()]
        schema = pa.schema([(one.name, _dictionary(one.type)) for one in kept])
        names = schema.names if columns is None else list(columns)
        if not paths:
            return schema.empty_table().select(names)
        form = pads.ParquetFileFormat(read_options=pads.ParquetReadOptions(dictionary_columns=words))
        filesystem = self._filesystem()
        fragments = [form.make_fragment(unquote(path), filesystem=filesystem) for path in paths]
        try:
            return pads.FileSystemDataset(fragments, schema, form, filesystem).to_table(columns=names, filter=where)
        except (OSError, pa.ArrowException) as error:
            self._name_the_damaged(fragments, names, schema)
            raise FileError(f"The archive {self.uri} could not be read: {self._words(error)}.") from None

    def _filesystem(self) -> pafs.FileSystem:
        folder = local_folder(self.uri)
        if folder is not None:
            return pafs.SubTreeFileSystem(str(folder), pafs.LocalFileSystem())
        return pafs.PyFileSystem(DeltaStorageHandler(self.uri, self._options.reveal() or None))

    def _name_the_damaged(self, fragments: Sequence[Any], columns: Sequence[str], schema: pa.Schema) -> None:
        for fragment in fragments:
            try:
                fragment.to_table(schema=schema, columns=columns)
            except (OSError, pa.ArrowException) as error:
                raise FileFormatError(
                    f"The file {fragment.path} of the archive {self.uri} is damaged or gone: {self._words(error)}."
                    " Earlier versions may still open, as Archive(..., version=...): info() lists them, and restore"
                    " makes one of them the newest."
                ) from None

    @contextlib.contextmanager
    def told(self, done: str) -> Iterator[None]:
        """Say in a sentence what went wrong with the table; `TableNotFoundError` goes through."""
        try:
            yield
        except TableNotFoundError:
            raise
        except CommitFailedError as error:
            raise ConflictError(self._words(error)) from None
        except (DeltaError, OSError, pa.ArrowException) as error:
            if isinstance(error, FileError):
                raise
            damaged = _damaged_log(self.uri)
            if damaged is not None:
                raise FileFormatError(damaged) from None
            raise FileError(f"The archive {self.uri} could not be {done}: {self._words(error)}.") from None

    def _words(self, error: BaseException) -> str:
        return self._options.redacted(_plain(error))

    def _check(self, table: DeltaTable) -> None:
        """Make sure that the table is ours, and of a layout this version of callframe knows."""
        described = _DESCRIBED.match(table.metadata().description or "")
        if described is None or described[2] != self.name:
            names = ", ".join(field.name for field in table.schema().fields)
            raise FileFormatError(
                f"{self.uri} is a Delta table, but no archive of callframe: its columns are {names}. Give the folder"
                " of an archive, or a new one."
            )
        if int(described[1]) != LAYOUT:
            newer = int(described[1]) > LAYOUT
            way = "Install a newer callframe to use it." if newer else "Read it with that version, and sync anew."
            raise FileFormatError(
                f"{self.uri} is an archive of layout {described[1]}, which {'a newer' if newer else 'an older'}"
                f" callframe wrote; this one knows layout {LAYOUT}. {way}"
            )
        found = {field.name: field for field in pa.schema(table.schema())}
        for field in self.schema:
            if field.name not in found:
                raise FileFormatError(f"The archive {self.uri} lacks the column {field.name}; somebody took it out.")
            if not _alike(found[field.name].type, field.type):
                raise FileFormatError(
                    f"The column {field.name} of the archive {self.uri} is {found[field.name].type}, expected"
                    f" {field.type}; somebody changed it."
                )


class Snapshot:
    """
    A table as it was at one version; what is written upon it fails if others changed the same rows since.

    Parameters
    ----------
    store
        Whose table.
    table
        The opened table.
    """

    def __init__(self, store: Store, table: DeltaTable) -> None:
        self.store = store
        self.table = table
        self._files: pa.Table | None = None

    @property
    def version(self) -> int:
        """Number of the version."""
        return int(self.table.version())

    @property
    def id(self) -> str:
        """What tells this table from all others, one made anew in its place too."""
        return str(self.table.metadata().id)

    @property
    def files(self) -> pa.Table:
        """The files in the order of their days: `path`, `day`, `rows`, `size_bytes`, `least_final`."""
        if self._files is None:
            with self.store.told("opened"):
                found = pa.table(self.table.get_add_actions(flatten=True))
            count = found.num_rows

            def column(name: str, kind: pa.DataType) -> Any:
                return found[name].cast(kind) if name in found.column_names else pa.nulls(count, kind)

            files = pa.table(
                {
                    "path": column("path", pa.string()),
                    "day": column(f"partition.{DAY}", pa.date32()),
                    "rows": column("num_records", pa.int64()),
                    "size_bytes": column("size_bytes", pa.int64()),
                    "least_final": column("min.finality", pa.int64()),
                }
            )
            self._files = files.sort_by([("day", "ascending"), ("path", "ascending")])
        return self._files

    def read(
        self, paths: Sequence[str] | None = None, columns: Sequence[str] | None = None, *, where: Any = None
    ) -> pa.Table:
        """Read rows of some files, or of all; see `Store.read`."""
        return self.store.read(self.files["path"].to_pylist() if paths is None else paths, columns, where=where)

    def replace(
        self, rows: pa.Table, days: Iterable[dt.date] | None = None, *, mark: tuple[str, int] | None = None
    ) -> int:
        """
        Replace all rows, or all of some days, in one commit.

        Parameters
        ----------
        rows
            What is there then.
        days
            The days to replace; by default all there is.
        mark
            A name and a number to leave with the commit, for `marked`.

        Returns
        -------
        version
            Number of the new version.

        Raises
        ------
        ConflictError
            Somebody else changed the same rows since this snapshot.
        FileError
            It could not be written; the table is as it was.
        """
        predicate = None if days is None else " OR ".join(f"{DAY} = '{day.isoformat()}'" for day in sorted(days))
        commit = CommitProperties(app_transactions=[Transaction(*mark)] if mark else None)
        with self.store.told("written"):
            write_deltalake(
                self.table,
                rows.cast(self.store.schema),
                mode="overwrite",
                predicate=predicate,
                commit_properties=commit,
                writer_properties=WriterProperties(compression="ZSTD", max_row_group_size=_ROWS_A_GROUP),
            )
        self._files = None
        return self.version

    def history(self) -> pd.DataFrame:
        """List the versions in the log, the newest first: `version` int64, `time`, `operation` str."""
        with self.store.told("opened"):
            found = self.table.history()
        return pd.DataFrame(
            {
                "version": pd.Series([one["version"] for one in found], dtype="int64"),
                "time": frame.time_column([one.get("timestamp") for one in found]),
                "operation": frame.text_column([one.get("operation") for one in found]),
            }
        )

    def clean(self, keep_ms: int) -> int:
        """Remove the files that no version since some time ago needs, and what kills left; gives their number."""
        hours = -(-keep_ms // _HOUR_MS)
        with self.store.told("cleaned"):
            self.table.create_checkpoint()
            removed = self.table.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
            self.table.cleanup_metadata()
        return len(removed)

    def restore(self, version: int) -> int:
        """Make an earlier version the newest."""
        with self.store.told("restored"):
            self.table.restore(version)
        self._files = None
        return self.version

    def marked(self, name: str) -> int | None:
        """Tell the number that the newest commit with this name left; None where none did."""
        return self.table.transaction_version(name)


def local_folder(uri: str) -> Path | None:
    """Tell the folder of a local table, None for one in an object store."""
    if "://" not in uri:
        return Path(uri)
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def _refuse_others(folder: Path) -> None:
    """Refuse to make an archive where something else is."""
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise FileFormatError(f"{folder} is a file; expected the folder of an archive, or a new one.")
        names = sorted(one.name for one in folder.iterdir() if one.name not in _OURS)
    except FileError:
        raise
    except OSError as error:
        raise FileError(f"The folder {folder} could not be read: {error.strerror}.") from None
    if names:
        shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")  # noqa: PLR2004
        raise FileFormatError(
            f"{folder} is no archive: it holds {shown}. Give the folder of an archive, or one that is new or empty."
        )


def _refuse_emptied(folder: Path, version: int | None) -> None:
    """Refuse a log with an emptied file: the library takes it for a commit that changed nothing."""
    with os.scandir(folder / "_delta_log") as entries:
        empty = [entry.name for entry in entries if entry.name.endswith(".json") and entry.stat().st_size == 0]
    if any(version is None or int(name.removesuffix(".json")) <= version for name in empty):
        raise FileFormatError(_damaged_log(str(folder)) or f"The log of the archive {folder} is damaged.")


def _damaged_log(uri: str) -> str | None:
    """Say which file of the log of a local table cannot be read, None where all can."""
    folder = local_folder(uri)
    if folder is None:
        return None
    import json  # noqa: PLC0415 - only after a failure

    commits = sorted((folder / "_delta_log").glob("*.json"))
    for path in commits:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            whole = bool(lines) and all(isinstance(json.loads(line), dict) for line in lines if line)
        except PermissionError:
            return None
        except (OSError, ValueError):
            whole = False
        if not whole:
            return (
                f"The log of the archive {uri} is damaged: {path.name} in _delta_log cannot be read. Versions before"
                f" {int(path.stem)} still open: Archive(..., version={max(0, int(path.stem) - 1)}). To go on from"
                " there, move that file and all later ones out of the folder and sync."
            )
    return None


def _is_missing(error: Exception) -> bool:
    return "No files in log segment" in str(error) or "not found" in str(error).lower()


def _alike(found: pa.DataType, expected: pa.DataType) -> bool:
    kinds = (pa.string(), pa.large_string(), pa.string_view())
    return found == expected or (found in kinds and expected in kinds)


def _dictionary(kind: pa.DataType) -> pa.DataType:
    return pa.dictionary(pa.int32(), pa.string()) if kind == pa.string() else kind


def _plain(error: BaseException) -> str:
    """Take what an error of the libraries says, without colours, stack and the queries of addresses."""
    text = re.sub(r"\x1b\[[\d;]*m", "", str(error)).split("\n   0:")[0]
    text = re.sub(r"(https?://[^\s?]+)\?\S+", r"\1", text)
    lines = [line.strip(" ↳\t") for line in text.splitlines()]
    told = "; ".join(line for line in lines if line).rstrip(".;")
    return told if len(told) <= _SHOWN else f"{told[:_SHOWN]} ..."
