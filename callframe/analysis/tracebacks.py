"""Parse Python tracebacks: which exceptions, and which of the user's functions they passed through."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

_HEADER = "Traceback (most recent call last):"
_FRAME = re.compile(r'^\s*File "(?P<path>[^"\n]+)", line \d+(?:, in (?P<function>[^\n]+))?', re.MULTILINE)
_UNINDENTED = re.compile(r"\n(?![ \t\r\n])")
_EXCEPTION = re.compile(r"(?P<exception>[^\W\d][\w.<>]*)(?:(?::[ \t]*|(?=\n))(?P<text>.*))?\Z", re.DOTALL)
_PREFIX = re.compile(
    r"(?P<exception>(?:[^\W\d]\w*\.)*[A-Z]\w*(?:Error|Exception|Warning|Exit|Interrupt|Timeout|Failure|Fault|Violation)"
    r"|(?:[a-z_]\w*\.)+[A-Z]\w*)(?::\s+(?P<text>.*))?\Z",
    re.DOTALL,
)
_CHAINED = re.compile(
    r"\n[ \t]*(?:The above exception was the direct cause of the following exception:"
    r"|During handling of the above exception, another exception occurred:)"
)
_MARGIN = re.compile(r"^ +(?:\| ?|\+[-+ ]*(?:[0-9]+|\.\.\.)?[-+ ]*)", re.MULTILINE)

_LIBRARY = re.compile(
    r"(?i)[/\\](?:site|dist)-packages[/\\]|[/\\]\.python_packages[/\\]|[/\\]lib(?:64)?[/\\]python[0-9.]*[/\\]"
    r"|[/\\]python[0-9][0-9.]*[/\\]lib[/\\]|python[0-9]*\.zip[/\\]|[/\\]azure-functions-host[/\\]|^/var/(?:runtime|lang)/"
    r"|\.(?:pyx|pxi|pxd|c|so)$|^<(?!stdin>|ipython-input)"
)
_ANONYMOUS = {"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>", "<lambda>"}


class Raised(NamedTuple):
    """
    One exception: its type without the module (None if the text names none), its message, and the functions.

    `functions` are those of the user's own code that it passed through, outermost first, each once.
    """

    exception: str | None
    text: str
    functions: tuple[str, ...] = ()


def parse(trace: str) -> list[Raised]:
    """
    Parse the exceptions of a traceback, in the order of the text, so that the last is the one the call ended with.

    Each exception of a chain has a traceback of its own, as has each of a group. The last has neither type nor text if
    the trace is cut off before them. The list is empty if the text is not a traceback.
    """
    if "\r" in trace:
        trace = trace.replace("\r\n", "\n")
    if "Exception Group Traceback" in trace:
        trace = _MARGIN.sub("", trace)
    before, *blocks = trace.split(_HEADER)
    if not blocks and _FRAME.search(before):
        blocks = [before]
    return [_parse_block(_CHAINED.split(block, 1)[0]) for block in blocks[:-1]] + [
        _parse_block(block) for block in blocks[-1:]
    ]


def parse_message(message: str) -> Raised:
    """Parse an exception from its message alone: `KeyError: 'cutoff'` names its type, `it failed` does not."""
    match = _PREFIX.match(message.lstrip())
    return Raised(None, message) if match is None else Raised(_without_module(match["exception"]), match["text"] or "")


def _parse_block(block: str) -> Raised:
    """Parse one traceback: indented frames, then the exception, which is not indented."""
    block = block.lstrip("\r\n")
    start = _UNINDENTED.search(block, max(0, block.rfind('\n  File "')))
    frames, text = (block, "") if start is None else (block[: start.start()], block[start.end() :])
    if not frames[:1].isspace() and not frames.startswith("File "):  # no frames at all
        frames, text = "", block
    functions = _user_functions(frames)
    match = _EXCEPTION.match(text.rstrip())
    if match is None:
        return Raised(None, text.strip(), functions)
    return Raised(_without_module(match["exception"]), match["text"] or "", functions)


@functools.lru_cache(maxsize=16_384)
def _user_functions(frames: str) -> tuple[str, ...]:
    """List the user's functions of a stack; cached, as the same stack occurs in many calls."""
    functions = (function for path, function in _FRAME.findall(frames) if function and _is_user_code(path))
    return tuple(dict.fromkeys(function for function in functions if function not in _ANONYMOUS))


@functools.lru_cache(maxsize=16_384)
def _is_user_code(path: str) -> bool:
    return _LIBRARY.search(path) is None


def _without_module(exception: str) -> str:
    return exception.rstrip(".").rpartition(".")[2]
