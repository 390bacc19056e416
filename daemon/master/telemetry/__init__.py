"""What the daemon measures and where it is scraped."""
