"""Reading and writing call frames as CSV and Parquet files."""

from __future__ import annotations

import bisect
import csv
import errno
import io
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from callframe import frame
from callframe.completeness import Coverage
from callframe.errors import ArgumentError, FileError, FileFormatError, warn
from callframe.frame import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

PathLike: TypeAlias = "str | os.PathLike[str]"
FileLike: TypeAlias = "PathLike | IO[bytes] | IO[str]"

_IDS = ("call_id", "function_id", "schedule_id")
_TIMES = ("scheduled_time", "start_time", "end_time")
_DURATIONS = ("schedule_delay", "duration")
_TEXTS = ("function", "status", "error_message", "error_trace", *frame.RESPONSE_COLUMNS)
_KNOWN = (*frame.COLUMNS, *frame.RESPONSE_COLUMNS)
_REQUIRED = ("call_id", "function_id", "function", "status", "start_time")

# Text that spreadsheets run as a formula (OWASP, "CSV Injection") is escaped by an apostrophe. Text that looks escaped
# gets one more, so that removing one always restores the original.
_FORMULA_START = r"'*[=+\-@\t\r\n＝＋－＠]"  # noqa: RUF001 - full-width forms count too
FORMULA = f"^({_FORMULA_START})"
_ESCAPED_FORMULA = f"^'({_FORMULA_START})"

_ID = (r"0*[1-9]\d{0,15}", "a whole number from 1 to 2**53 - 1 (spreadsheets round ids: write with ids='text')")
_TIME = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,3})?(?:Z|[+-]\d\d:?\d\d)",
    "a time such as 2026-10-29T12:19:06.000Z",
)
_SECONDS = (r"-?\d{1,12}(?:\.\d+)?(?:e\+\d\d)?", "seconds, such as 12.345")  # Arrow writes centuries as 1e+10

_BATCH_ROWS = 65_536
_MIN_BLOCK_BYTES, _MAX_BLOCK_BYTES = 2**20, 2**31 - 1
_MS_PER_S = 1000
_MAX_SHOWN_LENGTH = 60
_METADATA_KEY = b"callframe"
_CODECS = {".gz": "gzip", ".zst": "zstd"}
_SIGNATURES = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_ROUNDED_FROM = 10**15
"""The least id that 15 significant digits, which is what spreadsheets keep, cannot hold."""


def write_csv(
    calls: pd.DataFrame,
    path: FileLike,
    *,
    traces: bool = False,
    ids: Literal["number", "text"] = "number",
    escape_formulas: bool = True,
) -> None:
    """
    Write a call frame to a CSV file.

    Times are ISO 8601 in UTC to the millisecond, durations are seconds. Missing values are empty cells, empty text is
    `""`. The file replaces an older one only when it is complete.

    Parameters
    ----------
    calls
        Call frame.
    path
        Path, which compresses the file if it ends in `.gz` or `.zst`; or a file open for writing, such as `sys.stdout`.
    traces
        Whether to write `error_trace`, and `response` if there is one, which are long and may contain confidential
        data.
    ids
        `"text"` writes ids as `="4503599627370496"`, so that spreadsheets do not round them, and starts the file with a
        byte order mark, so that Excel reads UTF-8. `read_csv` reads both forms.
    escape_formulas
        Whether to put an apostrophe before text that a spreadsheet would run as a formula. `read_csv` removes it. Use
        False for files that are only read by programs.

    Raises
    ------
    FrameError
        Not a call frame.
    FileError
        The file could not be written; an older file is unchanged.
    """
    if ids not in {"number", "text"}:
        raise ArgumentError(f"ids={ids!r}; expected 'number' or 'text'.")
    table = to_table(calls, traces=traces)
    write_csv_parts([table], path, ids=ids, escape_formulas=escape_formulas)


def write_csv_parts(
    tables: Iterable[pa.Table], path: FileLike, *, ids: str = "number", escape_formulas: bool = True
) -> None:
    """Write tables with the same columns to a CSV file, one at a time."""
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")

    def write(file: Any) -> None:
        for number, table in enumerate(tables):
            if number == 0:  # quoted column names tell read_csv that formulas are not escaped
                header = ",".join(
                    table.column_names if escape_formulas else (f'"{name}"' for name in table.column_names)
                )
                file.write((("\ufeff" if ids == "text" else "") + header + "\n").encode())
            for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
                cells = _to_cells(pa.table(batch), escape_formulas=escape_formulas, ids=ids)
                pyarrow.csv.write_csv(cells, file, options)

    def compress(file: IO[bytes]) -> None:
        with os.fdopen(os.dup(file.fileno()), "wb") as copy, pa.CompressedOutputStream(copy, codec) as stream:
            write(stream)

    codec = _CODECS.get(Path(path).suffix.lower()) if isinstance(path, str | os.PathLike) else None
    write_atomically(path, compress if codec else write)


def write_json_lines(calls: pd.DataFrame, path: FileLike, *, traces: bool) -> None:
    """Write a call frame as JSON lines, with the values that CSV has, and everything beyond ASCII escaped."""
    table = to_table(calls, traces=traces)

    def write(file: IO[bytes]) -> None:
        for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
            rows = _to_cells(pa.table(batch), escape_formulas=False, ids="number").to_pylist()
            file.write("".join(json.dumps(row) + "\n" for row in rows).encode())

    write_atomically(path, write)


def read_csv(path: FileLike, *, unescape_formulas: bool | None = None) -> pd.DataFrame:
    """
    Read a call frame from a CSV file that `write_csv` wrote, or one with the same columns.

    Parameters
    ----------
    path
        Path of the file, or a file open for reading; in UTF-8, and as it is or compressed with gzip or zstd.
    unescape_formulas
        Whether to remove the apostrophe before text that a spreadsheet would run as a formula; by default if the header
        of the file shows that `write_csv` escaped it.

    Returns
    -------
    calls
        Call frame, equal to the one that was written, but without coverage and without traces that were not written.

    Raises
    ------
    FileError
        The file could not be read.
    FileFormatError
        A column is missing or a cell has an invalid value; the message names row and column.

    Warns
    -----
    UserWarning
        Columns are ignored, or ids look as if a spreadsheet had rounded them.
    """
    data, path = _decompress(_read_bytes(path), path), _name(path)
    names, is_quoted = _parse_header(data, path)
    cells = _parse_cells(data, names, path)
    if unescape_formulas is None:
        unescape_formulas = not is_quoted
    schema = frame.arrow_schema(names)
    columns = [_to_column(cells, field, path, unescape_formulas=unescape_formulas) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    _warn_if_rounded(table, path)
    return frame.from_arrow(table)


def write_parquet(calls: pd.DataFrame, path: PathLike | IO[bytes]) -> None:
    """
    Write a call frame to a Parquet file, with traces and coverage.

    The file replaces an older one only when it is complete.

    Parameters
    ----------
    calls
        Call frame.
    path
        Path of the file, or a binary file open for writing.

    Raises
    ------
    FrameError
        Not a call frame.
    FileError
        The file could not be written; an older file is unchanged.
    """
    table = frame.to_arrow(calls)
    if coverage := Coverage.of(calls):
        table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(coverage.to_json())})
    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))


def write_parquet_parts(
    tables: Iterable[pa.Table], schema: pa.Schema, path: PathLike, coverage: Callable[[], Coverage]
) -> None:
    """Write tables of a schema to a Parquet file, one at a time, and then the coverage that a function returns."""

    def write(file: IO[bytes]) -> None:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)
            writer.add_key_value_metadata({_METADATA_KEY: json.dumps(coverage().to_json())})

    write_atomically(path, write)


def read_parquet(path: PathLike | IO[bytes]) -> pd.DataFrame:
    """
    Read a call frame from a Parquet file.

    Parameters
    ----------
    path
        Path of the file, or a binary file open for reading.

    Returns
    -------
    calls
        Call frame, equal to the one that was written, with its coverage, which is compared with the rows.

    Raises
    ------
    FileError
        The file could not be read.
    FileFormatError
        Not a Parquet file, or a column is missing or has another type.

    Warns
    -----
    UserWarning
        Another program removed or added rows.
    """
    source, path = pa.BufferReader(_read_bytes(path)), _name(path)
    try:
        table, metadata = pq.read_table(source), pq.read_metadata(source).metadata or {}
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FileFormatError(f"{path} cannot be read as a Parquet file: {reason}") from None
    schema = frame.arrow_schema(table.column_names)
    columns = [_cast(table, field, path) for field in schema]
    calls = frame.from_arrow(pa.Table.from_arrays(columns, schema=schema))
    if _METADATA_KEY in metadata:
        stored = _parse_coverage(metadata[_METADATA_KEY], path)
        stored.attach(calls)
        found = Coverage.of(calls)
        if found and stored.described and found.other_rows != stored.other_rows:
            warn(
                f"{path}: another program changed the rows ({found.text}); the coverage describes others.", UserWarning
            )
    return calls


READERS = {".csv": read_csv, ".csv.gz": read_csv, ".csv.zst": read_csv, ".parquet": read_parquet}
"""How files are read whose names end so."""


def suffix_of(path: PathLike) -> str:
    """Find which suffix of `READERS` the name of a file has; empty if none."""
    return next((suffix for suffix in READERS if str(path).lower().endswith(suffix)), "")


def write_atomically(path: FileLike, write: Callable[[IO[bytes]], object]) -> None:
    """Write to a temporary file next to the path and rename it, so that the path never holds half a file."""
    try:
        if not isinstance(path, str | os.PathLike):
            _write_to_file(path, write)
        elif (target := Path(os.path.realpath(path))).exists() and not target.is_file():  # a pipe or a device
            with target.open("wb") as file:
                write(file)
        else:
            _write_and_rename(target, write)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
    else:
        return
    if isinstance(path, str | os.PathLike):
        raise FileError(f"{path} could not be written: {reason}. An older file is unchanged.")
    raise FileError(f"{_name(path)} could not be written: {reason}.")


def _write_to_file(file: Any, write: Callable[[IO[bytes]], object]) -> None:
    """Write to a file that a user opened: into the buffer of a text file, else as text."""
    if not hasattr(file, "write"):
        raise ArgumentError(f"Expected a path or a file open for writing, found {type(file).__name__}.")
    if hasattr(file, "encoding") and not hasattr(file, "buffer"):
        buffer = io.BytesIO()
        write(buffer)
        file.write(buffer.getvalue().decode())
    else:
        file.flush()
        write(getattr(file, "buffer", file))
    file.flush()


def _write_and_rename(target: Path, write: Callable[[IO[bytes]], object]) -> None:
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    part = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def to_table(calls: pd.DataFrame, *, traces: bool) -> pa.Table:
    """Convert a call frame to the table that a file holds, with or without long texts."""
    table = frame.to_arrow(calls)
    long = [] if traces else [name for name in ("error_trace", "response") if name in table.column_names]
    return table.drop_columns(long)


def _to_cells(batch: pa.Table, *, escape_formulas: bool, ids: str) -> pa.Table:
    """Convert typed columns to the content of cells."""
    cells = {}
    for name in batch.column_names:
        column = batch[name]
        if name in _TIMES:  # Arrow writes a space instead of the T
            text = column.cast(pa.timestamp("ms")).cast(pa.string())
            column = pc.binary_join_element_wise(pc.binary_replace_slice(text, 10, 11, "T"), "Z", "")
        elif name in _DURATIONS:
            column = pc.divide(column.cast(pa.int64()).cast(pa.float64()), float(_MS_PER_S))
        elif name in _TEXTS:
            column = column.cast(pa.large_string())
            column = pc.replace_substring_regex(column, FORMULA, r"'\1") if escape_formulas else column
        elif ids == "text":
            column = pc.binary_join_element_wise('="', column.cast(pa.string()), '"', "")
        cells[name] = column
    return pa.table(cells)


def _name(file: FileLike) -> str:
    """Name a file in messages."""
    return str(file if isinstance(file, str | os.PathLike) else getattr(file, "name", "The file")).strip("<>")


def _read_bytes(file: FileLike) -> bytes:
    try:
        if isinstance(file, str | os.PathLike):
            return Path(file).read_bytes()
        if not hasattr(file, "read"):
            raise ArgumentError(f"Expected a path or a file open for reading, found {type(file).__name__}.")
        content = file.read()
        return content.encode() if isinstance(content, str) else bytes(content)
    except OSError as error:
        reason = error.strerror or str(error)
    raise FileError(f"{_name(file)} could not be read: {reason}.")


def _decompress(data: bytes, file: FileLike) -> bytes:
    codec = next((codec for start, codec in _SIGNATURES.items() if data.startswith(start)), None)
    if codec is None:
        return data
    try:
        return bytes(pa.CompressedInputStream(pa.BufferReader(data), codec).read())
    except OSError as error:
        reason = str(error)
    raise FileFormatError(f"{_name(file)} cannot be decompressed with {codec}, it may be truncated: {reason}.")


def _warn_if_rounded(table: pa.Table, path: PathLike) -> None:
    """Warn of ids that end in 0 more often than one in ten, by six standard deviations."""
    ids = pa.concat_arrays([pc.unique(table[name]).drop_null() for name in _IDS]).to_numpy()
    long = np.unique(ids[ids >= _ROUNDED_FROM])
    zeros = np.count_nonzero(long % 10 == 0)
    if len(long) >= 5 and zeros >= 0.1 * len(long) + 1.8 * len(long) ** 0.5:  # noqa: PLR2004
        warn(
            f"{path}: {zeros:,} of {len(long):,} long ids end in 0, as if a spreadsheet had rounded them to 15 digits;"
            " the service does not know such ids. Export again with ids='text', which spreadsheets keep.",
            UserWarning,
        )


def _parse_header(data: bytes, path: PathLike) -> tuple[list[str], bool]:
    """Read the column names, and whether they are quoted."""
    line = data.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("utf-8", errors="replace")
    try:
        names = next(csv.reader(io.StringIO(line)), [])
    except csv.Error as error:
        raise FileFormatError(f"{path}: the first line is not CSV: {str(error).split(' - ')[0]}.") from None
    if not line.strip():
        raise FileFormatError(f"{path} is empty; expected the columns {', '.join(frame.COLUMNS)}.")
    for name in frame.COLUMNS:
        if name not in names and name != "error_trace":
            raise _missing_column(path, name, names)
    for name in _KNOWN:
        if names.count(name) > 1:
            raise FileFormatError(f"{path} has the column {name} twice; remove one of them.")
    if ignored := [name for name in names if name not in _KNOWN]:
        warn(f"{path}: ignoring the columns {', '.join(ignored)}.", UserWarning)
    return names, line.startswith('"')


def _missing_column(path: PathLike, name: str, names: list[str]) -> FileFormatError:
    has_semicolons = len(names) == 1 and ";" in names[0]
    hint = " The columns seem to be separated by semicolons; save the file with commas." if has_semicolons else ""
    shown = ", ".join(names)[:300] or "none"
    return FileFormatError(f"{path}: missing column {name}. Found the columns {shown}.{hint}")


def _parse_cells(data: bytes, names: list[str], path: PathLike) -> pa.Table:
    """Read all cells as text; empty cells are missing values, unless they are quoted."""
    known = [name for name in names if name in _KNOWN]
    if b"\n" not in data.rstrip(b"\r\n"):
        return pa.schema([(name, pa.large_string()) for name in known]).empty_table()
    if data.count(b'"') % 2:
        raise FileFormatError(f"{path} ends inside a quoted cell: it is truncated, or a quotation mark is missing.")
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(data),
            # A block must contain a whole row, and a trace can be of any length.
            read_options=pyarrow.csv.ReadOptions(
                column_names=names, skip_rows=1, block_size=min(max(len(data), _MIN_BLOCK_BYTES), _MAX_BLOCK_BYTES)
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()),
                include_columns=known,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0][:300]
    raise FileFormatError(f"{path} cannot be read as CSV: {reason}")


def _to_column(cells: pa.Table, field: pa.Field, path: PathLike, *, unescape_formulas: bool) -> pa.Array:
    """Convert cells to a typed column, or name the first invalid cell."""
    if field.name not in cells.column_names:
        return pa.nulls(cells.num_rows, field.type)
    column = cells[field.name].combine_chunks()
    if field.name in _REQUIRED and column.null_count:
        row = pc.index(column.is_null(), value=True).as_py()
        raise _invalid_cell(path, field.name, column, row, "a value")
    if field.name in _IDS:
        column = pc.replace_substring_regex(column, '^="(.*)"$', r"\1")
        return _parse_column(column, field.name, path, _ID, _to_ids)
    if field.name in _TIMES:
        return _parse_column(column, field.name, path, _TIME, lambda text: text.cast(field.type))
    if field.name in _DURATIONS:
        return _parse_column(column, field.name, path, _SECONDS, _to_durations)
    if unescape_formulas:
        column = pc.replace_substring_regex(column, _ESCAPED_FORMULA, r"\1")
    return _to_dictionary(column) if pa.types.is_dictionary(field.type) else column


def _parse_column(
    cells: pa.Array, name: str, path: PathLike, syntax: tuple[str, str], convert: Callable[[pa.Array], pa.Array]
) -> pa.Array:
    """Convert cells that match a pattern; if that fails, find the first invalid cell."""
    pattern, expected = syntax
    matches = pc.fill_null(pc.match_substring_regex(cells, f"^(?:{pattern})$"), fill_value=True)
    if pc.any(pc.invert(matches)).as_py():
        raise _invalid_cell(path, name, cells, pc.index(matches, value=False).as_py(), expected)

    def fails(row: int) -> bool:
        try:
            convert(cells[: row + 1])
        except pa.ArrowException:
            return True
        return False

    try:
        return convert(cells)
    except pa.ArrowException:
        row = bisect.bisect_left(range(len(cells)), x=True, key=fails)
    raise _invalid_cell(path, name, cells, row, expected)


def _to_ids(cells: pa.Array) -> pa.Array:
    ids = cells.cast(pa.int64())
    if len(ids) > ids.null_count and pc.max(ids).as_py() > MAX_ID:
        raise pa.ArrowInvalid("id out of range")
    return ids


def _to_durations(cells: pa.Array) -> pa.Array:
    milliseconds = pc.round(pc.multiply(cells.cast(pa.float64()), float(_MS_PER_S)))
    return milliseconds.cast(pa.int64()).cast(pa.duration("ms"))


def _to_dictionary(cells: pa.Array) -> pa.DictionaryArray:
    categories = pc.unique(cells).sort()
    return pa.DictionaryArray.from_arrays(pc.index_in(cells, value_set=categories), categories.cast(pa.string()))


def _invalid_cell(path: PathLike, name: str, cells: pa.Array, row: int, expected: str) -> FileFormatError:
    value = cells[row].as_py()
    if value is not None and len(value) > _MAX_SHOWN_LENGTH:
        value = value[:_MAX_SHOWN_LENGTH] + "..."
    shown = "nothing" if value is None else repr(value)
    return FileFormatError(
        f"{path}: row {row + 1} below the header, column {name}: expected {expected}, found {shown}."
    )


def _cast(table: pa.Table, field: pa.Field, path: PathLike) -> pa.ChunkedArray:
    """Return a column of a Parquet file in the type of a call frame."""
    if field.name not in table.column_names:
        raise _missing_column(path, field.name, table.column_names)
    column = table[field.name]
    try:
        column = column if column.type == field.type else column.cast(field.type)
    except pa.ArrowException:
        raise FileFormatError(
            f"{path}: column {field.name} is {column.type}, expected {field.type} as write_parquet writes it."
        ) from None
    if field.name in _REQUIRED and column.null_count:
        row = pc.index(column.is_null().combine_chunks(), value=True).as_py()
        raise FileFormatError(f"{path}: row {row + 1}, column {field.name}: expected a value, found nothing.")
    return column


def _parse_coverage(text: bytes, path: PathLike) -> Coverage:
    try:
        coverage = Coverage.from_json(json.loads(text))
    except ValueError:
        coverage = None
    if coverage is None:
        raise FileFormatError(f"{path}: the coverage in the metadata {_METADATA_KEY.decode()} is not valid.")
    return coverage
