"""CSV and Parquet, out and in."""

from __future__ import annotations

import bisect
import csv
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable  # noqa: TC003 - a table below is annotated with it
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

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
    import pandas as pd

PathLike: TypeAlias = "str | os.PathLike[str]"

_IDS = ("call_id", "function_id", "schedule_id")
_TIMES = ("scheduled_time", "start_time", "end_time")
_SPANS = ("schedule_delay", "duration")
_TEXTS = ("function", "status", "error_message", "error_trace")
_NEVER_MISSING = ("call_id", "function_id", "function", "status", "start_time")

# A spreadsheet takes a cell that begins so for a formula (OWASP, "CSV Injection"). The guard is an apostrophe before
# it; cells that look guarded already get one more, so that taking one away always gives back what was there.
_RISKY = r"'*[=+\-@\t\r\n＝＋－＠]"  # noqa: RUF001 - the wide forms count too
_FORMULA = f"^({_RISKY})"
_GUARDED = f"^'({_RISKY})"

_ID = (r"0*[1-9]\d{0,15}", "a whole number from 1 to 2**53 - 1 (spreadsheets round it: write with ids='text')")
_TIME = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,3})?(?:Z|[+-]\d\d:?\d\d)",
    "a time such as 2026-10-29T12:19:06.000Z",
)
_SECONDS = (r"-?\d{1,12}(?:\.\d+)?(?:e\+\d\d)?", "seconds, such as 12.345")  # Arrow writes centuries as 1e+10
_CATEGORIES: dict[str, Callable[[list[str]], list[str]]] = {"function": sorted, "status": frame.status_categories}

_ROWS_A_BATCH = 65_536
_BLOCK, _BLOCK_MAX = 2**20, 2**31 - 1
_MS = 1000
_SHOWN = 60
_META = b"callframe"


def write_csv(
    calls: pd.DataFrame,
    path: PathLike | IO[bytes],
    *,
    traces: bool = False,
    ids: Literal["number", "text"] = "number",
    guard: bool = True,
) -> None:
    """
    Write a call frame to a CSV file.

    Times are ISO 8601 in UTC to the millisecond, spans are seconds. What is missing is an empty cell, empty text is
    `""`. The file is written beside its place and then moved there, so a crash leaves an older one whole.

    Parameters
    ----------
    calls
        Call frame.
    path
        Where to; or a file that is open for bytes, such as `sys.stdout.buffer`.
    traces
        Whether to write `error_trace` too: it is long, and may hold what should not leave the project.
    ids
        `"text"` keeps spreadsheets from rounding ids: they are written as `="4503599627370496"`, after a byte order
        mark, which makes Excel read UTF-8. `read_csv` undoes it.
    guard
        Whether to put an apostrophe before text that a spreadsheet would run as a formula. `read_csv` undoes it. Turn
        it off for files that only machines read.

    Raises
    ------
    FrameError
        It is no call frame.
    FileError
        The file could not be written; an older one is still there.
    """
    if ids not in {"number", "text"}:
        raise ArgumentError(f"ids={ids!r}; expected 'number' or 'text'.")
    table = frame.to_arrow(calls)
    if not traces:
        table = table.drop_columns("error_trace")
    # The quotes round the names in the header tell read_csv that the text below is not guarded.
    header = ",".join(table.column_names if guard else (f'"{name}"' for name in table.column_names))
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="needed")

    def write(file: IO[bytes]) -> None:
        file.write((("\ufeff" if ids == "text" else "") + header + "\n").encode())
        for batch in table.to_batches(max_chunksize=_ROWS_A_BATCH):
            pyarrow.csv.write_csv(_as_cells(pa.table(batch), guard=guard, ids=ids), file, options)

    replace(path, write)


def read_csv(path: PathLike, *, guard: bool | None = None) -> pd.DataFrame:
    """
    Read a call frame from a CSV file that `write_csv` wrote, or one with the same columns.

    Parameters
    ----------
    path
        The file, UTF-8.
    guard
        Whether its text is guarded against formulas; by default the file tells.

    Returns
    -------
    calls
        Call frame, equal to the one that was written, but for the coverage, which CSV cannot hold, and the traces, if
        they were left out.

    Raises
    ------
    FileError
        The file could not be read.
    FileFormatError
        A column is lacking or a cell holds a wrong value; the message names row and column.
    """
    data = _read(path)
    names, quoted = _header(data, path)
    table = _cells(data, names, path)
    unguard = not quoted if guard is None else guard
    columns = {field.name: _column(table, field, path, unguard=unguard) for field in frame.ARROW}
    return frame.from_arrow(pa.table(columns, schema=frame.ARROW))


def write_parquet(calls: pd.DataFrame, path: PathLike) -> None:
    """
    Write a call frame to a Parquet file, traces and coverage included.

    The file is written beside its place and then moved there, so a crash leaves an older one whole.

    Parameters
    ----------
    calls
        Call frame.
    path
        Where to.

    Raises
    ------
    FrameError
        It is no call frame.
    FileError
        The file could not be written; an older one is still there.
    """
    table = frame.to_arrow(calls)
    if known := Coverage.of(calls):
        table = table.replace_schema_metadata({_META: json.dumps(known.to_json())})
    replace(path, lambda file: pq.write_table(table, file, compression="zstd"))


def read_parquet(path: PathLike) -> pd.DataFrame:
    """
    Read a call frame from a Parquet file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    calls
        Call frame, equal to the one that was written, coverage included.

    Raises
    ------
    FileError
        The file could not be read.
    FileFormatError
        It is not Parquet, or a column is lacking or of another type.
    """
    source = pa.BufferReader(_read(path))
    try:
        table = pq.read_table(source)
    except (pa.ArrowException, OSError) as error:
        trouble = str(error).splitlines()[0]
        raise FileFormatError(f"{path} is not a Parquet file that can be read: {trouble}") from None
    columns = []
    for field in frame.ARROW:
        if field.name not in table.column_names:
            raise _lacks(path, field.name, table.column_names)
        column = table[field.name]
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowException:
            raise FileFormatError(
                f"{path}: column {field.name} is {column.type}, expected {field.type} as write_parquet writes it."
            ) from None
    full = pa.Table.from_arrays(columns, schema=frame.ARROW)
    _check_missing(full, path)
    calls = frame.from_arrow(full)
    if _META in (table.schema.metadata or {}):
        _coverage(table.schema.metadata[_META], path).attach(calls)
    return calls


def _coverage(text: bytes, path: PathLike) -> Coverage:
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    known = Coverage.from_json(content)
    if known is None:
        raise FileFormatError(f"{path}: its coverage, the metadata {_META.decode()}, is not what write_parquet writes.")
    return known


def _as_cells(batch: pa.Table, *, guard: bool, ids: str) -> pa.Table:
    """Turn typed columns into what stands in the cells."""
    cells = {}
    for name in batch.column_names:
        column = batch[name]
        if name in _TIMES:
            column = _iso(column)
        elif name in _SPANS:
            column = pc.divide(column.cast(pa.int64()).cast(pa.float64()), float(_MS))
        elif name in _TEXTS:
            column = column.cast(pa.large_string())
            column = pc.replace_substring_regex(column, _FORMULA, r"'\1") if guard else column
        elif ids == "text":
            column = pc.binary_join_element_wise('="', column.cast(pa.string()), '"', "")
        cells[name] = column
    return pa.table(cells)


def _iso(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write times as ISO 8601: Arrow's own text has a blank where the T belongs."""
    text = column.cast(pa.timestamp("ms")).cast(pa.string())
    return pc.binary_join_element_wise(pc.binary_replace_slice(text, 10, 11, "T"), "Z", "")


def _read(path: PathLike) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
    raise FileError(f"{path} could not be read: {reason}.")


def _header(data: bytes, path: PathLike) -> tuple[list[str], bool]:
    """Read the names of the columns, and whether they stand in quotes."""
    line = data.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("utf-8", errors="replace")
    try:
        names = next(csv.reader(io.StringIO(line)), [])
    except csv.Error as error:
        raise FileFormatError(f"{path}: its first line cannot be read as CSV: {str(error).split(' - ')[0]}.") from None
    if not line.strip():
        raise FileFormatError(f"{path} is empty; expected the columns {', '.join(frame.COLUMNS)}.")
    for name in frame.COLUMNS:
        if name not in names and name != "error_trace":
            raise _lacks(path, name, names)
        if names.count(name) > 1:
            raise FileFormatError(f"{path} has the column {name} twice; take one away.")
    if further := [name for name in names if name not in frame.COLUMNS]:
        warn(f"{path}: the columns {', '.join(further)} are not read.", UserWarning)
    return names, line.startswith('"')


def _lacks(path: PathLike, name: str, found: list[str]) -> FileFormatError:
    hint = (
        " It seems to be separated by semicolons; save it with commas." if len(found) == 1 and ";" in found[0] else ""
    )
    shown = ", ".join(found)[:300] or "none"
    return FileFormatError(f"{path} lacks the column {name}. Found the columns {shown}.{hint}")


def _cells(data: bytes, names: list[str], path: PathLike) -> pa.Table:
    """Read all cells as text; empty ones are missing, unless they are quoted."""
    wanted = [name for name in names if name in frame.COLUMNS]
    text = pa.schema([(name, pa.large_string()) for name in wanted])
    if b"\n" not in data.rstrip(b"\r\n"):
        return text.empty_table()
    if data.count(b'"') % 2:
        raise FileFormatError(f"{path} ends inside a quoted cell: it was cut short, or a quotation mark was lost.")
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(data),
            # A block must hold a whole row, and a row may hold a trace of any length.
            read_options=pyarrow.csv.ReadOptions(
                column_names=names, skip_rows=1, block_size=min(max(len(data), _BLOCK), _BLOCK_MAX)
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.large_string()),
                include_columns=wanted,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowException as error:
        trouble = str(error).splitlines()[0][:300]
    raise FileFormatError(f"{path} cannot be read as CSV: {trouble}")


def _column(table: pa.Table, field: pa.Field, path: PathLike, *, unguard: bool) -> pa.Array:
    """Turn cells into a typed column, or name the first cell that is wrong."""
    if field.name not in table.column_names:
        return pa.nulls(table.num_rows, field.type)
    cells = table[field.name].combine_chunks()
    if field.name in _NEVER_MISSING and cells.null_count:
        raise _wrong(path, field.name, cells, pc.index(cells.is_null(), value=True).as_py(), "a value")
    if field.name in _IDS:
        cells = pc.replace_substring_regex(cells, '^="(.*)"$', r"\1")
        return _parsed(cells, field.name, path, _ID, _ids)
    if field.name in _TIMES:
        return _parsed(cells, field.name, path, _TIME, lambda text: text.cast(field.type))
    if field.name in _SPANS:
        return _parsed(cells, field.name, path, _SECONDS, _milliseconds)
    if unguard:
        cells = pc.replace_substring_regex(cells, _GUARDED, r"\1")
    if field.name in _CATEGORIES:
        return _dictionary(cells, _CATEGORIES[field.name])
    return cells


def _parsed(
    cells: pa.Array, name: str, path: PathLike, kind: tuple[str, str], convert: Callable[[pa.Array], pa.Array]
) -> pa.Array:
    """Convert cells of one pattern; where that fails for one, look which."""
    pattern, expected = kind
    fits = pc.fill_null(pc.match_substring_regex(cells, f"^(?:{pattern})$"), fill_value=True)
    if pc.any(pc.invert(fits)).as_py():
        raise _wrong(path, name, cells, pc.index(fits, value=False).as_py(), expected)
    try:
        return convert(cells)
    except pa.ArrowException:
        row = bisect.bisect_left(range(len(cells)), x=True, key=lambda k: not _converts(cells[: k + 1], convert))
    raise _wrong(path, name, cells, row, expected)


def _converts(cells: pa.Array, convert: Callable[[pa.Array], pa.Array]) -> bool:
    try:
        convert(cells)
    except pa.ArrowException:
        return False
    return True


def _ids(cells: pa.Array) -> pa.Array:
    ids = cells.cast(pa.int64())
    if len(ids) > ids.null_count and pc.max(ids).as_py() > MAX_ID:
        raise pa.ArrowInvalid("an id beyond the range")
    return ids


def _milliseconds(cells: pa.Array) -> pa.Array:
    return pc.round(pc.multiply(cells.cast(pa.float64()), float(_MS))).cast(pa.int64()).cast(pa.duration("ms"))


def _dictionary(cells: pa.Array, order: Callable[[list[str]], list[str]]) -> pa.DictionaryArray:
    encoded = cells.dictionary_encode()
    found = encoded.dictionary.to_pylist()
    categories = order(found)
    place = np.array([categories.index(one) for one in found], dtype="int32")
    return pa.DictionaryArray.from_arrays(
        pa.array(place[encoded.indices.to_numpy()]), pa.array(categories, pa.string())
    )


def _wrong(path: PathLike, name: str, cells: pa.Array, row: int, expected: str) -> FileFormatError:
    found = cells[row].as_py()
    shown = "nothing" if found is None else repr(found if len(found) <= _SHOWN else found[:_SHOWN] + "...")
    return FileFormatError(
        f"{path}: row {row + 1} below the header, column {name}: expected {expected}, found {shown}."
    )


def _check_missing(table: pa.Table, path: PathLike) -> None:
    for name in _NEVER_MISSING:
        if table[name].null_count:
            row = pc.index(table[name].is_null().combine_chunks(), value=True).as_py()
            raise FileFormatError(f"{path}: row {row + 1}, column {name}: expected a value, found nothing.")


def replace(path: PathLike | IO[bytes], write: Callable[[IO[bytes]], object]) -> None:
    """
    Write beside the place and move there, so that at no moment half a file has the name.

    Parameters
    ----------
    path
        Where to; or a file that is open for bytes.
    write
        Called once with the file to fill.

    Raises
    ------
    FileError
        The file could not be written; an older one is still there.
    """
    trouble: str
    try:
        if not isinstance(path, str | os.PathLike):
            _fill(path, write)
            return
        target = Path(os.path.realpath(path))
        if target.exists() and not target.is_file():  # a pipe or a device has no place beside it
            with target.open("wb") as file:
                write(file)
            return
        _move_in(target, write)
    except BrokenPipeError:
        raise
    except OSError as error:
        trouble = error.strerror or str(error)
    else:
        return
    raise FileError(f"{path} could not be written: {trouble}. What was there before is unchanged.")


def _fill(file: IO[bytes], write: Callable[[IO[bytes]], object]) -> None:
    """Write to a file that somebody else opened; a reader who has seen enough is theirs to see to."""
    trouble: str
    try:
        write(file)
        file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        trouble = error.strerror or str(error)
    else:
        return
    raise FileError(f"{getattr(file, 'name', 'The file')} could not be written: {trouble}.")


def _move_in(target: Path, write: Callable[[IO[bytes]], object]) -> None:
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
