"""Logs: the error log, the access log, and writers that neither block nor lose a line unsaid. Standard library only."""
