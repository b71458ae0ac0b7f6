import os

from config.base import *  # noqa: F403 - Django's way of layering settings
from config.keys import encryption_keys

# the name that the field package looks for
FIELD_ENCRYPTION_KEY = encryption_keys(os.environ)
