"""miniwsgi: what runs — the daemon, its master, launchers and workers."""

__version__ = "0.1.0"
