"""HTTP dates in the three formats that recipients must accept (RFC 9110 section 5.6.7)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Final

_MONTHS: Final = tuple(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())
_MONTH = rb"(?P<month>" + b"|".join(_MONTHS) + rb")"
_TIME = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_SHORT_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = rb"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"

_FORMATS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        _SHORT_DAY
        + rb", (?P<day>[0-9]{2}) "
        + _MONTH
        + rb" (?P<year>[0-9]{4}) "
        + _TIME
        + rb" GMT",
        _LONG_DAY + rb", (?P<day>[0-9]{2})-" + _MONTH + rb"-(?P<year>[0-9]{2}) " + _TIME + rb" GMT",
        _SHORT_DAY + b" " + _MONTH + rb" (?P<day>[ 0-9][0-9]) " + _TIME + rb" (?P<year>[0-9]{4})",
    )
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_PIVOT_YEARS: Final = 50
_LEAP_SECOND: Final = 60


def http_date_ms(value: bytes, *, now_ms: int) -> int | None:
    """Return an HTTP-date in milliseconds since 1970, or None if the value is malformed.

    `now_ms` determines the century of a two-digit year: never more than fifty years ahead.
    """
    for pattern in _FORMATS:
        if match := pattern.fullmatch(value):
            return _milliseconds(match, now_ms)
    return None


def _milliseconds(match: re.Match[bytes], now_ms: int) -> int | None:
    second = int(match["second"])
    if second > _LEAP_SECOND:
        return None
    try:
        minute = datetime(
            _year(match["year"], now_ms),
            _MONTHS.index(match["month"]) + 1,
            int(match["day"]),
            int(match["hour"]),
            int(match["minute"]),
            tzinfo=timezone.utc,
        )
    except ValueError:
        return None
    return (minute - _EPOCH) // timedelta(milliseconds=1) + second * 1000


def _year(digits: bytes, now_ms: int) -> int:
    if len(digits) == 4:
        return int(digits)
    this_year = (_EPOCH + timedelta(milliseconds=now_ms)).year
    year = this_year - this_year % 100 + 100 + int(digits)
    while year > this_year + _PIVOT_YEARS:
        year -= 100
    return year
