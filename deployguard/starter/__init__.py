"""A first runbook for a project, from what is found in it."""
