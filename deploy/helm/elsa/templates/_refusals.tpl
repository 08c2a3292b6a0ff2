{{/* Values that the schema can not refuse, refused by name: each would install something that is not what was meant. */}}

{{- define "elsa.refuse" -}}
{{- $names := list }}
{{- range .Values.workers }}
{{- if has .name $names }}
{{- fail (printf "workers: two are named %s: give each a name of its own" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- include "elsa.refuseArgs" (dict "where" (printf "workers.%s.args" .name) "args" .args "options" "^--(metrics-port|http-host)\\b") }}
{{- $worker := .name }}
{{- range .env }}
{{- if regexMatch "^ELSA_(METRICS_PORT|HTTP_HOST)(_FILE)?$" .name }}
{{- fail (printf "workers.%s.env has %s: probes and Prometheus ask port 9464 of the pod; leave it out" $worker .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.monitor.enabled (has "monitor" $names) }}
{{- fail "workers: monitor is the name of the monitor's own Deployment: choose another name, or say monitor.enabled: false" }}
{{- end }}
{{- include "elsa.refuseArgs" (dict "where" "monitor.args" "args" .Values.monitor.args "options" "^--http-(port|host)\\b") }}
{{- end }}

{{/* (where, args, options: those that are not to be given, as a pattern) */}}
{{- define "elsa.refuseArgs" -}}
{{- range .args }}
{{- if regexMatch $.options . }}
{{- fail (printf "%s has %s: probes and Prometheus ask port 9464 of the pod; leave it out" $.where .) }}
{{- end }}
{{- end }}
{{- end }}
