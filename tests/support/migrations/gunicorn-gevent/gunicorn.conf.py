worker_class = "gevent"
worker_connections = 1000
workers = 2
timeout = 0
preload_app = True
wsgi_app = "shop:app"


def post_fork(server, worker):
    from psycogreen.gevent import patch_psycopg

    patch_psycopg()
