"""What became of the hooks in gunicorn.conf.py: written by hand, by what `miniwsgi import` said of them."""

from shop import warehouse


def worker_start(worker):
    warehouse.open()


def worker_stop(worker, reason):
    warehouse.close()
