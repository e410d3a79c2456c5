"""The rules of HTTP caching as pure functions, without I/O.

Headers are ASGI raw headers with names in lower case. Times are milliseconds since 1970; lifetimes
and ages in header fields are whole seconds. Malformed input never raises: it is ignored where that
is harmless, and given its strictest meaning where it is not.
"""

from .cache_control import cache_control_to_send, cache_control_value, cdn_cache_control_value
from .conditional import caching_fields, conditional_message, conditions, unconditional
from .directives import IGNORED, RequestDirectives, request_directives, response_directives
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
from .reasons import Reason
from .representation import announced_length, is_event_stream
from .status import Forward, cache_status
from .storability import DEFAULT_STATUSES, body_refusal, storable_headers, storage_refusal
from .surrogates import surrogate_field
from .validators import Validators, etag_for, validators_of
from .vary import STAR, merged_vary, selecting_key, vary_names

__all__ = [
    "DEFAULT_STATUSES",
    "IGNORED",
    "SAFE_METHODS",
    "STALE_IF_ERROR_STATUSES",
    "STAR",
    "Forward",
    "Fresh",
    "Freshness",
    "Headers",
    "MustRevalidate",
    "Outcome",
    "Reason",
    "RequestDirectives",
    "Stale",
    "Validators",
    "age_seconds",
    "announced_length",
    "assess_freshness",
    "body_refusal",
    "cache_control_to_send",
    "cache_control_value",
    "cache_status",
    "caching_fields",
    "cdn_cache_control_value",
    "conditional_message",
    "conditions",
    "encoding_acceptable",
    "etag_for",
    "evaluate_preconditions",
    "freshness_lifetime_ms",
    "has_preconditions",
    "invalidation_targets",
    "is_event_stream",
    "jittered_ttl_ms",
    "lower_names",
    "merged_vary",
    "prior_age",
    "refresh_due_early",
    "request_directives",
    "response_directives",
    "selecting_key",
    "stale_forbidden",
    "storable_headers",
    "storage_refusal",
    "surrogate_field",
    "unconditional",
    "usable_on_error",
    "validators_of",
    "vary_names",
]
