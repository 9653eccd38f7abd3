"""What Slack's errors mean, in one table. Pure.

meaning("channel_not_found")  ->  Meaning.DESTINATION

An error that is not listed is ambiguous: something may have been posted, so the channel is looked into.
"""

from __future__ import annotations

import enum
import re
from typing import Final


class Meaning(enum.Enum):
    """What to do about an error."""

    AMBIGUOUS = "ambiguous"
    """It may have been posted: look."""
    RATE = "rate"
    """Too often: wait, look, then post."""
    AUTH = "auth"
    """Nobody is let in; a person has to mend it."""
    DESTINATION = "destination"
    """This channel takes nothing from us; another does."""
    CONTENT = "content"
    """The blocks or the text; something simpler is sent."""
    GONE = "gone"
    """The message that was to be edited or replied to is not there, or not ours."""


MEANINGS: Final[dict[str, Meaning]] = {
    **dict.fromkeys(("ratelimited", "rate_limited", "message_limit_exceeded"), Meaning.RATE),
    **dict.fromkeys(
        (
            "invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "missing_scope",
            "no_permission", "org_login_required", "ekm_access_denied", "not_allowed_token_type", "access_denied",
            "two_factor_setup_required", "team_access_not_granted",
        ),
        Meaning.AUTH,
    ),
    **dict.fromkeys(
        (
            "channel_not_found", "not_in_channel", "is_archived", "restricted_action",
            "restricted_action_read_only_channel", "restricted_action_thread_only_channel",
            "restricted_action_non_threadable_channel", "restricted_action_thread_locked", "channel_type_not_supported",
            "cannot_reply_to_message", "slack_connect_file_link_sharing_blocked", "team_not_found",
        ),
        Meaning.DESTINATION,
    ),
    **dict.fromkeys(
        (
            "invalid_blocks", "invalid_blocks_format", "msg_too_long", "msg_blocks_too_long", "too_many_attachments",
            "no_text", "invalid_metadata_format", "invalid_metadata_schema", "metadata_must_be_sent_from_app",
            "metadata_too_large", "invalid_arguments", "invalid_array_arg", "block_mismatch", "blocked_file_type",
        ),
        Meaning.CONTENT,
    ),
    **dict.fromkeys(
        ("message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found", "is_inactive"),
        Meaning.GONE,
    ),
    **dict.fromkeys(
        (
            "internal_error", "fatal_error", "request_timeout", "service_unavailable", "team_added_to_org",
            "duplicate_message_not_found", "duplicate_channel_not_found",
        ),
        Meaning.AMBIGUOUS,
    ),
}  # fmt: skip
"""Documented error -> meaning."""

_CODE: Final = re.compile(r"[a-z0-9_]{1,80}")
_POINTER: Final = re.compile(r"/blocks/(\d{1,3})(?:/|\b)")


def meaning(error: str) -> Meaning:
    """What an error means; what is not listed is ambiguous."""
    return MEANINGS.get(error, Meaning.AMBIGUOUS)


def error_code(value: object) -> str:
    """An error as it may be shown: a word of the service, or that it was none."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else "unreadable answer"


def named_block(messages: object) -> int | None:
    """Index of the block that `response_metadata.messages` points at; None: none, or none that can be read."""
    for text in messages if isinstance(messages, list) else ():
        found = _POINTER.search(text) if isinstance(text, str) else None
        if found is not None:
            return int(found[1])
    return None
