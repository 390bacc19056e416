"""The two text formats, read back by prometheus_client's own parsers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniwsgi.metrics.declared import DECLARED
from miniwsgi.metrics.exposition import Format, negotiate, render
from miniwsgi.metrics.families import Declaration, Family, Histogram, Sample
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PARSERS = {Format.TEXT: parse_text, Format.OPENMETRICS: parse_openmetrics}


def read_back(families: list[Family], format_: Format) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every series of a rendered text, as the format's parser understands it."""
    text = render(families, format_).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in PARSERS[format_](text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        (None, Format.TEXT),
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        (PROMETHEUS, Format.OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0", Format.OPENMETRICS),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", Format.TEXT),
        ("application/openmetrics-text;q=0, text/plain", Format.TEXT),
        ("application/openmetrics-text;q=0.2, text/plain;version=0.0.4;q=0.9", Format.TEXT),
        ("application/openmetrics-text;q=high", Format.TEXT),
        ("text/html, application/json", Format.TEXT),
    ],
)
def test_the_format_is_what_accept_prefers(accept: str | None, format_: Format) -> None:
    assert negotiate(accept) is format_


@pytest.mark.parametrize("format_", Format)
def test_counters_gauges_and_histograms_are_read_back(format_: Format) -> None:
    counter = Declaration("shop_orders_total", "counter", "Orders.", ("kind",))
    gauge = Declaration("shop_age_seconds", "gauge", 'A "quoted" \\ help\nof two lines.', unit="seconds")
    histogram = Declaration("shop_size_bytes", "histogram", "Sizes.", ("kind",), unit="bytes")
    families = [
        counter.by([("new", 3), ('o"d\\d\n', 4)]),
        gauge.single(0.25),
        histogram.by([("x", Histogram((0.5, 1.0), (2, 0, 5), 7.25))]),
    ]
    assert read_back(families, format_) == {
        ("shop_orders_total", (("kind", "new"),)): 3,
        ("shop_orders_total", (("kind", 'o"d\\d\n'),)): 4,
        ("shop_age_seconds", ()): 0.25,
        ("shop_size_bytes_bucket", (("kind", "x"), ("le", "0.5"))): 2,
        ("shop_size_bytes_bucket", (("kind", "x"), ("le", "1.0"))): 2,
        ("shop_size_bytes_bucket", (("kind", "x"), ("le", "+Inf"))): 7,
        ("shop_size_bytes_sum", (("kind", "x"),)): 7.25,
        ("shop_size_bytes_count", (("kind", "x"),)): 7,
    }


def test_more_text_comes_before_the_end_of_openmetrics() -> None:
    family = Declaration("a", "gauge", "A.").single(1)
    assert render([family], Format.OPENMETRICS, b"b 2\n").endswith(b"\na 1\nb 2\n# EOF\n")
    assert render([family], Format.TEXT, b"b 2\n").endswith(b"\na 1\nb 2\n")


@pytest.mark.parametrize("format_", Format)
@given(
    value=st.one_of(
        st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 1 << 53), st.sampled_from([0.1, 1e22, 1 / 3])
    ),
    label=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")),
)
def test_any_value_and_any_label_is_read_back(format_: Format, value: float, label: str) -> None:
    family = Family("some_gauge", "gauge", "G.", "", [Sample((("name", label),), value)])
    assert read_back([family], format_) == {("some_gauge", (("name", label),)): float(value)}


@pytest.mark.parametrize("declaration", DECLARED, ids=lambda declaration: declaration.name)
def test_declarations_follow_the_naming_rules(declaration: Declaration) -> None:
    name, stem = declaration.name, declaration.name.removesuffix("_total")
    assert (declaration.kind == "counter") == name.endswith("_total")
    assert not declaration.unit or stem.endswith(f"_{declaration.unit}")
    assert declaration.help.endswith(".")
    assert declaration.labels or declaration.series in {"1", "0 or 1"}
    assert name.startswith(("http_server_", "miniwsgi_", "process_"))


def test_no_name_is_declared_twice() -> None:
    names = [declaration.name for declaration in DECLARED]
    assert len(set(names)) == len(names)
