"""Node names: ranges like dgx[01-32], and the Host entries of an OpenSSH configuration."""

from __future__ import annotations

import fnmatch
import itertools
import re
import shlex
from pathlib import Path

from backends.contract import ConfigError

MOST_NAMES = 4096
_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_PART = re.compile(r"(\d+)(?:-(\d+))?")
_INCLUDE_DEPTH = 16


def expand_range(text: str) -> list[str]:
    """dgx[01-03,07]-gpu -> dgx01-gpu, dgx02-gpu, dgx03-gpu, dgx07-gpu; a name without brackets is itself.

    Zero padding follows the first number. Raises ConfigError for a range that is reversed, empty or too large.
    """
    pieces = _BRACKET.split(text)
    fixed, ranges = pieces[::2], pieces[1::2]
    if any(character in part for part in fixed for character in "[]"):
        raise ConfigError(f"{text!r} has an unmatched bracket", "write dgx[01-32]")
    choices = [_numbers(part, text) for part in ranges]
    count = 1
    for choice in choices:
        count *= len(choice)
    if count > MOST_NAMES:
        raise ConfigError(f"{text!r} stands for {count:,} nodes", f"at most {MOST_NAMES:,} are allowed")
    return [
        "".join(itertools.chain(*zip(fixed, combination, strict=False))) + fixed[-1]
        for combination in itertools.product(*choices)
    ]


def _numbers(part: str, text: str) -> list[str]:
    numbers: list[str] = []
    for item in part.split(","):
        match = _PART.fullmatch(item.strip())
        if match is None:
            raise ConfigError(f"{text!r}: {item!r} is no number and no range", "write dgx[01-32] or dgx[01,04]")
        low, high = match[1], match[2] or match[1]
        if int(high) < int(low):
            raise ConfigError(f"{text!r}: the range {item} runs backwards", f"write {high}-{low}")
        if int(high) - int(low) >= MOST_NAMES:
            raise ConfigError(f"{text!r}: the range {item} is too large", f"at most {MOST_NAMES:,} nodes are allowed")
        numbers += [str(number).zfill(len(low)) for number in range(int(low), int(high) + 1)]
    return numbers


def concrete_hosts(file: Path, depth: int = 0) -> list[str]:
    """The Host names without wildcards in an OpenSSH configuration and what it includes, in order, each once.

    A missing or unreadable file has none.
    """
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    hosts: list[str] = []
    for line in lines:
        words = _words(line)
        if len(words) < 2:
            continue
        keyword = words[0].lower()
        if keyword == "host":
            hosts += [word for word in words[1:] if not any(character in word for character in "*?!")]
        elif keyword == "include" and depth < _INCLUDE_DEPTH:
            for pattern in words[1:]:
                for included in _included(file, pattern):
                    hosts += concrete_hosts(included, depth + 1)
    return list(dict.fromkeys(hosts))


def matching(hosts: list[str], pattern: str) -> list[str]:
    """The hosts an ssh_config pattern (* and ?) matches; brackets are literal there."""
    literal = pattern.replace("[", "[[]")
    return [host for host in hosts if fnmatch.fnmatchcase(host, literal)]


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return []
    if words and "=" in words[0]:
        keyword, _, value = words[0].partition("=")
        words = [keyword, *([value] if value else []), *words[1:]]
    return words


def _included(file: Path, pattern: str) -> list[Path]:
    path = Path(pattern).expanduser()
    if not path.is_absolute():
        path = file.parent / path
    # Relative includes are relative to ~/.ssh for the user's own configuration, which is where that file lies.
    return sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []
