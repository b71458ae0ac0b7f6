from config.base import *  # noqa: F403 - Django's way of layering settings
