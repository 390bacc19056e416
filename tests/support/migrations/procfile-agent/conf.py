threads = 6
worker_class = 'gthread'
workers = 1
