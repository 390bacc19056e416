import multiprocessing
import os

bind = "0.0.0.0:" + os.environ.get("PORT", "8000")
workers = min(3, multiprocessing.cpu_count() * 2 + 1)
threads = 2
timeout = 120
accesslog = "-"
errorlog = "-"
wsgi_app = "shop.wsgi"
