"""nginx alone before a directory of files: serve_nginx.py PORT FILES DIRECTORY WORKERS; its own go to DIRECTORY."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

CONFIGURATION = """
daemon off;
{user}
worker_processes {workers};
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{ worker_connections 16000; multi_accept on; }}
http {{
  types {{ text/css css; text/javascript js; }}
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 75s;
  keepalive_requests 100000000;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  scgi_temp_path {directory}/scgi;
  uwsgi_temp_path {directory}/uwsgi;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location /static/ {{ alias {files}/; }}
  }}
}}
"""


def main(port: str, files: str, directory: str, workers: str) -> None:
    """Become nginx."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
    configuration = Path(directory) / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(
        CONFIGURATION.format(port=port, files=files, directory=directory, workers=workers, user=user)
    )
    os.execv(nginx, [nginx, "-p", directory, "-c", str(configuration), "-e", f"{directory}/nginx.log"])  # noqa: S606 - it takes our place


if __name__ == "__main__":
    main(*sys.argv[1:])
