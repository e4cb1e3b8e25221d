"""Extraction and checks of all commands and manifests in the documentation; tests run them."""
