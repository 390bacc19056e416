"""gunicorn's settings about requests: limits, proxies, HTTP's oddities, HTTP/2, TLS."""

from __future__ import annotations

from ..conversions import whole
from ..setting import Place, Takes, built_in, left_out, like, nothing, same

LARGEST_LINE = 1 << 20  # what limits.request_line and limits.field_size allow at most
MOST_FIELDS = 10_000


def line_limit(value: object, place: Place) -> int:
    """gunicorn's 0 is "no limit"."""
    return whole(value, place) or LARGEST_LINE


def fields_limit(value: object, place: Place) -> int:
    return min(whole(value, place), MOST_FIELDS)


LIMITS = (
    same("limit_request_line", "limits.request_line", line_limit, "", "--limit-request-line"),
    same("limit_request_fields", "limits.fields", fields_limit, "", "--limit-request-fields"),
    same(
        "limit_request_field_size",
        "limits.field_size",
        line_limit,
        "All fields together: limits.fields_size.",
        "--limit-request-field_size",
    ),
)

PROXIES = (
    like(
        "forwarded_allow_ips",
        "proxy.trusted",
        None,
        "Whose X-Forwarded-For and X-Forwarded-Proto count: here they become REMOTE_ADDR, too. gunicorn trusts "
        "loopback and every Unix socket by default, miniwsgi nobody.",
        "--forwarded-allow-ips",
    ),
    like(
        "secure_scheme_headers",
        "proxy.scheme_field",
        None,
        "One field of a trusted proxy makes wsgi.url_scheme, by default X-Forwarded-Proto; its values are http and "
        "https, or on and off.",
    ),
    like(
        "forwarder_headers",
        "proxy.prefix_field",
        None,
        "SCRIPT_NAME from a trusted proxy is proxy.prefix_field; a fixed one is server.script_name. REMOTE_USER and "
        "the like are read from HTTP_… by the application, if the proxy sets them.",
        "--forwarder-headers",
    ),
    like(
        "proxy_protocol",
        "server.bind",
        None,
        "proxy_protocol = true of an entry, both versions; there each connection has to begin with the header.",
        "--proxy-protocol",
    ),
    like("proxy_allow_ips", "proxy.trusted", None, "Who may send that header, and nobody else.", "--proxy-allow-from"),
    like("protocol", "server.bind", None, '"uwsgi:ADDRESS" for what nginx speaks by uwsgi_pass.', "--protocol"),
    like(
        "uwsgi_allow_ips",
        "proxy.trusted",
        None,
        "Who may speak uwsgi on a TCP address; on a Unix socket whoever may open it.",
        "--uwsgi-allow-from",
    ),
)

HTTP = (
    left_out(
        "permit_obsolete_folding", "Refused (400), as RFC 9112 has it.", "--permit-obsolete-folding", takes=Takes.ON
    ),
    left_out(
        "strip_header_spaces", "Refused (400): they serve request smuggling.", "--strip-header-spaces", takes=Takes.ON
    ),
    built_in(
        "permit_unconventional_http_method",
        "Every method that is a token is passed to the application.",
        "--permit-unconventional-http-method",
        takes=Takes.ON,
    ),
    left_out(
        "permit_unconventional_http_version",
        "Refused (505).",
        "--permit-unconventional-http-version",
        takes=Takes.ON,
    ),
    left_out(
        "casefold_http_method", "Methods are case-sensitive (RFC 9110).", "--casefold-http-method", takes=Takes.ON
    ),
    left_out(
        "header_map",
        "Fields with an underscore in their name, which would pass for others in the environ, are never mapped.",
        "--header-map",
    ),
)

AT_THE_PROXY = "HTTP/2 to clients is spoken by the proxy in front; between it and the daemon is HTTP/1.1."
HTTP2 = (
    nothing("http_protocols", AT_THE_PROXY, "--http-protocols"),
    nothing("http2_cleartext", AT_THE_PROXY, "--http2-cleartext"),
    nothing("http2_max_concurrent_streams", AT_THE_PROXY, "--http2-max-concurrent-streams"),
    nothing("http2_initial_window_size", AT_THE_PROXY, "--http2-initial-window-size"),
    nothing("http2_max_frame_size", AT_THE_PROXY, "--http2-max-frame-size"),
    nothing("http2_max_header_list_size", AT_THE_PROXY, "--http2-max-header-list-size"),
)

TLS = (
    like("certfile", "server.bind", None, "`certificate` of an entry, which is a table then (tls.md).", "--certfile"),
    like("keyfile", "server.bind", None, "`key` of an entry.", "--keyfile"),
    like("ca_certs", "server.bind", None, "`client_ca` of an entry.", "--ca-certs"),
    like("cert_reqs", "server.bind", None, "`client` of an entry: none, optional or required.", "--cert-reqs"),
    like("ciphers", "server.bind", None, "`ciphers` of an entry. By default Mozilla's intermediate ones.", "--ciphers"),
    built_in(
        "ssl_version", "TLS 1.2 and 1.3 are spoken; `tls_minimum` of an entry asks for 1.3 alone.", "--ssl-version"
    ),
    built_in(
        "suppress_ragged_eofs",
        "A client that ends without saying so has only ended.",
        "--suppress-ragged-eofs",
        takes=Takes.ON,
    ),
    built_in(
        "do_handshake_on_connect",
        "Handshakes hold no worker, and have their time (timeouts.handshake).",
        "--do-handshake-on-connect",
        takes=Takes.ON,
    ),
    like(
        "ssl_context",
        "server.bind",
        None,
        "Several certificates, `client_ca`, `tls_minimum` and `ciphers` of an entry say what such functions are for.",
    ),
)
