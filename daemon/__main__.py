"""`python -m miniwsgi.daemon`: the same as the command `miniwsgi`."""

from .cli import main

if __name__ == "__main__":
    main()
