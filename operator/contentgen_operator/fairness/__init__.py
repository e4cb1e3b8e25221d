"""Work queue, and fair shares of queue and threads between namespaces."""
