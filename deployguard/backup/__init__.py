"""Backups that count only once they have been restored and compared."""
