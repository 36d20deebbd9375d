{{- define "metallb.labels" -}}
app.kubernetes.io/name: metallb
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "metallb.image" -}}
image: {{ printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) | quote }}
{{- with .image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{- define "metallb.probe" -}}
httpGet: {path: /metrics, port: monitoring}
initialDelaySeconds: 3
periodSeconds: 5
{{- end }}
