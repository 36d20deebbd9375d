{{- define "hub.labels" -}}
{{ include "hub.selector" . }}
chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
heritage: {{ .root.Release.Service }}
{{- end }}

{{- define "hub.selector" -}}
app: jupyterhub
component: {{ .component }}
release: {{ .root.Release.Name }}
{{- end }}

{{- define "hub.image" -}}
image: {{ printf "%s:%s" .name .tag | quote }}
{{- with .pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{- /* Environment as a mapping of names to text, or to what a variable may be made from. */}}
{{- define "hub.env" -}}
{{- range $name, $value := . }}
- name: {{ $name | quote }}
  {{- if kindIs "map" $value }}
  {{- $value | toYaml | nindent 2 }}
  {{- else }}
  value: {{ $value | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* Files as keys of a Secret: `data` becomes JSON or YAML by the name of its place. */}}
{{- define "hub.files.text" -}}
{{- range $key, $file := . }}
{{- if $file.stringData }}
{{ $key | quote }}: {{ $file.stringData | toJson }}
{{- end }}
{{- if $file.data }}
{{ $key | quote }}: {{ ternary ($file.data | toPrettyJson) ($file.data | toYaml) (hasSuffix ".json" $file.mountPath) | toJson }}
{{- end }}
{{- end }}
{{- end }}

{{- define "hub.files.binary" -}}
{{- range $key, $file := . }}
{{- with $file.binaryData }}
{{ $key | quote }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A secret value: as given, as it was made before, or made now. Arguments: root, given, key. */}}
{{- define "hub.made" -}}
{{- if .given }}
{{- .given }}
{{- else }}
{{- $known := (lookup "v1" "Secret" .root.Release.Namespace "hub").data | default dict }}
{{- if hasKey $known .key }}
{{- index $known .key | b64dec }}
{{- else }}
{{- /* Hexadecimal digits of the digest of random text. */}}
{{- randAlphaNum 64 | sha256sum }}
{{- end }}
{{- end }}
{{- end }}

{{- define "hub.private" -}}
- ipBlock: {cidr: 10.0.0.0/8}
- ipBlock: {cidr: 172.16.0.0/12}
- ipBlock: {cidr: 192.168.0.0/16}
{{- end }}

{{- /* What a policy lets out. Arguments: rules, egress, metadata (an address). */}}
{{- define "hub.egress" -}}
{{- if or .rules.dnsPortsPrivateIPs .rules.dnsPortsKubeSystemNamespace .rules.dnsPortsCloudMetadataServer }}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
  to:
    {{- if .rules.dnsPortsPrivateIPs }}
    {{- include "hub.private" . | nindent 4 }}
    {{- end }}
    {{- if .rules.dnsPortsKubeSystemNamespace }}
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
    {{- end }}
    {{- if .rules.dnsPortsCloudMetadataServer }}
    - ipBlock: {cidr: {{ .metadata }}/32}
    {{- end }}
{{- end }}
{{- if .rules.nonPrivateIPs }}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, {{ .metadata }}/32]
{{- end }}
{{- if .rules.privateIPs }}
- to:
    {{- include "hub.private" . | nindent 4 }}
{{- end }}
{{- if .rules.cloudMetadataServer }}
- to:
    - ipBlock: {cidr: {{ .metadata }}/32}
{{- end }}
{{- with .egress }}
{{ . | toYaml }}
{{- end }}
{{- end }}
