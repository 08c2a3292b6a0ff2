"""The kinds of panels that boards are made of: lines, numbers, heatmaps and tables, each with a unit and a question."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import heatmap as heatmaps
from grafana_foundation_sdk.builders import prometheus, timeseries
from grafana_foundation_sdk.builders import stat as stats
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders.dashboard import DashboardLink, ThresholdsConfig
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

Panel = timeseries.Panel | stats.Panel | heatmaps.Panel | tables.Panel


@dataclass(frozen=True, slots=True)
class Line:
    """One query of a panel and what its series are called, with labels in {{ }}."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading, its query, its unit."""

    heading: str
    expression: str
    unit: str = "short"


def lines(
    title: str,
    question: str,
    unit: str,
    *queries: Line,
    width: int = 8,
    is_stacked: bool = False,
    limit: float | None = None,
    exemplars: bool = False,
    ceiling: float | None = None,
) -> timeseries.Panel:
    """Series over time; `limit` draws the line from which on an alert fires."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(question)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(8)
        .fill_opacity(30 if is_stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
    )
    if ceiling is not None:
        panel.max(ceiling)
    if is_stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if limit is not None:
        panel.thresholds(_steps(limit)).thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    for name, query in zip(_names(), queries, strict=False):
        panel.with_target(_query(query.expression, name).legend_format(query.legend).range().exemplar(exemplars))
    return panel


def number(
    title: str, question: str, unit: str, expression: str, *, limit: float | None = None, width: int = 4
) -> stats.Panel:
    """One value, red from `limit` on, with its course behind it."""
    panel = (
        stats.Panel()
        .title(title)
        .description(question)
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(4)
        .no_value("none")
        .graph_mode(common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_steps(limit))
    )
    return panel.with_target(_query(expression, "A").legend_format(title).range())


def heatmap(title: str, question: str, unit: str, expression: str, *, width: int = 12) -> heatmaps.Panel:
    """The buckets of a histogram over time; the expression has to keep `le`."""
    return (
        heatmaps.Panel()
        .title(title)
        .description(question)
        .datasource(SOURCE)
        .unit("short")
        .span(width)
        .height(8)
        .calculate(False)
        .color(heatmaps.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64))
        .y_axis(heatmaps.YAxisConfig().unit(unit))
        .cell_values(heatmaps.CellValues().unit("ops"))
        .with_target(
            _query(expression, "A").legend_format("{{le}}").range().exemplar(True).format(PromQueryFormat.HEATMAP)
        )
    )


def table(
    title: str, question: str, *columns: Column, width: int = 24, height: int = 9, hidden: tuple[str, ...] = ("Time",)
) -> tables.Panel:
    """The present values of several queries, side by side where their labels agree; the first column sorts."""
    names = _names()[: len(columns)]
    headings = {"Value": columns[0].heading} if len(columns) == 1 else {}
    headings |= {f"Value #{name}": column.heading for name, column in zip(names, columns, strict=True)}
    panel = (
        tables.Panel()
        .title(title)
        .description(question)
        .datasource(SOURCE)
        .unit(columns[0].unit)
        .span(width)
        .height(height)
        .filterable(True)
        .with_transformation(DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            DataTransformerConfig(
                id_val="organize", options={"excludeByName": dict.fromkeys(hidden, True), "renameByName": headings}
            )
        )
        .sort_by([common_builders.TableSortByFieldState().display_name(columns[0].heading).desc(True)])
    )
    for name, column in zip(names, columns, strict=True):
        panel.with_target(_query(column.expression, name).instant().format(PromQueryFormat.TABLE))
        panel.override_by_name(column.heading, [DynamicConfigValue(id_val="unit", value=column.unit)])
    return panel


def leading(board: str, *panels: Panel) -> tuple[Panel, ...]:
    """The same panels with a link in their corner to the board that shows more, for what is chosen here."""
    title = f"More on the {board} board"
    url = f"/d/elsa-{board}?${{__url_time_range}}&${{__all_variables}}"
    for panel in panels:
        panel.links([DashboardLink(title).type(DashboardLinkType.LINK).url(url)])
    return panels


def _names() -> list[str]:
    return [chr(ord("A") + number) for number in range(26)]


def _query(expression: str, name: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).ref_id(name).datasource(SOURCE)


def _steps(limit: float | None) -> ThresholdsConfig:
    steps = [Threshold(value=None, color="green")]
    if limit is not None:
        steps.append(Threshold(value=limit, color="red"))
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
