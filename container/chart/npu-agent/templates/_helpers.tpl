{{- define "npu-agent.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* Short enough for the endings of our other objects: a Job's name goes into a label. */ -}}
{{- define "npu-agent.fullname" -}}
{{- $name := include "npu-agent.name" . -}}
{{- $full := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name)) -}}
{{- $full | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "npu-agent.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "npu-agent.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (ternary (include "npu-agent.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "npu-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "npu-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "npu-agent.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "npu-agent.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "npu-agent.image" -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}

{{- /* How labels come to the node. `off` without quotes is false for helm, which reads YAML 1.1. */ -}}
{{- define "npu-agent.clusterLabels" -}}
{{- .Values.cluster.labels | default "off" -}}
{{- end -}}

{{- /* "true" where the pods talk to the API server, and so have a token and rights. */ -}}
{{- define "npu-agent.usesApi" -}}
{{- if or (has (include "npu-agent.clusterLabels" .) (list "apply" "node-feature")) .Values.cluster.taint.enabled -}}true{{- end -}}
{{- end -}}

{{- /* "true" where agents write Node objects. A NodeFeature goes with its pod, and NFD takes back what it said. */ -}}
{{- define "npu-agent.changesNodes" -}}
{{- if or (eq (include "npu-agent.clusterLabels" .) "apply") .Values.cluster.taint.enabled -}}true{{- end -}}
{{- end -}}

{{- define "npu-agent.configMapName" -}}
{{- .Values.config.name | default (include "npu-agent.fullname" .) -}}
{{- end -}}

{{- /* The configuration file: what the values say of the cluster is its section `cluster`. */ -}}
{{- define "npu-agent.config" -}}
{{- $config := deepCopy .Values.config.data -}}
{{- $cluster := dict -}}
{{- $labels := include "npu-agent.clusterLabels" . -}}
{{- with .Values.cluster -}}
{{- if ne $labels "off" -}}{{- $_ := set $cluster "labels" $labels -}}{{- end -}}
{{- if .prefix -}}{{- $_ := set $cluster "prefix" .prefix -}}{{- end -}}
{{- if eq $labels "nfd-file" -}}{{- $_ := set $cluster "nfd_folder" .nfdFolder -}}{{- end -}}
{{- if .taint.enabled -}}{{- $_ := set $cluster "taint" (omit .taint "enabled") -}}{{- end -}}
{{- end -}}
{{- if $cluster -}}{{- $_ := set $config "cluster" $cluster -}}{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* The folder of CDI specs, where the configuration hands devices over by them. */ -}}
{{- define "npu-agent.cdiFolder" -}}
{{- $cdi := default dict (default dict .Values.config.data).cdi -}}
{{- if ne (default "nodes" $cdi.handover) "nodes" -}}{{ default "/var/run/cdi" $cdi.folder }}{{- end -}}
{{- end -}}

{{- /* The resource that people are told of and that `helm test` asks for. */ -}}
{{- define "npu-agent.resource" -}}
{{- $first := first (.Values.config.data.resources | default list) | default dict -}}
{{- .Values.test.resource | default $first.name | default "furiosa.ai/npu" -}}
{{- end -}}

{{- define "npu-agent.nfdTerms" -}}
{{- range .Values.nfd.nodeLabels }}
- matchExpressions:
    - {key: {{ . }}, operator: In, values: ["true"]}
{{- end }}
{{- end -}}

{{- define "npu-agent.affinity" -}}
{{- if .Values.nfd.enabled -}}
{{- if (.Values.affinity.nodeAffinity | default dict).requiredDuringSchedulingIgnoredDuringExecution -}}
{{- fail "nfd.enabled and affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution both say which nodes are meant: set one of them" -}}
{{- end -}}
{{- $required := dict "nodeSelectorTerms" (include "npu-agent.nfdTerms" . | fromYamlArray) -}}
{{- toYaml (mustMerge (dict "nodeAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" $required)) .Values.affinity) -}}
{{- else -}}
{{- with .Values.affinity -}}{{- toYaml . -}}{{- end -}}
{{- end -}}
{{- end -}}
