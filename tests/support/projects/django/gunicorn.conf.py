"""As it ran on the old server, behind nginx."""

import multiprocessing
import os

wsgi_app = "shop.wsgi:application"
bind = os.environ.get("SHOP_BIND", "127.0.0.1:8000")
workers = min(2, multiprocessing.cpu_count() + 1)
threads = 2
timeout = 30
graceful_timeout = 20
max_requests = 10000
accesslog = "access.log"
raw_env = ["DJANGO_SETTINGS_MODULE=shop.settings", "SHOP_MODE=live"]


def on_starting(server):
    from django.core.management import execute_from_command_line

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    execute_from_command_line(["manage.py", "migrate", "--verbosity", "0"])


def post_fork(server, worker):
    from shop import warehouse

    warehouse.open()


def worker_exit(server, worker):
    from shop import warehouse

    warehouse.close()


def pre_request(worker, req):
    worker.log.debug("%s %s", req.method, req.path)
