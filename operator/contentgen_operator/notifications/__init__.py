"""Notifications: webhooks for the ends and waits of runs, each event once (decision 0035, an outbox).

In the order of an event: `events` finds it in a new status, `outbox` stores it before the status is written and
releases it afterwards, `notifier` sends it with `signing`, `key_secret`, `guarded_post` and `granted_headers`.
"""
