"""Kubernetes API server in one process: what the operator, the gateway, the plugin and kubectl use in `contentgen try`.

Not a cluster: no scheduler, no kubelet, no admission webhooks, no RBAC objects. One user, on the loopback interface.
"""
