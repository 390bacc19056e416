"""gunicorn's settings about logs and statistics."""

from __future__ import annotations

from typing import Any

from ..conversions import path_or_dash
from ..setting import Place, Takes, Unsuitable, built_in, left_out, like, same

LEVELS = {"critical": "error", "warn": "warning", "notset": "debug", "fatal": "error"}


def level(value: Any, _place: Place) -> str:
    word = str(value).lower()
    return LEVELS.get(word, word)


def access_log(value: Any, place: Place) -> str:
    return "off" if value in (None, "", False) else path_or_dash(value, place)


def access_format(value: Any, _place: Place) -> str:
    from ...log.access_format import compile_format

    try:
        compile_format(str(value))
    except ValueError as error:
        raise Unsuitable(f"{value!r}: {error}") from None
    return str(value)


JOURNAL = "Under systemd the journal has everything, with priorities, and passes it on to syslog (ForwardToSyslog=)."
PROMETHEUS = (
    "Metrics are served to Prometheus (metrics.bind), with histograms, for all workers; statsd can be had from there "
    "by Telegraf or the OpenTelemetry collector."
)
ITS_OWN = (
    "The application sets up its own logging (Django's LOGGING, logging.config.dictConfig in the module that is "
    "served); the server's is log.level, log.format and log.file."
)
LOGS = (
    same("accesslog", "log.access_log", access_log, "", "--access-logfile"),
    same(
        "access_log_format",
        "log.access_log_format",
        access_format,
        "The same atoms; or combined, common, json.",
        "--access-logformat",
    ),
    same("errorlog", "log.file", path_or_dash, "", "--error-logfile", "--log-file"),
    same("loglevel", "log.level", level, "", "--log-level"),
    built_in(
        "capture_output",
        "What the application prints is in the error log, with its level (log.application_level).",
        "--capture-output",
        takes=Takes.ON,
    ),
    left_out(
        "logger_class",
        'No code of the application runs in the master. log.format = "json" and log.access_log_format are what such '
        "classes mostly are for; log.access_skip leaves health checks out of the access log.",
        "--logger-class",
    ),
    left_out("logconfig", ITS_OWN, "--log-config"),
    left_out("logconfig_dict", ITS_OWN),
    left_out("logconfig_json", ITS_OWN, "--log-config-json"),
    built_in("enable_stdio_inheritance", "Always so.", "-R", "--enable-stdio-inheritance", takes=Takes.ON),
    left_out("syslog", JOURNAL, "--log-syslog", takes=Takes.ON),
    left_out("syslog_addr", JOURNAL, "--log-syslog-to"),
    left_out("syslog_prefix", JOURNAL, "--log-syslog-prefix"),
    left_out("syslog_facility", JOURNAL, "--log-syslog-facility"),
    left_out(
        "disable_redirect_access_to_syslog",
        JOURNAL,
        "--disable-redirect-access-to-syslog",
        takes=Takes.ON,
    ),
)

STATISTICS = (
    like("statsd_host", "metrics.bind", None, PROMETHEUS, "--statsd-host"),
    like("statsd_prefix", "", None, PROMETHEUS, "--statsd-prefix"),
    like(
        "dogstatsd_tags", "", None, "Labels are added by Prometheus, in its scrape configuration.", "--dogstatsd-tags"
    ),
    built_in(
        "enable_backlog_metric",
        "miniwsgi_listen_queue_length is among the metrics.",
        "--enable-backlog-metric",
        takes=Takes.ON,
    ),
)
