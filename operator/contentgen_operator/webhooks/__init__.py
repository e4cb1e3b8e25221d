"""Sending of notifications: signatures and their keys, addresses that are allowed, granted headers, one POST."""
