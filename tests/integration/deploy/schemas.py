"""What Elsa's objects of other programs must look like: schemas of our own, closed where a typing error would hide.

KEDA and the Prometheus operator publish theirs with their releases only; these hold the fields that deploy/ uses.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
#: KEDA reads every value of a trigger's metadata as a text: a bare number or true is refused
NUMBER: Schema = {"type": "string", "pattern": r"^\d+(\.\d+)?$"}
SWITCH: Schema = {"enum": ["true", "false"]}
ANY: Schema = {}


def closed(*required: str, **properties: Schema) -> Schema:
    """An object that has these fields, and no others."""
    return {
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": properties,
    }


def listed(of: Schema) -> Schema:
    """A list of at least one of these."""
    return {"type": "array", "minItems": 1, "items": of}


def _object(version: str, kind: str, spec: Schema) -> Schema:
    metadata = closed("name", name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
    return closed(
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )


_KAFKA = closed(
    "type",
    "metadata",
    type={"const": "kafka"},
    name=TEXT,
    authenticationRef=closed("name", name=TEXT),
    metadata=closed(
        "bootstrapServers",
        # group-wide, KEDA sees only the topics that were committed to
        "topic",
        "consumerGroup",
        # the default is a protocol that Kafka 4 refuses
        "version",
        "lagThreshold",
        "activationLagThreshold",
        "offsetResetPolicy",
        "excludePersistentLag",
        bootstrapServers=TEXT,
        topic=TEXT,
        consumerGroup=TEXT,
        version={"type": "string", "pattern": r"^[2-9]\.\d+\.\d+$"},
        lagThreshold=NUMBER,
        activationLagThreshold=NUMBER,
        offsetResetPolicy={"enum": ["earliest", "latest"]},
        excludePersistentLag=SWITCH,
        limitToPartitionsWithLag=SWITCH,
    ),
)
_PROMETHEUS = closed(
    "type",
    "metadata",
    "metricType",
    type={"const": "prometheus"},
    name=TEXT,
    metricType={"enum": ["Value", "AverageValue"]},
    metadata=closed(
        "serverAddress",
        "query",
        "threshold",
        # KEDA's default, true, takes a Prometheus without values for a group without lag
        "ignoreNullValues",
        serverAddress=TEXT,
        query=TEXT,
        threshold=NUMBER,
        ignoreNullValues={"const": "false"},
    ),
)
BEHAVIOUR = closed(
    "scaleDown",
    "scaleUp",
    **{
        way: closed(
            "stabilizationWindowSeconds",
            "policies",
            stabilizationWindowSeconds=COUNT,
            policies=listed(
                closed("type", "value", "periodSeconds", type={"const": "Pods"}, value=COUNT, periodSeconds=COUNT)
            ),
        )
        for way in ("scaleDown", "scaleUp")
    },
)

OBJECTS: dict[str, Schema] = {
    "ScaledObject": _object(
        "keda.sh/v1alpha1",
        "ScaledObject",
        closed(
            "scaleTargetRef",
            "minReplicaCount",
            "maxReplicaCount",
            "advanced",
            "triggers",
            scaleTargetRef=closed("name", name=TEXT, kind={"enum": ["Deployment", "StatefulSet"]}, apiVersion=TEXT),
            pollingInterval=COUNT,
            cooldownPeriod=COUNT,
            minReplicaCount=COUNT,
            maxReplicaCount=COUNT,
            fallback=closed(
                "failureThreshold",
                "replicas",
                failureThreshold=COUNT,
                replicas=COUNT,
                behavior={"enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]},
            ),
            advanced=closed(
                "horizontalPodAutoscalerConfig",
                horizontalPodAutoscalerConfig=closed("behavior", behavior=BEHAVIOUR),
            ),
            triggers=listed({"oneOf": [_KAFKA, _PROMETHEUS]}),
        ),
    ),
    "TriggerAuthentication": _object(
        "keda.sh/v1alpha1",
        "TriggerAuthentication",
        closed(
            "secretTargetRef",
            secretTargetRef=listed(
                closed(
                    "parameter",
                    "name",
                    "key",
                    name=TEXT,
                    key=TEXT,
                    parameter={"enum": ["sasl", "tls", "username", "password", "ca", "cert", "key", "keyPassword"]},
                )
            ),
        ),
    ),
    "PodMonitor": _object(
        "monitoring.coreos.com/v1",
        "PodMonitor",
        closed(
            "selector",
            "podMetricsEndpoints",
            selector=closed("matchLabels", matchLabels=TEXTS),
            podMetricsEndpoints=listed(
                closed(
                    "port",
                    port=TEXT,
                    path={"const": "/metrics"},
                    interval={"type": "string", "pattern": r"^\d+(ms|s|m)$"},
                    scrapeTimeout={"type": "string", "pattern": r"^\d+(ms|s|m)$"},
                    filterRunning={"type": "boolean"},
                    authorization=closed("credentials", credentials=closed("name", "key", name=TEXT, key=TEXT)),
                    relabelings=listed(
                        closed(
                            "sourceLabels",
                            "targetLabel",
                            sourceLabels=listed(TEXT),
                            regex=TEXT,
                            replacement=TEXT,
                            targetLabel=TEXT,
                        )
                    ),
                )
            ),
        ),
    ),
    # what is in its groups is for promtool to say
    "PrometheusRule": _object(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        closed(
            "groups",
            groups={
                "type": ["array", "null"],
                "items": closed("name", "rules", name=TEXT, interval=TEXT, rules=listed({"type": "object"})),
            },
        ),
    ),
    "Kustomization": closed(
        "apiVersion",
        "kind",
        "resources",
        apiVersion={"const": "kustomize.config.k8s.io/v1beta1"},
        kind={"const": "Kustomization"},
        namespace=TEXT,
        resources=listed(TEXT),
        replicas=listed(closed("name", "count", name=TEXT, count=COUNT)),
    ),
}

COLLECTOR = closed(
    "receivers",
    "processors",
    "exporters",
    "service",
    receivers={"type": "object", "minProperties": 1},
    processors={"type": "object", "minProperties": 1},
    exporters={"type": "object", "minProperties": 1},
    service=closed(
        "pipelines",
        pipelines={
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^(traces|metrics|logs)(/.+)?$"},
            "additionalProperties": closed(
                "receivers", "exporters", receivers=listed(TEXT), processors=listed(TEXT), exporters=listed(TEXT)
            ),
        },
    ),
)
ALERTMANAGER = closed(
    "route",
    "receivers",
    route={"type": "object", "required": ["receiver"]},
    receivers=listed({"type": "object", "required": ["name"]}),
    inhibit_rules=listed(
        closed(
            "source_matchers",
            "target_matchers",
            source_matchers=listed(TEXT),
            target_matchers=listed(TEXT),
            equal=listed(TEXT),
        )
    ),
)
DATASOURCES = closed(
    "apiVersion",
    "datasources",
    apiVersion={"const": 1},
    datasources=listed(
        closed(
            "name",
            "type",
            "url",
            name=TEXT,
            uid=TEXT,
            type={"const": "prometheus"},
            access={"const": "proxy"},
            url=TEXT,
            isDefault={"type": "boolean"},
            jsonData={"type": "object"},
        )
    ),
)
PROVIDERS = closed(
    "apiVersion",
    "providers",
    apiVersion={"const": 1},
    providers=listed(
        closed(
            "name",
            "type",
            "options",
            name=TEXT,
            folder=TEXT,
            type={"const": "file"},
            options=closed("path", path=TEXT),
            allowUiUpdates={"type": "boolean"},
            disableDeletion={"type": "boolean"},
            updateIntervalSeconds=COUNT,
        )
    ),
)
#: the part of a scrape job that Debian's promtool knows nothing of
POD_DISCOVERY = listed(
    closed("role", role={"const": "pod"}, selectors=listed(closed("role", "label", role={"const": "pod"}, label=TEXT)))
)
