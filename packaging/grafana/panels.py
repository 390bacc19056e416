"""How a panel, a query and a dashboard of miniwsgi look: every panel has a unit, a description and thresholds.

Expressions are made from families' names by `of`, `rate` and `summed`, so that all of them heed the dashboard's
variables. Nothing but the families that miniwsgi exposes is asked for: the dashboards work without recording rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
CHOSEN = ('job=~"$job"', 'instance=~"$instance"')
REQUESTS = "http_server_request_duration_seconds_count"
BUCKETS = "http_server_request_duration_seconds_bucket"

GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "gray"
FULL_WIDTH = 24

AnyPanel = Any  # each kind of panel has a builder of its own, without a common base
Limits = tuple[float, float]  # from here on it deserves a look, from here on it is bad


@dataclass(frozen=True, slots=True)
class Query:
    """An expression and what its series are called."""

    expr: str
    legend: str = "{{instance}}"
    instant: bool = False
    format: PromQueryFormat = PromQueryFormat.TIME_SERIES


# --- expressions ------------------------------------------------------------------------------------------------------


def of(family: str, *matchers: str) -> str:
    """The series of a family that belong to the chosen jobs and instances."""
    return f"{family}{{{', '.join((*CHOSEN, *matchers))}}}"


def rate(family: str, *matchers: str) -> str:
    """How fast a counter grows in a second."""
    return f"rate({of(family, *matchers)}[$__rate_interval])"


def summed(inner: str, by: str = "") -> str:
    """The sum over all labels but those."""
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


def quantile(q: float, family: str, *matchers: str, by: str = "") -> str:
    """A quantile of a histogram, interpolated within its buckets."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q:g}, {summed(rate(f'{family}_bucket', *matchers), labels)})"


def quantiles(family: str) -> list[Query]:
    """The three that are drawn together."""
    return [Query(quantile(q, family), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)]


# --- panels -----------------------------------------------------------------------------------------------------------


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    limits: Limits | None = None,
    stacked: bool = False,
    bars: bool = False,
    top: float | None = None,
    bottom: float | None = 0,
    width: int = 12,
    height: int = 8,
) -> AnyPanel:
    """Lines (or bars) over time. `limits` are drawn as dashed lines, `top` and `bottom` are the axis' ends."""
    panel = timeseries.Panel().tooltip(
        common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING)
    )
    panel.legend(
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.TABLE)
        .placement(shapes.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["mean", "max", "lastNotNull"])
    )
    panel.show_points(shapes.VisibilityMode.NEVER).line_width(1).fill_opacity(60 if stacked or bars else 8)
    panel.draw_style(shapes.GraphDrawStyle.BARS if bars else shapes.GraphDrawStyle.LINE)
    if stacked:
        panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    style = shapes.GraphThresholdsStyleMode.DASHED if limits else shapes.GraphThresholdsStyleMode.OFF
    panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
    if top is not None:
        panel.max(top)
    if bottom is not None:
        panel.min(bottom)
    return _finished(panel, title, description, unit, queries, limits, width, height)


def number(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    limits: Limits | None = None,
    names: dict[int, tuple[str, str]] | None = None,
    is_text: bool = False,
    width: int = 4,
    height: int = 4,
) -> AnyPanel:
    """One number now, on its recent course. `names` are texts and colours for values; `is_text` shows the legend."""
    panel = stat.Panel().graph_mode(
        shapes.BigValueGraphMode.NONE if names or is_text else shapes.BigValueGraphMode.AREA
    )
    panel.color_mode(shapes.BigValueColorMode.VALUE)
    panel.text_mode(shapes.BigValueTextMode.NAME if is_text else shapes.BigValueTextMode.AUTO)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if names:
        panel.mappings([_mapping(names)])
    return _finished(panel, title, description, unit, [query], limits, width, height)


def timeline(
    title: str, description: str, names: dict[int, tuple[str, str]], query: Query, *, height: int = 8
) -> AnyPanel:
    """One row for each series, coloured by state."""
    panel = statetimeline.Panel().merge_values(True).show_value(shapes.VisibilityMode.NEVER).row_height(0.85)
    panel.legend(
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.LIST)
        .placement(shapes.LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    panel.mappings([_mapping(names)])
    return _finished(panel, title, description, "none", [query], None, FULL_WIDTH, height)


def heat(title: str, description: str, family: str, *, width: int = 12, height: int = 8) -> AnyPanel:
    """A histogram over time."""
    panel = heatmap.Panel().calculate(False).cell_gap(1).show_legend().show_y_histogram()
    panel.color(
        heatmap.HeatmapColorOptions()
        .mode(HeatmapColorMode.SCHEME)
        .scheme("Oranges")
        .fill("dark-orange")
        .exponent(0.5)
        .steps(64)
    )
    panel.y_axis(heatmap.YAxisConfig().unit("s").axis_placement(shapes.AxisPlacement.LEFT))
    panel.cell_values(heatmap.CellValues().unit("short").decimals(0))
    expr = summed(f"increase({of(f'{family}_bucket')}[$__rate_interval])", "le")
    query = Query(expr, "{{le}}", format=PromQueryFormat.HEATMAP)
    return _finished(panel, title, description, "s", [query], None, width, height)


def gauges(
    title: str,
    description: str,
    unit: str,
    query: Query,
    *,
    limits: Limits | None = None,
    width: int = 12,
    height: int = 8,
) -> AnyPanel:
    """A bar for each series, now."""
    panel = bargauge.Panel().orientation(shapes.VizOrientation.HORIZONTAL)
    panel.display_mode(shapes.BarGaugeDisplayMode.BASIC)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"])).min(0)
    return _finished(panel, title, description, unit, [query], limits, width, height)


def columns(
    title: str,
    description: str,
    names: Sequence[tuple[str, str]],
    queries: Sequence[Query],
    order: Sequence[str],
    *,
    height: int = 8,
) -> AnyPanel:
    """A table: a column for each query, with (name, unit), a row for each set of labels; `order` of the labels."""
    panel = table.Panel().show_header(True)
    panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    letters = [f"Value #{_ref(number)}" for number in range(len(queries))]
    panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {name: at for at, name in enumerate([*order, *letters])},
                "renameByName": {letter: name for letter, (name, _) in zip(letters, names, strict=True)},
            },
        )
    )
    for name, unit in names:
        panel.override_by_name(name, [models.DynamicConfigValue(id_val="unit", value=unit)])
    return _finished(panel, title, description, "short", queries, None, FULL_WIDTH, height)


def _finished(
    panel: AnyPanel,
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    limits: Limits | None,
    width: int,
    height: int,
) -> AnyPanel:
    panel.title(title).description(description).unit(unit).datasource(SOURCE).span(width).height(height)
    steps = [models.Threshold(None, GREEN)]
    if limits:
        steps += [models.Threshold(limits[0], YELLOW), models.Threshold(limits[1], RED)]
    panel.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    for number, query in enumerate(queries):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(_ref(number))
        target.format(query.format)
        panel.with_target(target.instant() if query.instant else target.range())
    return panel


def _mapping(names: dict[int, tuple[str, str]]) -> models.ValueMap:
    found = {
        str(value): models.ValueMappingResult(text=text, color=color, index=at)
        for at, (value, (text, color)) in enumerate(names.items())
    }
    return models.ValueMap(options=found)


def _ref(number: int) -> str:
    return chr(ord("A") + number)


# --- dashboards -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """An annotation: a line through all graphs. With `is_time`, the value is the Unix time in ms where it belongs."""

    name: str
    expr: str
    color: str
    text: str
    is_time: bool = False


def board(uid: str, title: str, description: str, rows: dict[str, list[AnyPanel]], marks: Sequence[Mark]) -> Any:
    """A dashboard with the variables that all have, links to the others, and rows of panels; as JSON's types."""
    found = dashboard.Dashboard(title).uid(uid).description(description).tags(["miniwsgi"])
    found.time("now-3h", "now").refresh("30s").timezone("browser").editable()
    found.tooltip(models.DashboardCursorSync.CROSSHAIR)
    for variable in _variables():
        found.with_variable(variable)
    found.link(
        dashboard.DashboardLink("miniwsgi")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags(["miniwsgi"])
        .tooltip("The other dashboards, for the same instances and time")
        .include_vars(True)
        .keep_time(True)
    )
    for name, panels in rows.items():
        found.with_row(dashboard.Row(name))
        for panel in panels:
            found.with_panel(panel)
    built = found.build()
    for number, panel in enumerate(built.panels or [], 1):
        panel.id_val = number  # or Grafana numbers them anew at each import
    return _with_marks(built.to_json(), marks)


def _variables() -> list[Any]:
    """Which Prometheus, which jobs, which instances."""
    source = dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
    job = dashboard.QueryVariable("job").label("Job").query("label_values(miniwsgi_build_info, job)")
    instance = dashboard.QueryVariable("instance").label("Instance")
    instance.query('label_values(miniwsgi_build_info{job=~"$job"}, instance)')
    for variable in (job, instance):
        variable.datasource(SOURCE).multi(True).include_all(True)
        variable.current(models.VariableOption(selected=True, text="All", value="$__all"))
        variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        variable.sort(models.VariableSort.ALPHABETICAL_ASC)
    return [source, job, instance]


def _with_marks(found: dict[str, Any], marks: Sequence[Mark]) -> dict[str, Any]:
    """The dashboard with its annotations: the library has no fields for what is Prometheus' own in them."""
    found["annotations"] = {
        "list": [
            {
                "name": mark.name,
                "datasource": SOURCE,
                "enable": True,
                "hide": False,
                "iconColor": mark.color,
                "expr": mark.expr,
                "titleFormat": mark.name,
                "textFormat": mark.text,
                "tagKeys": "instance",
                "useValueForTime": mark.is_time,
            }
            for mark in marks
        ]
    }
    return found
