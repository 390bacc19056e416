"""The master's own small HTTP server, and what it serves as plain data."""
