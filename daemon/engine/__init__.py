"""One client's conversation with the application: HTTP, PEP 3333, counters. See `contract`. Standard library only."""
