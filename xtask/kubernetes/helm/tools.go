//go:build tools

// Package tools names Helm, which checks the chart; its modules do not fit those of Kubernetes.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
