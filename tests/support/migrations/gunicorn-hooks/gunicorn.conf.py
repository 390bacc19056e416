import os

wsgi_app = "shop:create_app()"
workers = int(os.environ.get("WEB_CONCURRENCY", 2))


def on_starting(server):
    server.log.info("starting")


def when_ready(server):
    open("/tmp/app-initialized", "w").close()


def pre_fork(server, worker):
    pass


def post_worker_init(worker):
    pass


def worker_int(worker):
    import sys
    import traceback

    for stack in sys._current_frames().values():
        worker.log.debug("".join(traceback.format_stack(stack)))


def worker_abort(worker):
    worker.log.info("SIGABRT")


def pre_request(worker, req):
    worker.log.debug("%s %s", req.method, req.path)


def post_request(worker, req, environ, resp):
    pass


def child_exit(server, worker):
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def worker_exit(server, worker):
    pass


def on_exit(server):
    pass
