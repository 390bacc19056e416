"""Listening sockets, and systemd's store for them."""
