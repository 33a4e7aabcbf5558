"""Takes secrets out of text before it is kept.

What is looked for: values of words that name a secret (`--password x`, `API_KEY=x`, `"token": "x"`), authorization
headers, credentials in a URL, the passwords that curl, sshpass, ipmitool and logins to a registry take as an option,
keys and password hashes that tell themselves by their form, and PEM private keys.

The texts are those of strangers, and a redaction holds the event loop up: its cost grows with the length of the text
and no faster. So a pattern begins where a word begins, and a run of characters is possessive (`++`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from backends.domain.text import NAME_LIMIT, clean

HIDDEN = "[redacted]"

_WHOLE = r"passwor[dt]|passphrase|secret|token|credentials?|authorization"
_KEY = (
    r"(?:access|account|api|auth|client|encryption|hmac|jwt|license|master|private|secret|session|shared|signing"
    r"|storage|wandb)[-_]?key"
)
_SHORT = r"pass|passwd|pwd"
"""Only as a word of its own: `compass` is no secret."""
_NAMES_SECRET = re.compile(
    rf"(?i)(?:{_WHOLE}|{_KEY}|(?<![a-z0-9])(?:{_SHORT})|basic[-_]?auth[-_.]users)(?:[-_]?(?:data|value))?\Z"
)
"""NGC_API_KEY, registry-password, clientSecret: a name that ends in the name of a secret."""
_NAME_END = 64
"""Characters of a name's end that are looked at; longer than any of `_NAMES_SECRET`."""
_ENVIRONMENT_KEY = re.compile(r"[A-Z0-9_]*[A-Z0-9]_KEY")
"""WANDB_KEY, COMET_KEY: a variable of the environment."""
_OPEN_KEYS = frozenset(
    {"CACHE", "FOREIGN", "GROUP", "HOST", "INDEX", "PARTITION", "PRIMARY", "PUBLIC", "ROUTING", "SORT"}
)
"""The word before `_KEY` where it is no secret."""

_NAMED = re.compile(r"(?<![A-Za-z0-9_.-])([A-Za-z0-9_.-]++)(?:([\"']?\s*+[=:]\s*+)|\s++(?!-))")
"""A name, and what stands between it and its value; group 2 is None where that is space: the value of an option."""
_VALUE = r"(?:\"(?:[^\"\\]|\\.)*+\"?|'[^']*+'?|[^\s\"',;&]++)"
"""A quote that is not closed, as in a line that was cut, goes to the end."""
_KEEP = r"(?![\"']?\[redacted\])"
_HIDE = re.compile(_KEEP + _VALUE)

_HEADER = r"(?i)(?<![a-z0-9])(authorization\s*+[:=]\s*+)"
_CURL_USER = r"(?<!\S)((?:-[A-Za-z]{0,6}[uU]|--(?:proxy-)?user[=\s])\s*+(?!\d++:\d++(?!\S))[\"']?[^\s:\"']++:)"
"""Of two numbers it is the user and the group that a container runs as."""
_LOGIN = r"(?:docker|podman|nerdctl|buildah|skopeo|registry|oc)\s+login\s"

_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _url(found: re.Match[str]) -> str:
    """`name:[redacted]@`: the name stays, it tells whose credential was used. A token may stand in its place."""
    scheme, authority = found[1], found[2]
    credentials, at, host = authority.rpartition("@")
    name, colon, password = credentials.partition(":")
    is_web = scheme.lower().endswith(("http://", "https://"))
    if not at or HIDDEN in credentials or (not colon and (not is_web or set(name) & set("?#,"))):
        return found[0]
    is_token = is_web and password in ("", "x-oauth-basic")
    return f"{scheme}{HIDDEN if is_token else f'{name}:{HIDDEN}'}@{host}"


_RULES: tuple[_Rule, ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    # A header's value is of one word or of many, and ends with the line or the quote that it stands in.
    (re.compile(rf"{_HEADER}{_KEEP}(?:digest\s[^\r\n]*+|[^\"'\r\n]++)"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)\b(bearer\s++){_KEEP}[A-Za-z0-9._~+/=-]{{8,}}+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(?<![a-z0-9+.-])([a-z0-9+.-]++://)([^\s/\"'<>]++)"), _url),
)
_OPTIONS: tuple[tuple[re.Pattern[str], _Rule], ...] = (
    (
        re.compile(r"(?<![\w.-])curl\s"),
        (re.compile(rf"{_CURL_USER}(?!//){_KEEP}{_VALUE}"), rf"\1{HIDDEN}"),
    ),
    (
        re.compile(r"(?<![\w.-])sshpass\s"),
        (re.compile(rf"(sshpass\s++(?:-v\s++)?-p\s*+){_KEEP}{_VALUE}"), rf"\1{HIDDEN}"),
    ),
    (re.compile(r"(?<![\w.-])ipmitool\s"), (re.compile(rf"(?<!\S)(-P\s*+){_KEEP}{_VALUE}"), rf"\1{HIDDEN}")),
    (re.compile(rf"(?<![\w.-]){_LOGIN}"), (re.compile(rf"(?<!\S)(-p\s++){_KEEP}{_VALUE}"), rf"\1{HIDDEN}")),
)
"""A program, and the option that gives it a password. The same letter means another thing to other programs."""
_FORMS: tuple[_Rule, ...] = (
    # What tells itself: keys of NGC, GitHub, GitLab, Hugging Face, OpenAI, Slack, AWS, web tokens, hashes of passwords.
    (re.compile(r"\b(?:nvapi-[\w-]{16,}|gh[oprsu]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,})"), HIDDEN),
    (re.compile(r"\bsk-[\w-]{20,}"), HIDDEN),
    (re.compile(r"\{SHA\}[A-Za-z0-9+/=]{8,}|\${1,2}(?:apr1|2[abxy]|[156y])\${1,2}[./A-Za-z0-9$]{8,}"), HIDDEN),
    (re.compile(r"\b(?:xox[abprs]-[\w-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16})\b"), HIDDEN),
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+"), HIDDEN),
)
_HINT = re.compile(
    r"(?i)pass|pwd|secret|token|key|credential|auth|bearer|://|curl|ipmitool|login"
    r"|nvapi-|gh[oprsu]_|github_pat_|glpat-|hf_|sk-|\{sha\}|\$|xox|akia|asia|eyj"
)
"""A part of whatever is looked for: most texts have none, and cost one search."""
UNCUT = 8 * NAME_LIMIT
"""A text is redacted before it is cut: half a secret looks like none."""


def names_secret(name: str) -> bool:
    """`name`, of an option, a variable, a key or a label, is that of a secret. Its end tells, however long it is."""
    end = name[-_NAME_END:]
    if _NAMES_SECRET.search(end) is not None:
        return True
    return _ENVIRONMENT_KEY.fullmatch(end) is not None and end.split("_")[-2] not in _OPEN_KEYS


def redact(text: str) -> str:
    """`text` without what looks like a secret; redacting twice changes nothing."""
    if _HINT.search(text) is None:
        return text
    text = _substituted(text, _RULES)
    text = _without_named(text)
    text = _substituted(text, [rule for program, rule in _OPTIONS if program.search(text)])
    return _substituted(text, _FORMS)


def _substituted(text: str, rules: Iterable[_Rule]) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def _without_named(text: str) -> str:
    """`text` without the values of what is named like a secret."""
    kept, reached = [], 0
    for found in _NAMED.finditer(text):
        is_value = found[2] is not None or found[1].startswith("-")
        if found.start() < reached or not is_value or not names_secret(found[1]):
            continue
        value = _HIDE.match(text, found.end())
        if value is not None:
            kept += [text[reached : value.start()], HIDDEN]
            reached = value.end()
    return "".join((*kept, text[reached:]))


@lru_cache(maxsize=16_384)
def shown(text: str, limit: int = NAME_LIMIT) -> str:
    """Foreign text as it may be shown: cleaned, redacted, at most `limit` characters. The same ones come often."""
    return clean(redact(clean(text, UNCUT)), limit)


def label_value(key: str, value: str) -> str:
    """The value of a label as it may be shown."""
    return HIDDEN if value and names_secret(key) else shown(value)


def redacted(value: Any) -> Any:
    """JSON values with every text redacted, and whole the values of keys that name a secret."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if isinstance(each, str) and each and names_secret(str(key)) else redacted(each)
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
