"""`make release`, `make release-check` and `make publish`: artifacts of one version, their verification and upload."""
