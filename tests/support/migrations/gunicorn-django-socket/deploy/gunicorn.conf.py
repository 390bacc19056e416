"""Behind nginx, run by systemd."""

bind = "unix:run/shop.sock"
workers = 2
umask = 0o007
pidfile = "run/shop.pid"
max_requests = 1000
max_requests_jitter = 50
capture_output = True
proc_name = "shop"
raw_env = ["DJANGO_SETTINGS_MODULE=shop.settings", "SCRIPT_NAME=/shop"]
forwarded_allow_ips = "127.0.0.1"
