"""`python -m miniwsgi.manager.client`."""

from .cli import main

main()
