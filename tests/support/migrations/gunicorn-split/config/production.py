from config.base import *

forwarded_allow_ips = "*"
secure_scheme_headers = {"X-FORWARDED-SSL": "on"}
limit_request_line = 8190
limit_request_field_size = 16384
backlog = 1024
