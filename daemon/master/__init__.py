"""The supervising process: asyncio, no application code."""
