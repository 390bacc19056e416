"""The metrics port: metrics, health, the status page, and who may see them."""
