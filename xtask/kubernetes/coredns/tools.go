//go:build tools

// Package tools names the cluster's name server; its modules do not fit those of Kubernetes.
package tools

import _ "github.com/coredns/coredns"
