"""NGINX Unit: its settings, its configuration."""
