"""The rules of HTTP caching without I/O: values in, typed outcomes out.

Headers are ASGI raw headers, names in lower case. Times are milliseconds since the epoch, lifetimes
and ages in header fields whole seconds. Malformed input never raises; it is ignored where that is
harmless and read strictly where it is not.
"""

from .answers import answer, caching_fields, conditions, unconditional
from .cache_control import (
    cache_control_to_send,
    cache_control_value,
    cdn_cache_control_value,
)
from .dates import http_date_ms
from .directives import (
    DELTA_SECONDS_MAX,
    IGNORED,
    RequestDirectives,
    ResponseDirectives,
    request_directives,
    response_directives,
)
from .encoding import encoding_acceptable
from .fields import Headers, lower_names
from .freshness import (
    STALE_IF_ERROR_STATUSES,
    Fresh,
    Freshness,
    MustRevalidate,
    Stale,
    age_seconds,
    assess_freshness,
    freshness_lifetime_ms,
    jittered_ttl_ms,
    prior_age,
    refresh_due_early,
    stale_forbidden,
    usable_on_error,
)
from .invalidation import SAFE_METHODS, invalidation_targets
from .preconditions import Outcome, evaluate_preconditions, has_preconditions
from .ranges import (
    MAX_RANGES,
    ByteRange,
    Message,
    Multiple,
    RangeChoice,
    Single,
    Unsatisfiable,
    Whole,
    range_message,
    select_ranges,
)
from .reasons import Reason
from .representation import (
    announced_length,
    failure_headers,
    is_event_stream,
    not_modified_headers,
)
from .status import Forward, cache_status
from .storing import (
    DEFAULT_STATUSES,
    body_refusal,
    header_block_size,
    storable_headers,
    storage_refusal,
)
from .surrogates import surrogate_field
from .validators import (
    EntityTag,
    Validators,
    etag_for,
    parse_etag,
    validators_of,
)
from .vary import (
    STAR,
    VaryNames,
    merged_vary,
    selecting_key,
    selecting_values,
    vary_names,
)

__all__ = [
    "DEFAULT_STATUSES",
    "DELTA_SECONDS_MAX",
    "IGNORED",
    "MAX_RANGES",
    "SAFE_METHODS",
    "STALE_IF_ERROR_STATUSES",
    "STAR",
    "ByteRange",
    "EntityTag",
    "Forward",
    "Fresh",
    "Freshness",
    "Headers",
    "Message",
    "Multiple",
    "MustRevalidate",
    "Outcome",
    "RangeChoice",
    "Reason",
    "RequestDirectives",
    "ResponseDirectives",
    "Single",
    "Stale",
    "Unsatisfiable",
    "Validators",
    "VaryNames",
    "Whole",
    "age_seconds",
    "announced_length",
    "answer",
    "assess_freshness",
    "body_refusal",
    "cache_control_to_send",
    "cache_control_value",
    "cache_status",
    "caching_fields",
    "cdn_cache_control_value",
    "conditions",
    "encoding_acceptable",
    "etag_for",
    "evaluate_preconditions",
    "failure_headers",
    "freshness_lifetime_ms",
    "has_preconditions",
    "header_block_size",
    "http_date_ms",
    "invalidation_targets",
    "is_event_stream",
    "jittered_ttl_ms",
    "lower_names",
    "merged_vary",
    "not_modified_headers",
    "parse_etag",
    "prior_age",
    "range_message",
    "refresh_due_early",
    "request_directives",
    "response_directives",
    "select_ranges",
    "selecting_key",
    "selecting_values",
    "stale_forbidden",
    "storable_headers",
    "storage_refusal",
    "surrogate_field",
    "unconditional",
    "usable_on_error",
    "validators_of",
    "vary_names",
]
