"""Infrastructure of the operator and the gateway: Kubernetes API, S3, MongoDB, logs, metrics and HTTP servers."""
