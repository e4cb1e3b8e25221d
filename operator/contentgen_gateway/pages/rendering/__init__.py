"""Rendering of pages: templates, forms, views and static files."""
