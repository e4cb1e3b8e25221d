"""Cleanup: what is deleted without a person: finished resources, their Jobs, temporary files (docs/decisions/0034).

`expiry` decides which finished resource is deleted, at the times that `expiry_times` collects from the watches;
`left_jobs` has the Jobs of ended runs looked at, `garbage_collector` deletes the files of deleted resources, and
`temporary_files` those that no run needs after a day.
"""
