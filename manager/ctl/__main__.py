"""`python -m miniwsgi.manager.ctl`."""

from .cli import main

main()
