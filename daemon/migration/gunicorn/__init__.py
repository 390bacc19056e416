"""gunicorn: all of its settings, its configuration file, its command line."""
