"""The keys that personal data is encrypted with, from the environment."""

from collections.abc import Mapping

from django.core.exceptions import ImproperlyConfigured


def encryption_keys(environment: Mapping[str, str]) -> list[str]:
    """Newest first: the first one writes, all of them read.

    There is no default on purpose. A site that made up a key would write rows which nobody
    can read after its next start.
    """
    several = environment.get("FIELD_ENCRYPTION_KEY", "").split(",")
    keys = [key.strip() for key in several if key.strip()]
    if not keys:
        keys = [key for key in [environment.get("MESSAGE_ENCRYPTION_KEY", "").strip()] if key]
    if not keys:
        raise ImproperlyConfigured(
            "MESSAGE_ENCRYPTION_KEY is not set, and personal data cannot be read without it. Set it to the key"
            " of this environment, or FIELD_ENCRYPTION_KEY to several, newest first, separated by commas."
        )
    return keys
