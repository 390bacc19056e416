"""The master as a process of the system: user, limits, files, service manager."""
