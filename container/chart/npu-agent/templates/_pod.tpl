{{- /* What a container of ours may: nothing but what securityExceptions say. */ -}}
{{- define "npu-agent.securityContext" -}}
{{- $exceptions := .Values.securityExceptions -}}
{{- $capabilities := $exceptions.capabilities -}}
{{- if $exceptions.makeDeviceNodes -}}{{- $capabilities = append $capabilities "MKNOD" -}}{{- end -}}
privileged: {{ $exceptions.privileged }}
{{- /* Kubernetes refuses `false` beside either. */}}
allowPrivilegeEscalation: {{ or $exceptions.privileged (has "SYS_ADMIN" $capabilities) }}
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
  {{- with $capabilities }}
  add: {{ . | uniq | toJson }}
  {{- end }}
{{- end -}}

{{- /* Nothing for an amount that is empty. */ -}}
{{- define "npu-agent.resources" -}}
{{- $resources := dict -}}
{{- range $kind := list "requests" "limits" -}}
{{- $amounts := dict -}}
{{- range $name, $amount := index $.Values.resources $kind -}}
{{- if $amount -}}{{- $_ := set $amounts $name (toString $amount) -}}{{- end -}}
{{- end -}}
{{- if $amounts -}}{{- $_ := set $resources $kind $amounts -}}{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- /* Below /sys and /dev are other mounts (cgroup, shm), which a plain read-only mount leaves writable. From Kubernetes 1.31 on. */ -}}
{{- define "npu-agent.recursively" -}}
{{- if semverCompare ">=1.31.0-0" .Capabilities.KubeVersion.Version -}}, recursiveReadOnly: IfPossible{{- end -}}
{{- end -}}

{{- /* The annotations of what cleans up: before the release goes, in the order of the weight, gone itself when it is done. */ -}}
{{- define "npu-agent.cleanupHook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
