"""From another server's configuration to ours: `miniwsgi import`, the hints of `serve`, the migration pages.

A server has a table of its settings (`gunicorn/`, `uwsgi/`, `unit/`: data, one row a setting), readers that find what
is
set and where, and, where settings only mean something together, a file that looks at them together. What all of them
fill is a `Draft`, which is written as commented TOML. Neither a worker nor the master imports any of this.
"""
