"""What a Python traceback says: which exceptions, and which of the user's own functions they passed through."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

_HEADER = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s*File "(?P<path>[^"\n]+)", line \d+(?:, in (?P<function>[^\n]+))?', re.MULTILINE)
_UNINDENTED = re.compile(r"\n(?![ \t\r\n])")
_NAMED = re.compile(r"(?P<kind>[^\W\d][\w.<>]*)(?:(?::[ \t]*|(?=\n))(?P<text>.*))?\Z", re.DOTALL)
_PREFIX = re.compile(
    r"(?P<kind>(?:[^\W\d]\w*\.)*[A-Z]\w*(?:Error|Exception|Warning|Exit|Interrupt|Timeout|Failure|Fault|Violation)"
    r"|(?:[a-z_]\w*\.)+[A-Z]\w*)(?::\s+(?P<text>.*))?\Z",
    re.DOTALL,
)
_JOINT = re.compile(
    r"\n[ \t]*(?:The above exception was the direct cause of the following exception:"
    r"|During handling of the above exception, another exception occurred:)"
)
_MARGIN = re.compile(r"^ +(?:\| ?|\+[-+ ]*(?:[0-9]+|\.\.\.)?[-+ ]*)", re.MULTILINE)

_LIBRARY = re.compile(
    r"(?i)[/\\](?:site|dist)-packages[/\\]|[/\\]\.python_packages[/\\]|[/\\]lib(?:64)?[/\\]python[0-9.]*[/\\]"
    r"|[/\\]python[0-9][0-9.]*[/\\]lib[/\\]|python[0-9]*\.zip[/\\]|[/\\]azure-functions-host[/\\]|^/var/(?:runtime|lang)/"
    r"|\.(?:pyx|pxi|pxd|c|so)$|^<(?!stdin>|ipython-input)"
)
_NAMELESS = {"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>", "<lambda>"}


class Raised(NamedTuple):
    """
    One exception.

    Parameters
    ----------
    kind
        Its type without the module; None where the text names none.
    text
        What it says.
    functions
        The user's own functions it passed through, outermost first, each once: libraries and Python's own are left out.
    """

    kind: str | None
    text: str
    functions: tuple[str, ...] = ()


def read(trace: str) -> list[Raised]:
    """
    Read the exceptions of a traceback.

    Parameters
    ----------
    trace
        Any text. Of a chain of exceptions each has a traceback of its own in it, as has each of a group.

    Returns
    -------
    exceptions
        In the order of the text, so that the last is the one the call ended with. The last has neither kind nor text
        where the trace is cut off before them. Empty where it is no traceback.
    """
    if "\r" in trace:
        trace = trace.replace("\r\n", "\n")
    if "Exception Group Traceback" in trace:
        trace = _MARGIN.sub("", trace)
    before, *blocks = trace.split(_HEADER)
    if not blocks and _FRAME.search(before):
        blocks = [before]
    return [_raised(_JOINT.split(block, 1)[0]) for block in blocks[:-1]] + [_raised(block) for block in blocks[-1:]]


def name(message: str) -> Raised:
    """
    Tell the type of an exception from what it says, where a message stands alone.

    Parameters
    ----------
    message
        Any text; `KeyError: 'cutoff'` names its type, `it failed` does not.

    Returns
    -------
    exception
        Its kind is None where the message names none.
    """
    match = _PREFIX.match(message.lstrip())
    return Raised(None, message) if match is None else Raised(_short(match["kind"]), match["text"] or "")


def _raised(block: str) -> Raised:
    """Read one traceback: frames, which are indented, then the exception, which is not."""
    block = block.lstrip("\r\n")
    start = _UNINDENTED.search(block, max(0, block.rfind('\n  File "')))
    frames, said = (block, "") if start is None else (block[: start.start()], block[start.end() :])
    if not frames[:1].isspace() and not frames.startswith("File "):  # no frames at all
        frames, said = "", block
    functions = _own_functions(frames)
    match = _NAMED.match(said.rstrip())
    if match is None:
        return Raised(None, said.strip(), functions)
    return Raised(_short(match["kind"]), match["text"] or "", functions)


@functools.lru_cache(maxsize=16_384)
def _own_functions(frames: str) -> tuple[str, ...]:
    """List the functions of a stack; a stack is the same from call to call, unless the code was edited."""
    own = (function for path, function in _FRAME.findall(frames) if function and _is_own(path))
    return tuple(dict.fromkeys(function for function in own if function not in _NAMELESS))


@functools.lru_cache(maxsize=16_384)
def _is_own(path: str) -> bool:
    return _LIBRARY.search(path) is None


def _short(kind: str) -> str:
    return kind.rstrip(".").rpartition(".")[2]
