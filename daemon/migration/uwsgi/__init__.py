"""uWSGI: its usual options, its configuration files, its command line."""
