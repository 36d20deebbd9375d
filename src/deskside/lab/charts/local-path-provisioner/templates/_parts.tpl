{{- define "local-path.labels" -}}
app.kubernetes.io/name: local-path-provisioner
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
