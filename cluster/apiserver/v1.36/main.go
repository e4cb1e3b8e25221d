// Command kube-apiserver is the API server of another Kubernetes minor, for tests of the CRDs and the chart.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(kubeapiserver.NewAPIServerCommand())) }
