"""Values as text. Units are named once, in the column's title or beside the label; None is always `n/a`."""

from __future__ import annotations

from datetime import datetime

from tui.widgets.glyphs import NOT_MEASURED

GIB = 1024**3
DAY_SECONDS = 86400.0


def number(value: float | None, digits: int = 0) -> str:
    """`value` with a fixed count of decimals."""
    return NOT_MEASURED if value is None else f"{value:.{digits}f}"


def gib(count: int | None) -> str:
    """Bytes as GiB with one decimal, without the unit."""
    return NOT_MEASURED if count is None else f"{count / GIB:.1f}"


def pair(left: str, right: str) -> str:
    """`left/right`; n/a stands once when neither was measured."""
    return NOT_MEASURED if left == right == NOT_MEASURED else f"{left}/{right}"


def gib_pair(used: int | None, total: int | None) -> str:
    """Used and total bytes in GiB. The total is padded, so that the slashes of a right-aligned column stay in line."""
    if used is None and total is None:
        return NOT_MEASURED
    return f"{gib(used)}/{gib(total):>5}"


def watts_pair(draw: float | None, limit: float | None) -> str:
    if draw is None and limit is None:
        return NOT_MEASURED
    return f"{number(draw)}/{number(limit):>4}"


def count(value: int | None) -> str:
    """A counter in at most four characters: 9999, 12k, 3M, 7G."""
    if value is None:
        return NOT_MEASURED
    if value < 10_000:
        return str(value)
    for divisor, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= divisor:
            return f"{min(value // divisor, 999)}{suffix}"
    return str(value)


def yes_no(value: bool | None, yes: str = "yes", no: str = "no") -> str:
    return NOT_MEASURED if value is None else (yes if value else no)


def age(seconds: float | None) -> str:
    """`3 s`, `2 m`, `1 h 04 m`, `3 d 04 h`."""
    if seconds is None:
        return NOT_MEASURED
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} m"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def coarse_age(seconds: float | None) -> str:
    """`age` in steps of ten seconds below a minute: a figure on a screen that must not repaint each second."""
    if seconds is not None and seconds < 60:
        return f"{int(max(0.0, seconds) // 10) * 10} s" if seconds >= 10 else "<10 s"
    return age(seconds)


def ago(seconds: float) -> str:
    """Whole minutes, which a still screen repaints once a minute: `3 min ago`, `1 h 04 min ago`, `2 days ago`."""
    minutes = int(max(0.0, seconds) // 60)
    if minutes < 1:
        return "less than 1 min ago"
    if minutes < 60:
        return f"{minutes} min ago"
    hours, days = divmod(minutes, 60), minutes // (24 * 60)
    return f"{hours[0]} h {hours[1]:02d} min ago" if days < 2 else f"{days} days ago"


def times(count: int) -> str:
    """`second time`, `third time`, `4th time`, `21st time`."""
    ending = "th" if 10 < count % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(count % 10, "th")
    return f"{ ({2: 'second', 3: 'third'}.get(count) or f'{count}{ending}') } time"


def clock_time(at: float | None, now: float, seconds: bool = False) -> str:
    """Local `HH:MM`, or `HH:MM:SS`; of a time more than a day from `now` the date, `MM-DD` or `MM-DD HH:MM`."""
    if at is None:
        return NOT_MEASURED
    far = abs(now - at) >= DAY_SECONDS
    shape = ("%m-%d %H:%M" if seconds else "%m-%d") if far else ("%H:%M:%S" if seconds else "%H:%M")
    try:
        return datetime.fromtimestamp(at).astimezone().strftime(shape)
    except (ValueError, OverflowError, OSError):
        return NOT_MEASURED


def moment(at: float | None) -> str:
    """Local date and time of seconds since the epoch; n/a for a time no calendar has."""
    if at is None:
        return NOT_MEASURED
    try:
        return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return NOT_MEASURED


def model(name: str | None) -> str:
    """A board's name without the vendor, which says nothing here."""
    return NOT_MEASURED if name is None else name.removeprefix("NVIDIA ")
