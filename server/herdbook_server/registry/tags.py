"""Changes of tags, for models and versions alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from herdbook_server.errors import FieldInvalid
from herdbook_server.registry import rules

TAG_CHANGES_MAX = 2 * rules.TAGS_MAX
"""Tags that one call deletes at most."""


def check_tag_changes(set_tags: Mapping[str, str], delete_tags: Sequence[str]) -> None:
    """Tags to set and keys to delete, each key once. Raises FieldInvalid."""
    rules.check_tags(set_tags, field="set_tags")
    rules.check_count(delete_tags, field="delete_tags", limit=TAG_CHANGES_MAX)
    rules.check_keys(delete_tags, field="delete_tags")
    both = sorted(set(set_tags) & set(delete_tags))
    if both:
        raise rules.refuse(
            FieldInvalid, "delete_tags", f"{both[0]} is to be set and to be deleted at once."
        )


def changed_tags(
    tags: Mapping[str, str], *, set_tags: Mapping[str, str], delete_tags: Sequence[str]
) -> dict[str, str]:
    """The tags after the change. Raises FieldInvalid if there are too many."""
    changed = {key: value for key, value in tags.items() if key not in delete_tags}
    changed.update(set_tags)
    rules.check_count(changed, field="set_tags", limit=rules.TAGS_MAX)
    return changed
