"""The epoll pool: see `loop`. It knows conversations, descriptors, threads and time; no HTTP."""
