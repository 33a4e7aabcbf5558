"""Takes secrets out of text before it is kept.

What is looked for: values of words that name a secret (`--password x`, `API_KEY=x`, `"token": "x"`), authorization
headers, user and password in a URL, keys and password hashes that tell themselves by their form, and PEM private keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from backends.domain.text import NAME_LIMIT, clean

HIDDEN = "[redacted]"

_LONG = r"passwor[dt]|passphrase|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|client[-_]?key|credentials?"
_SHORT = r"pass|passwd|pwd"
"""Only as a word of its own: `compass` is no secret."""
_WORD = (
    rf"(?:[A-Za-z0-9_.-]{{0,64}}?(?:{_LONG})|(?:[A-Za-z0-9]{{1,32}}[-_.]){{0,6}}(?:{_SHORT}))(?:[-_]?(?:data|value))?"
)
"""NGC_API_KEY, registry-password, clientSecret: a name that ends in the name of a secret."""
_VALUE = r"(?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s\"',;&]+)"
_KEEP = r"(?![\"']?\[redacted\])"

_HEADER = rf"(?i)\b((?:proxy-)?authorization\s*[:=]\s*){_KEEP}(?:(?:basic|bearer|digest)\s+)?\S+"
_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(_HEADER), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)\b(bearer\s+){_KEEP}[A-Za-z0-9._~+/=-]{{8,}}"), rf"\1{HIDDEN}"),
    # https://user:password@host: the name stays, it tells whose credential was used.
    (re.compile(rf"(\b[a-z][a-z0-9+.-]*://[^\s/@:]*:){_KEEP}[^\s/@]+(?=@)", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)(?<![A-Za-z0-9])({_WORD}[\"']?\s*[=:]\s*){_KEEP}{_VALUE}"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)((?:^|\s)--?{_WORD}\s+){_KEEP}(?!-){_VALUE}"), rf"\1{HIDDEN}"),
    # What tells itself: keys of NGC, GitHub, GitLab, Hugging Face, OpenAI, Slack, AWS, web tokens, hashes of passwords.
    (re.compile(r"\b(?:nvapi-[\w-]{16,}|gh[oprsu]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,})"), HIDDEN),
    (re.compile(r"\bsk-[\w-]{20,}"), HIDDEN),
    (re.compile(r"\{SHA\}[A-Za-z0-9+/=]{8,}|\${1,2}(?:apr1|2[abxy]|[156y])\${1,2}[./A-Za-z0-9$]{8,}"), HIDDEN),
    (re.compile(r"\b(?:xox[abprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16})\b"), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), HIDDEN),
)
_HINT = re.compile(
    r"(?i)pass|pwd|secret|token|key|credential|authorization|bearer|://"
    r"|nvapi-|gh[oprsu]_|github_pat_|glpat-|hf_|sk-|\{sha\}|\$|xox|akia|asia|eyj"
)
"""A part of whatever a rule looks for: most texts have none, and cost one search."""
_SECRET_KEY = re.compile(rf"(?i){_WORD}")
"""A key of a JSON object whose value is a secret."""
_SECRET_LABEL = re.compile(
    rf"(?i)(?:{_LONG}|(?<![a-z0-9])(?:{_SHORT})|basic[-_]?auth[-_.]users)(?:[-_]?(?:data|value))?$"
)
"""Ends the key of a label whose value is a secret, however long the domain before it."""
UNCUT = 8 * NAME_LIMIT
"""A text is redacted before it is cut: half a secret looks like none."""


def redact(text: str) -> str:
    """`text` without what looks like a secret; redacting twice changes nothing."""
    if _HINT.search(text) is None:
        return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


@lru_cache(maxsize=16_384)
def shown(text: str, limit: int = NAME_LIMIT) -> str:
    """Foreign text as it may be shown: cleaned, redacted, at most `limit` characters. The same ones come often."""
    return clean(redact(clean(text, UNCUT)), limit)


def label_value(key: str, value: str) -> str:
    """The value of a label as it may be shown."""
    return HIDDEN if value and _SECRET_LABEL.search(key) else shown(value)


def redacted(value: Any) -> Any:
    """JSON values with every text redacted, and whole the values of keys that name a secret."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if isinstance(each, str) and each and _SECRET_KEY.fullmatch(str(key)) else redacted(each)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(each) for each in value]
    return value


def first_secret(value: Any, place: str = "") -> str | None:
    """Where in JSON values something looks like a secret, as a path; None where nothing does."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            inside = first_secret(each, f"{place}.{key}".lstrip("."))
            if inside is None and isinstance(each, str) and redacted({key: each}) != {key: each}:
                inside = f"{place}.{key}".lstrip(".")
            if inside is not None:
                return inside
    elif isinstance(value, list | tuple):
        if all(isinstance(each, str) for each in value) and redact(" ".join(value)) != " ".join(value):
            return place  # an option and its value stand beside each other
        for index, each in enumerate(value):
            inside = first_secret(each, f"{place}[{index}]")
            if inside is not None:
                return inside
    elif isinstance(value, str) and redact(value) != value:
        return place
    return None
