"""Message templates: the text of an error message with its varying parts replaced by placeholders."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LENGTH = 300
"""Templates are cut here: messages that differ only beyond it count as the same."""

_VALUE_CHARACTER = r"[^\s'\"<>*,;&|(){}\[\]]"
_SENSITIVE_NAME = (
    r"\b\w*(?:password|passwd|pwd|secret|token|api[_-]?key|(?:access|account|private|shared)[_-]?key|\bsig)['\"]?"
)
_SECRET = re.compile(
    rf"(?i:{_SENSITIVE_NAME}(?:=|\s*[:=]\s*['\"]|\s*[:=]\s*(?={_VALUE_CHARACTER}*[0-9])){_VALUE_CHARACTER}{{6,}}"
    r"|\b(?:bearer|basic)\s+[\w.~+/-]{16,}=*)"
    r"|\beyJ[\w-]{8,}(?:\.[\w-]*){1,2}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_\w{20,}|\bxox[abp]-[\w-]{10,}"
    r"|://[^\s/:@'\"]+:[^\s/@'\"]+@"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)

_MAX_READ = 10_000

# Looked for before the pattern is tried: most messages contain none, and `in` is ten times as fast.
_SECRET_HINTS = (
    "passw", "pwd", "secret", "token", "key", "sig=", "sig:", "bearer ", "basic ", "eyj", "akia", "asia", "ghp_",
    "gho_", "ghu_", "ghs_", "ghr_", "xox", "://"
)  # fmt: skip

_CONTROLS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]+")
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s'\"<>|)\]}`»”」]+")
_QUOTED = re.compile(
    r"'(?:(?<!\w')|(?<=\b[bru]'))(?:[^'\\]|\\.|'(?=\w)){0,2000}+'(?!\w)"
    r'|"(?:[^"\\]|\\.){0,2000}+"'
    r"|`[^`]{0,2000}+`|“[^“”]{0,2000}+”|«[^«»]{0,2000}+»|„[^„“”]{0,2000}+[“”]|‘[^‘’]{0,2000}+’|「[^「」]{0,2000}+」"  # noqa: RUF001 - quotes of other languages
)
_UNCLOSED = re.compile(r"(?:'(?<!\w')|[\"`“«„‘「])[^'\"`”»’」]*\Z")  # noqa: RUF001 - quotes of other languages
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,100}@[\w-]+(?:\.[\w-]+)+")
_UUID = re.compile(r"[0-9a-fA-F](?<![0-9A-Za-z].)[0-9a-fA-F]{7}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![0-9A-Za-z])")

_MONTHS = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK_TAIL = r"[0-9]?:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?: ?[AP]M\b)?(?: ?(?:Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})\b)?"
_CLOCK = f"[0-9]{_CLOCK_TAIL}"
_TIME = re.compile(
    rf"[0-9](?<![\w.-].)(?:[0-9]{{3}}([-/])[0-9]{{2}}\1[0-9]{{2}}(?:[T ,]{{1,2}}{_CLOCK})?"
    rf"|[0-9]?([./-])[0-9]{{1,2}}\2[0-9]{{4}}(?:[T ,]{{1,2}}{_CLOCK})?|{_CLOCK_TAIL})(?![\w-])"
)
_DATE_WORDS = re.compile(
    rf"(?:\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )?(?<!\w)(?:[0-9]{{1,2}} {_MONTHS}[a-z]*\.?"
    rf"|{_MONTHS}[a-z]*\.? [0-9]{{1,2}},?)"
    rf"(?: [0-9]{{4}}\b)?(?: {_CLOCK}(?: [0-9]{{4}}\b)?)?"
)
_MONTH = re.compile(_MONTHS)

_FILE_TYPES = (
    "csv|tsv|xlsx?|xlsm|json|jsonl|ndjson|parquet|pdf|txt|log|zip|gz|tar|xml|ya?ml|toml|ini|png|jpe?g|tiff?|svg|dwg|dxf"
    "|pkl|pickle|joblib|h5|hdf5|nc|feather|avro|sqlite|db|py|ipynb|html?|las|sgy|segy"
)
_IN_PATH = r"(?:[^\s'\"<>|:;,()\[\]{}]|[:,](?=[0-9]))"
_PATH = re.compile(rf"/(?<![\w/<>.)\]]/)(?=[^\s/]){_IN_PATH}+")
_PATH_OF_WINDOWS = re.compile(rf"\b[A-Za-z]:[\\/]{_IN_PATH}*|(?<!\\)\\\\{_IN_PATH}+")
_PATH_FROM_HERE = re.compile(r"(?<![\w./\\-])\.{0,2}[\w.-]*(?:[/\\][\w.-]+){1,30}\.\w{1,8}\b")
_SLASH_IN_WORD = re.compile(r"[/\\](?<=[\w.].)\w")
_FILE = re.compile(rf"(?i)(?<![\w.-])[\w-]+(?:\.[\w-]+){{0,3}}\.(?:{_FILE_TYPES})\b")
_FILE_ENDING = re.compile(rf"\.(?i:{_FILE_TYPES})\b")

# A word with a digit in it. The letters are those of alphabets whose words are set apart: in Chinese or Japanese text a
# whole clause would pass for one word.
_LETTER = "A-Za-z_\u00c0-\u024f\u0370-\u052f"
_WORD = re.compile(
    rf"(?<![0-9{_LETTER}])[-+]?(?=(?:[{_LETTER}]++[-.])*+[{_LETTER}]*+[0-9])[0-9{_LETTER}]++(?:[-.][0-9{_LETTER}]++)*+"
)
_DIGIT = re.compile(r"[0-9]")
_NUMBER = re.compile(
    r"[-+]?[0-9][0-9_]*(?:[.,-][0-9]+)*(?:[eE][-+]?[0-9]+)?"
    r"(?:[kKMGT]i?B|B|[kKMGT]|bytes|[mnu]?s|msec|secs?|min|mins|h|hours?|d|days?|x)?"
)
_HEX = re.compile(r"0[xX][0-9a-fA-F]+|[0-9a-f]{7,}|[0-9A-F]{7,}")
_NAMES_WITH_DIGITS = re.compile(
    r"(?:u?int|b?float|complex|datetime|timedelta|bool|str)[0-9]{1,3}(?:_t)?|utf[-_]?(?:8|16|32)(?:[-_][a-z]+)*"
    r"|latin[-_]?1|cp125[0-9]|iso-?8859-[0-9]+|iso-?8601|base64|sha[0-9]{1,3}|md5|rfc[0-9]+|ipv[46]|oauth[12]|http2"
    r"|tlsv[0-9.]+|sslv[0-9]|x\.?509|s3|k8s|psycopg2|boto3|urllib3|h5py|h11|py3[0-9]+|co2|h2s|s?m3"
    r"|(?:aadsts|ora-|dpy-|dpi-|tns-|err_?)[0-9]+",
    re.IGNORECASE,
)
_BEFORE_CODE = ("code", "status", "status_code", "http", "https", "errno", "winerror", "signal", "sqlcode")
_JOINTS_OF_CODE = " :=('\""
_AFTER_CODE = (" Client Error", " Server Error")
_CODE_DIGITS = 3  # digits of a status code

_SIZE = re.compile(r"<n>\.? (?:[kKMGTP]i?B|bytes?)\b")

_BEFORE, _AFTER = r"(^|[\s(\[])", r"($|[\s)\],;])"
_NORMALIZED = (
    (
        rf"{_BEFORE}[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}Z{_AFTER}",
        "\\1" + "0000-00-00T00:00:00Z" + "\\2",
    ),
    (r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b", "00000000-0000-0000-0000-000000000000"),
    (r"\b0x[0-9a-fA-F]+\b", "0x0"),
    (r"^((?:[^']*[\s(\[{=:,])?)'/[^'\"\\\s]{1,200}'((?:[\s)\]},;:][^']*)?)$", "\\1" + "'/0'" + "\\2"),
    (rf"{_BEFORE}[0-9]{{4}}{_AFTER}", "\\1" + "0000" + "\\2"),
    (rf"{_BEFORE}[0-9]{{5,}}($|[\s)\],;:])", "\\1" + "00000" + "\\2"),
)
"""
Replacements that leave the template the same, unless there is a secret; in RE2's syntax, whose group references have
one digit.
"""

_PLACEHOLDER = r"<(?:n|id|hex|uuid|time|text|path|url|email)>"
_SHORTENED = r"\[\.\.\.\]|\{\.\.\.\}|\(\.\.\.\)"
_LITERAL = (
    rf"(?:{_PLACEHOLDER}|\.\.\.|{_SHORTENED}"
    r"|\b(?:None|True|False|nan|NaN|NaT|null|true|false|inf)\b|[\s:,;=*])"
)
_LISTED = re.compile(rf"\[{_LITERAL}*+\]|\{{{_LITERAL}*+\}}|\((?=[^()]*[,:]){_LITERAL}*+\)|\(\.\.\.\)")
_REPEATED = re.compile(
    rf"({_PLACEHOLDER}|{_SHORTENED})"
    rf"(?:(?:\s*[,;]\s*(?:and |or )?| and | or |\s*\|\s*)(?:{_PLACEHOLDER}|{_SHORTENED}))+"
)
_ANY_PLACEHOLDER = re.compile(_PLACEHOLDER)
_LIST_ELLIPSIS = re.compile(r"\.\.\.(?=[\])}])")
_MAX_NESTING = 8

_CODE = re.compile(
    r"has no attribute|[Nn]o module named|cannot import name|is not defined|keyword argument|positional argument"
    r"|operand type|object is not|object does not support|not supported between|must be |not associated with a value"
    r"|referenced before assignment|NoneType"
)
_CODE_ERRORS = {
    "AttributeError", "ImportError", "IndentationError", "ModuleNotFoundError", "NameError", "NotImplementedError",
    "SyntaxError", "TabError", "TypeError", "UnboundLocalError",
}  # fmt: skip
_IDENTIFIER = re.compile(r"[^\W\d][^\W\d]*(?:\.[^\W\d]+)*(?:\(\))?")


def template(message: str, exception: str | None = None) -> str:
    """
    Replace the varying parts of a message by placeholders; `exception` is its type without the module.

    Numbers become `<n>`, words with digits `<id>`, hexadecimal ones `<hex>`; further placeholders are `<uuid>`,
    `<time>`, `<text>` (anything quoted), `<path>`, `<url>`, `<email>` and `<secret>` (what looks like a password or
    token). A list of values is `[...]`, however long it is. Codes that distinguish errors stay: those of HTTP, of the
    operating system, of Entra ID and of Oracle. So do quoted names of code, as in `'NoneType' object has no attribute
    'id'`: there another name is another error.

    Only the first line counts, or the next one if the first is a heading: further lines list what varies. The result
    is one line of at most 300 characters without control characters, empty for a blank message.
    """
    text, more = _headline(message)
    if _may_hold_secret(text):
        text = _SECRET.sub(_redact, text)
    if "://" in text:
        text = _URL.sub("<url>", text)
    text = _replace_quotes(text, exception, more=more)
    if "@" in text:
        text = _EMAIL.sub("<email>", text)
    text = _replace_paths(text)
    if _DIGIT.search(text):
        text = _replace_times(text)
        text = _UUID.sub("<uuid>", text) if text.count("-") > 3 else text  # noqa: PLR2004 - a UUID has four
        text = _WORD.sub(_replace_word, text)
    return _finish(text)


@functools.lru_cache(maxsize=65_536)
def skeleton(template: str) -> str:
    """Replace every placeholder by `<*>`: a hexadecimal id may have no letter, and a name may be a number."""
    return _ANY_PLACEHOLDER.sub("<*>", _LIST_ELLIPSIS.sub("", template))


def normalize(texts: Sequence[str]) -> list[str]:
    """
    Make messages equal that will have the same template, by a quick look: long numbers, UUIDs, addresses.

    `template` is slow; messages that differ only in an id then need it once. The template of each stays the same.
    """
    messages = pa.array(texts, pa.large_string())
    normalized = messages
    for pattern, replacement in _NORMALIZED:
        normalized = pc.replace_substring_regex(normalized, pattern, replacement)
    result: list[str] = pc.if_else(_may_hold_secrets(messages), messages, normalized).to_pylist()
    return result


def contains_secret(text: str) -> bool:
    """Check whether a text contains what looks like a password, a token or a key."""
    return _may_hold_secret(text) and _SECRET.search(text) is not None


def contain_secrets(texts: Sequence[str]) -> list[bool]:
    """Check each text for what looks like a password, a token or a key."""
    hinted = _may_hold_secrets(pa.array(texts, pa.large_string())).to_pylist()
    return [hint and contains_secret(text) for text, hint in zip(texts, hinted, strict=True)]


def _may_hold_secrets(texts: pa.Array) -> pa.Array:
    """As `_may_hold_secret`, for many texts at once in a tenth of the time."""
    return pc.match_substring_regex(texts, "|".join(_SECRET_HINTS), ignore_case=True)


def _may_hold_secret(text: str) -> bool:
    lowered = text.lower()
    for hint in _SECRET_HINTS:  # noqa: SIM110 - `any` takes three times as long, for each of a million messages
        if hint in lowered:
            return True
    return False


def _headline(message: str) -> tuple[str, bool]:
    """Find the first line with content, and whether more lines follow."""
    text = message.strip()
    if "\n" not in text and "\r" not in text:
        return _clean(text[:_MAX_READ]), len(text) > _MAX_READ
    lines = [line for line in (_clean(line) for line in text[:_MAX_READ].splitlines()) if line]
    head = ""
    for number, line in enumerate(lines):
        head = f"{head} {line}".strip()
        if not head.endswith((":", "(", "[", "{")) and any(letter.isalpha() for letter in head):
            return head, number + 1 < len(lines)
    return head, False


def _clean(text: str) -> str:
    if not text.isprintable():
        text = _CONTROLS.sub(" ", text)
    elif "  " not in text:
        return text.strip()
    return " ".join(text.split())


def _redact(match: re.Match[str]) -> str:
    return "://" if match[0].startswith("://") else "<secret>"


def _replace_quotes(text: str, exception: str | None, *, more: bool) -> str:
    """Replace quoted text, except names of code in errors about code."""
    if exception == "KeyError" and text[:1] == text[-1:] == '"' and "[" in text:
        text = text[1:-1]  # a KeyError quotes all it has to say, and pandas says sentences
    about_code = exception in _CODE_ERRORS or (exception is None and _CODE.search(text) is not None)
    text = _QUOTED.sub(_name_or_text if about_code else "<text>", text)
    return _UNCLOSED.sub("<text>", text) if more else text


def _replace_paths(text: str) -> str:
    if "/" in text or "\\" in text:
        text = _PATH.sub("<path>", text)
        text = _PATH_OF_WINDOWS.sub("<path>", text) if ":/" in text or "\\" in text else text
        text = _PATH_FROM_HERE.sub("<path>", text) if _SLASH_IN_WORD.search(text) else text
    return _FILE.sub("<path>", text) if _FILE_ENDING.search(text) else text


def _replace_times(text: str) -> str:
    if _MONTH.search(text):
        text = _DATE_WORDS.sub("<time>", text)
    return _TIME.sub("<time>", text)


def _name_or_text(match: re.Match[str]) -> str:
    inside = match[0][1:-1]
    return match[0] if _IDENTIFIER.fullmatch(inside) or _NAMES_WITH_DIGITS.fullmatch(inside) else "<text>"


def _replace_word(match: re.Match[str]) -> str:
    word = match[0]
    if len(word) <= _CODE_DIGITS and word.isdigit() and _is_code(match):
        return word
    return _placeholder(word)


def _is_code(match: re.Match[str]) -> bool:
    """Check whether a short number is an error code."""
    text, start = match.string, match.start()
    before = text[max(0, start - 16) : start].rstrip(_JOINTS_OF_CODE).lower()
    return before.endswith(_BEFORE_CODE) or text.startswith(_AFTER_CODE, match.end())


@functools.lru_cache(maxsize=65_536)
def _placeholder(word: str) -> str:
    if _NUMBER.fullmatch(word):
        return "<n>"
    if _NAMES_WITH_DIGITS.fullmatch(word):
        return word
    return "<hex>" if _HEX.fullmatch(word.lstrip("+-")) else "<id>"


@functools.lru_cache(maxsize=65_536)
def _finish(text: str) -> str:
    """Shorten lists and the whole; cached, as most messages of a group are equal by now."""
    return _truncate(_shorten_lists(_SIZE.sub("<n> B", text)))


def _shorten_lists(text: str) -> str:
    """Shorten lists of values, inner ones first, so that their length does not matter."""
    for _ in range(_MAX_NESTING):
        shorter = _LISTED.sub(lambda match: f"{match[0][0]}...{match[0][-1]}", text)
        if shorter == text:
            break
        text = shorter
    return _REPEATED.sub(r"\1", text)


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH - 1]}…"
