"""Message templates: the text of an error message with its varying parts replaced by placeholders."""

from __future__ import annotations

import functools
import itertools
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
_OAUTH_CODES = (
    "invalid_grant", "invalid_client", "invalid_request", "invalid_scope", "invalid_token", "invalid_resource",
    "unauthorized_client", "disabled_client", "access_denied", "expired_token", "unsupported_grant_type",
    "unsupported_response_type", "interaction_required", "consent_required", "login_required",
)  # fmt: skip
_ANY_OAUTH_CODE = f"(?:{'|'.join(_OAUTH_CODES)})\\b"
_SECRET = re.compile(
    rf"(?i:{_SENSITIVE_NAME}(?:=|\s*[:=]\s*['\"]|\s*[:=]\s*(?={_VALUE_CHARACTER}*[0-9]))(?!{_ANY_OAUTH_CODE}){_VALUE_CHARACTER}{{6,}}"
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

_TAG = re.compile(r"[A-Z](?<!\w.)[A-Z0-9]*(?:[-_.][A-Z0-9]+)+\b")
_BEFORE_TAG = ("tag ", "tags ", "sensor ", "asset ", "series ", "point ", "pump ", "valve ", "well ", "for ")

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
    r"|(?:aadsts|ora-|dpy-|dpi-|tns-|err[_-]?)[0-9]+|(?-i:E-?[0-9]{3,5})|0x[8c][0-9a-f]{7}",
    re.IGNORECASE,
)
# Codes tell errors apart.
_REASONS = (
    "Bad Request", "Unauthorized", "Payment Required", "Forbidden", "Not Found", "Method Not Allowed", "Not Acceptable",
    "Request Timeout", "Conflict", "Gone", "Precondition Failed", "Request Entity Too Large", "Content Too Large",
    "Unsupported Media Type", "Unprocessable Entity", "Unprocessable Content", "Locked", "Too Many Requests",
    "Internal Server Error", "Not Implemented", "Bad Gateway", "Service Unavailable", "Gateway Timeout",
    "Gateway Time-out", "Client Error", "Server Error",
)  # fmt: skip
_BEFORE_CODE = {  # how many digits the code may have
    3: ("status", "http", "https", "http error", "signal", " rc", "(rc"),
    5: ("code",),
    6: ("errno", "winerror", "sqlcode", "sqlstate", "[error"),
}
_BEFORE_STATUS = ("returned", "replied", "answered", "got", "received", "response", "failed", "responded", " with")
_BEFORE_ANY = (*itertools.chain.from_iterable(_BEFORE_CODE.values()), *_BEFORE_STATUS, "error")
_JOINTS_OF_CODE = " :=('\"[<"
_CODE_FORM = re.compile(r"-?[0-9]{1,6}|[0-9A-Z]{5}")
_STATUS = re.compile(r"[45][0-9]{2}")
_AFTER_STATUS = re.compile(r"[\])>.,:;]|\Z| (?:for|from|on|at|when|while|after|by)\b| \(| [A-Z]")
_AFTER_ERROR = re.compile(r": | [a-z]+ing\b")
_FIRST = re.compile(r"\A(?:[45][0-9]{2}(?:, message=| [A-Z])|[0-9]{6} \([0-9A-Z]{5}\):)")
_REASON = re.compile(rf" (?:{'|'.join(_REASONS)})\b")
_CODE_KEYS = ("code", "Code", "status", "Status", "error", "reason")
_QUOTED_CODE = re.compile(rf"(?:{_STATUS.pattern} )?(?:{'|'.join(_REASONS)})|{_ANY_OAUTH_CODE}")
_CODE_WORD = re.compile(r"[A-Za-z_][A-Za-z_.-]{1,59}|[0-9]{3}")
_HIDE = str.maketrans("0123456789", "\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17")  # no text has these characters left
_SHOW = {hidden: chr(digit) for digit, hidden in _HIDE.items()}

# What an exception was raised with, in quotes as its `repr` has them: a sentence, not a value.
_ARGUMENT = re.compile(
    r"((?:\A|(?<=\) ))\((?:-?[0-9]{2,10}|'(?=[A-Z]*[0-9])[0-9A-Z]{5}'), b?"
    r"|(?:Error|Exception|Disconnected)\((?:-?[0-9]{1,10}, )?)"
    r"(['\"])((?:[^\\'\"]+|\\.|(?!\2[,)])['\"]){0,100}+)\2(?=[,)])"
)
_VALIDATION = re.compile(r"[0-9]+ validation errors? for (\S+)")
_INVALID_FIELD = re.compile(r"^(?:(\S[^\n]*)\n)?[ \t]+\S[^\n]*?[\[(]type=([\w.]+)", re.MULTILINE)
_SENTENCE = re.compile(r"(?i)\b(?:not?|none of|cannot|invalid)\b")

_SIZE = re.compile(r"<n>\.? (?:[kKMGTP]i?B|bytes?)\b")

_LONG_CODE = (  # in RE2's syntax: what `template` keeps and `_NORMALIZED` would not
    r"(?i)(?:code|errno|winerror|sqlstate|error)[ :=('\"\[<]{1,4}-?[0-9]{4}|\(-?[0-9]{4,10}, b?['\"]|^[0-9]{6} \("
    r"|\b0x[8c][0-9a-f]{7}\b"
)
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

_UNIT = re.compile(
    r"<\*> ?(?:%|(?:[mµnu]?s|secs?|seconds?|mins?|minutes?|hours?|h|days?|d|weeks?|months?|years?|B|m?bar|[kM]?Pa|psi"
    r"|°[CF]|K|[kM]?Wh?|k?V|m?A|[kM]?Hz|[mck]?m|m[23³²]|k?g|rpm)(?!\w))"
)
_COUNTED = re.compile(r"<\*> ([^\W\d][\w-]{2,})")
_SINGULAR_VERBS = {"are": "is", "were": "was", "have": "has"}
_PLURAL_VERB = re.compile(r"\b(?:are|were|have)\b")

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
    token). A list of values is `[...]`, however long it is. Codes that distinguish errors stay: those of HTTP, OAuth,
    the operating system and databases, and what is named a code. So do quoted names of code, as in `'NoneType' object
    has no attribute 'id'`: there another name is another error.

    Only the first line counts, or the next one if the first is a heading: further lines list what varies. Of pydantic,
    the fields and types of its errors count. The result is one line of at most 300 characters without control
    characters, empty for a blank message.
    """
    text, more = _headline(message)
    if "validation error" in text:
        text = _validation_errors(text, message)
    text = _unwrap(text, exception)
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
    """
    Replace every placeholder by `<*>`: a hexadecimal id may have no letter, and a name may be a number.

    Units are left out, and what is counted becomes singular.
    """
    text = _ANY_PLACEHOLDER.sub("<*>", _LIST_ELLIPSIS.sub("", template))
    if "<*>" not in text:
        return text
    text = _COUNTED.sub(lambda match: f"<*> {_singular(match[1])}", _UNIT.sub("<*>", text))
    return _PLURAL_VERB.sub(lambda match: _SINGULAR_VERBS[match[0]], text)


def _singular(noun: str) -> str:
    stem = noun[:-3] + "y" if noun.endswith("ies") else noun.removesuffix("s")
    return noun if noun.endswith("ss") else stem


def normalize(texts: Sequence[str]) -> list[str]:
    """
    Make messages equal that will have the same template, by a quick look: long numbers, UUIDs, addresses.

    `template` is slow; messages that differ only in an id then need it once. The template of each stays the same.
    """
    messages = pa.array(texts, pa.large_string())
    normalized = messages
    for pattern, replacement in _NORMALIZED:
        normalized = pc.replace_substring_regex(normalized, pattern, replacement)
    kept = pc.or_(_may_hold_secrets(messages), pc.match_substring_regex(messages, _LONG_CODE))
    result: list[str] = pc.if_else(kept, messages, normalized).to_pylist()
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


def _validation_errors(text: str, message: str) -> str:
    """Say which fields pydantic found invalid and why, which is in further lines; indices of lists are left out."""
    head = _VALIDATION.match(text)
    fields = _INVALID_FIELD.findall(message[:_MAX_READ]) if head else []
    if head is None or not fields:
        return text
    named = (f"{re.sub(r'[^.]*[0-9][^.]*', '*', field)} {reason}".strip() for field, reason in fields)
    return _clean(f"validation error for {head[1]}: {', '.join(dict.fromkeys(named))}")


def _unwrap(text: str, exception: str | None) -> str:
    """Remove the quotes around sentences: the arguments of an exception, and all that a KeyError has to say."""
    if exception == "KeyError":
        return (
            text[1:-1] if " " in text and text[0] == text[-1] and text[0] in "'\"" and _SENTENCE.search(text) else text
        )
    if not (text.startswith("(") or "Error(" in text or "Exception(" in text or ") (" in text or "ted(" in text):
        return text
    return _ARGUMENT.sub(lambda match: match[1].replace("'", "").translate(_HIDE) + match[3], text)


def _replace_quotes(text: str, exception: str | None, *, more: bool) -> str:
    """Replace quoted text, except names of code in errors about code."""
    about_code = exception in _CODE_ERRORS or (exception is None and _CODE.search(text) is not None)
    text = _QUOTED.sub(_name_or_text if about_code else _code_or_text, text)
    return _UNCLOSED.sub("<text>", text) if more else text


def _replace_paths(text: str) -> str:
    if "/" in text or "\\" in text:
        text = _PATH.sub("<path>", text).replace("url: / ", "url: <path> ")
        text = _PATH_OF_WINDOWS.sub("<path>", text) if ":/" in text or "\\" in text else text
        text = _PATH_FROM_HERE.sub("<path>", text) if _SLASH_IN_WORD.search(text) else text
    return _FILE.sub("<path>", text) if _FILE_ENDING.search(text) else text


def _replace_times(text: str) -> str:
    if _MONTH.search(text):
        text = _DATE_WORDS.sub("<time>", text)
    return _TIME.sub("<time>", text)


def _code_or_text(match: re.Match[str]) -> str:
    """Keep a quoted code, and the name of one."""
    text, inside, start = match.string, match[0][1:-1], match.start()
    if text.startswith(":", match.end()):
        return inside if inside.endswith(_CODE_KEYS) else "<text>"
    pattern = _QUOTED_CODE
    if text.startswith((": ", ":"), start - 2) and text[:start].rstrip(": '\"").endswith(_CODE_KEYS):
        pattern = _CODE_WORD
    return inside.translate(_HIDE) if pattern.fullmatch(inside) else "<text>"


def _tag(match: re.Match[str]) -> str:
    """Replace a word of capitals that is a tag, not a code: what comes before it says so."""
    return "<id>" if match.string.endswith(_BEFORE_TAG, 0, match.start()) else match[0]


def _name_or_text(match: re.Match[str]) -> str:
    inside = match[0][1:-1]
    return match[0] if _IDENTIFIER.fullmatch(inside) or _NAMES_WITH_DIGITS.fullmatch(inside) else "<text>"


def _replace_word(match: re.Match[str]) -> str:
    word = match[0]
    return word if _CODE_FORM.fullmatch(word) and _is_code(word, match) else _placeholder(word)


def _is_code(word: str, match: re.Match[str]) -> bool:
    """Check whether a number is an error code, such as the status of HTTP, by what stands around it."""
    text, start, end = match.string, match.start(), match.end()
    before = text[max(0, start - 20) : start].rstrip(_JOINTS_OF_CODE).lower()
    is_status = _STATUS.fullmatch(word) is not None
    if start == 0 or (is_status and _REASON.match(text, end)):
        return (is_status and _REASON.match(text, end) is not None) or _FIRST.match(text) is not None
    if not before.endswith(_BEFORE_ANY):
        return False
    digits = len(word.lstrip("-"))
    return (
        any(digits <= most and before.endswith(words) for most, words in _BEFORE_CODE.items())
        or (is_status and before.endswith(_BEFORE_STATUS) and _AFTER_STATUS.match(text, end) is not None)
        or (before.endswith("error") and _AFTER_ERROR.match(text, end) is not None)
    )


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
    return _truncate(_shorten_lists(_TAG.sub(_tag, _SIZE.sub("<n> B", text))).translate(_SHOW))


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
