from pathlib import Path

here = Path(__file__).parent
logconfig_dict = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"level": "INFO", "handlers": ["console"]},
}
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(D)s %({x-request-id}i)s'
accesslog = here / "access.log"
errorlog = str(here / "error.log")
loglevel = "warning"
statsd_host = "localhost:8125"
statsd_prefix = "shop"
syslog = False
wsgi_app = "shop:app"
