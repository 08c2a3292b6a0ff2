"""A whole board from its rows: variables, links to the other boards, annotations, ids and places of the panels."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard as Model
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from dashboards.panels import SOURCE, Panel
from dashboards.query import bare, pick

#: every board has it, so that each links to all others
TAG = "elsa"


@dataclass(frozen=True, slots=True)
class Board:
    """What a board shows: `rows` are headings with their panels, laid out from left to right."""

    name: str
    title: str
    description: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]

    @property
    def uid(self) -> str:
        """What links to it are made of."""
        return f"elsa-{self.name}"


def render(board: Board) -> str:
    """The board as the JSON that Grafana imports."""
    return JSONEncoder(sort_keys=True, indent=1).encode(model(board)) + "\n"


def model(board: Board) -> Model:
    """The board as grafana-foundation-sdk holds it."""
    made = (
        Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .editable()
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            DashboardLink("Elsa")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .tooltip("The other boards, for the same groups and the same time")
            .icon("external link")
            .include_vars(True)
            .keep_time(True)
        )
    )
    for variable in (DatasourceVariable("datasource").label("Data source").type("prometheus"), *_variables()):
        made.with_variable(variable)
    for annotation in _annotations():
        made.annotation(annotation)
    number = 0
    for heading, panels in board.rows:
        number += 1
        made.with_row(Row(heading).id(number))
        for panel in panels:
            number += 1
            made.with_panel(panel.id(number))
    return made.build()


def _variables() -> list[QueryVariable]:
    # a group without workers is known to `elsa monitor` only
    groups = '{__name__=~"elsa_partitions_assigned|elsa_group_members"}'
    topics = '{__name__=~"elsa_partitions_assigned|elsa_group_lag_messages",group=~"$group"}'
    handlers = pick("elsa_messages_processed_total", handler=".*")
    return [
        # "All" of it is a list: other programs' processes have CPU and memory, too
        _variable("job", "Job", f"label_values({bare('elsa_build_info')}, job)"),
        # not every metric has such a label, so "All" of these is anything
        _variable("group", "Group", f"label_values({groups}, group)").all_value(".*"),
        _variable("topic", "Topic", f"label_values({topics}, topic)").all_value(".*"),
        _variable("handler", "Handler", f"label_values({handlers}, handler)").all_value(".*"),
    ]


def _variable(name: str, label: str, query: str) -> QueryVariable:
    return (
        QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .definition(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(VariableOption(selected=True, text="All", value="$__all"))
    )


def _annotations() -> list[AnnotationQuery]:
    builds = f"count by (job, version) ({pick('elsa_build_info')})"
    before = f"count by (job, version) ({pick('elsa_build_info')} offset 1m)"
    moved = f"sum by (group) (increase({pick('elsa_rebalances_total', event='revoked|lost')}[1m])) > 0"
    return [
        _annotation("Deploys", "blue", f"{builds} unless {before}", "{{job}} runs {{version}}"),
        _annotation("Rebalances", "orange", moved, "{{group}} has rebalanced"),
    ]


def _annotation(name: str, colour: str, expression: str, text: str) -> AnnotationQuery:
    return (
        AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(True)
        .hide(False)
        .icon_color(colour)
        .expr(expression)
        .title_format(name)
        .text_format(text)
        .step("30s")
    )
