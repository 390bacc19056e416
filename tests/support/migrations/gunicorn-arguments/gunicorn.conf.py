workers = 1
timeout = 10
