{{/* What several templates share: names, labels, images, environments. */}}

{{- define "elsa.name" -}}
{{- if contains "elsa" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-elsa" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "elsa.account" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "elsa.name" .) .Values.serviceAccount.name }}{{ else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "elsa.selector" -}}
app.kubernetes.io/name: elsa
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "elsa.labels" -}}
{{ include "elsa.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* (root, worker) */}}
{{- define "elsa.workerSelector" -}}
{{ include "elsa.selector" .root }}
app.kubernetes.io/component: worker
app.kubernetes.io/part-of: {{ .worker.name }}
{{- end }}

{{/* (root, image of a worker set or nothing) */}}
{{- define "elsa.image" -}}
{{- $image := .root.Values.image -}}
{{- if .image }}{{ $image = merge (deepCopy .image) (dict "repository" $image.repository) }}{{ end -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ default .root.Chart.AppVersion $image.tag }}{{ end }}
{{- end }}

{{- define "elsa.pod" -}}
serviceAccountName: {{ include "elsa.account" . }}
automountServiceAccountToken: false
# variables like ELSA_SERVICE_HOST are not meant for Elsa
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "elsa.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* a number of YAML is a float to Helm: 8000000 would be told as 8e+06 */}}
{{- define "elsa.plain" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* the variables of every pod; a password is a file that the Secret brings */}}
{{- define "elsa.env" -}}
- {name: ELSA_BROKERS, value: {{ required "brokers: which addresses has Kafka? host:port,host:port" .Values.brokers | quote }}}
{{- range $name, $value := .Values.settings }}
- {name: {{ printf "ELSA_%s" (upper $name) }}, value: {{ include "elsa.plain" $value | quote }}}
{{- end }}
{{- range $key, $value := .Values.kafka }}
- {name: {{ printf "ELSA_KAFKA__%s" (upper $key | replace "." "__") }}, value: {{ include "elsa.plain" $value | quote }}}
{{- end }}
{{- range $key, $entry := .Values.kafkaSecret.keys }}
- {name: {{ printf "ELSA_KAFKA__%s_FILE" (upper $key | replace "." "__") }}, value: {{ printf "/etc/elsa/kafka/%s" $entry | quote }}}
{{- end }}
{{- if .Values.metrics.token.secret }}
- {name: ELSA_HTTP_TOKEN_FILE, value: {{ printf "/etc/elsa/http/%s" .Values.metrics.token.key | quote }}}
{{- else if or .Values.metrics.open .Values.networkPolicy.enabled }}
- {name: ELSA_HTTP_OPEN, value: "true"}
{{- else }}
{{- fail "everybody in the cluster could read the metrics: enable networkPolicy, name the Secret of a token in metrics.token.secret, or say metrics.open: true" }}
{{- end }}
{{- if .Values.tracing.enabled }}
- {name: ELSA_OTEL, value: "1"}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ .Values.tracing.endpoint | quote }}}
{{- end }}
{{- end }}

{{- define "elsa.mounts" -}}
- {name: run, mountPath: /run/elsa}
{{- if .Values.kafkaSecret.name }}
- {name: kafka, mountPath: /etc/elsa/kafka, readOnly: true}
{{- end }}
{{- if .Values.metrics.token.secret }}
- {name: http, mountPath: /etc/elsa/http, readOnly: true}
{{- end }}
{{- end }}

{{- define "elsa.volumes" -}}
# outlives a container that dies, so its successor takes the slot and finds the journal
- name: run
  emptyDir: {sizeLimit: 64Mi}
{{- if .Values.kafkaSecret.name }}
- name: kafka
  secret: {secretName: {{ .Values.kafkaSecret.name }}, defaultMode: 0440}
{{- end }}
{{- if .Values.metrics.token.secret }}
- name: http
  secret: {secretName: {{ .Values.metrics.token.secret }}, defaultMode: 0440}
{{- end }}
{{- end }}

{{/* what an autoscaler may do; both kinds share it */}}
{{- define "elsa.behaviour" -}}
scaleDown:
  # each pod that goes costs a rebalance and takes running calls away: slowly, and only when it lasts
  stabilizationWindowSeconds: 300
  policies:
    - {type: Pods, value: 1, periodSeconds: 120}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Pods, value: 4, periodSeconds: 60}
{{- end }}
