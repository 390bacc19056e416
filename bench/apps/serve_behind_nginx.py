"""nginx before uWSGI, as one tree of processes: serve_behind_nginx.py PORT SOCKET DIRECTORY WORKERS COMMAND…

COMMAND starts uWSGI on SOCKET; nginx's configuration and logs go to DIRECTORY. Ends with either of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
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
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 75s;
  keepalive_requests 100000000;
  client_max_body_size 100m;
  client_body_buffer_size 2m;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  scgi_temp_path {directory}/scgi;
  uwsgi_temp_path {directory}/uwsgi;
  upstream application {{ server unix:{socket}; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      uwsgi_pass application;
      uwsgi_param QUERY_STRING $query_string;
      uwsgi_param REQUEST_METHOD $request_method;
      uwsgi_param CONTENT_TYPE $content_type;
      uwsgi_param CONTENT_LENGTH $content_length;
      uwsgi_param REQUEST_URI $request_uri;
      uwsgi_param PATH_INFO $document_uri;
      uwsgi_param SERVER_PROTOCOL $server_protocol;
      uwsgi_param REMOTE_ADDR $remote_addr;
      uwsgi_param REMOTE_PORT $remote_port;
      uwsgi_param SERVER_PORT $server_port;
      uwsgi_param SERVER_NAME $server_name;
    }}
  }}
}}
"""


def main(port: str, socket: str, directory: str, workers: str, *command: str) -> None:
    """Serve until ended."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "nginx"
    configuration = Path(directory) / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(
        CONFIGURATION.format(port=port, socket=socket, directory=directory, workers=workers, user=user)
    )
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    children = [subprocess.Popen(command)]
    try:
        children.append(
            subprocess.Popen([nginx, "-p", directory, "-c", str(configuration), "-e", f"{directory}/nginx.log"])
        )
        os.wait()
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
