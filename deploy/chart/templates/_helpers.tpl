{{- define "netpol.labels" -}}
app.kubernetes.io/name: netpol
app.kubernetes.io/component: agent
{{- end }}

{{- define "netpol.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- /* An option of the agent as arguments: one for each element of a list. Numbers are no floating ones. */ -}}
{{- define "netpol.option" -}}
{{- $name := .name -}}
{{- range (kindIs "slice" .value | ternary .value (list .value)) }}
- {{ printf "--%s=%s" $name (kindIs "float64" . | ternary (int64 . | toString) (toString .)) | quote }}
{{- end -}}
{{- end }}

{{- /* A probe of the agent's own server. The kubelet asks from the node, so any address of the node's will do. */ -}}
{{- define "netpol.probe" -}}
httpGet:
  host: {{ has .metrics.host (list "0.0.0.0" "::") | ternary "127.0.0.1" .metrics.host | quote }}
  path: {{ .path }}
  port: {{ .metrics.port }}
timeoutSeconds: 12
{{- end }}
