"""Node on this machine: kubelet, containerd, network, certificates and processes."""
