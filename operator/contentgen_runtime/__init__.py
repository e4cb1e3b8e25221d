"""What the operator's and the gateway's processes run on: the Kubernetes API, S3, MongoDB, logs and HTTP servers."""
