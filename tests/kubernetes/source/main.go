// One program that is etcd, the API server and the controller manager of Kubernetes, and renders charts with Helm's
// engine: they share most of their packages, so that one program is built in the time of the largest.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"sigs.k8s.io/yaml"
)

func main() {
	part := os.Args[1]
	os.Args = append([]string{part}, os.Args[2:]...)
	switch part {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "render":
		if err := render(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "unknown part", part)
		os.Exit(2)
	}
}

// render prints the templates' results by their names, as `helm template` makes them of a chart for a namespace and
// files of values, the later over the earlier. The values' schema is checked.
func render(folder, namespace string, files []string) error {
	chart, err := loader.Load(folder)
	if err != nil {
		return err
	}
	given := map[string]any{}
	for _, file := range files {
		read, err := chartutil.ReadValuesFile(file)
		if err != nil {
			return err
		}
		given = chartutil.CoalesceTables(read, given)
	}
	release := chartutil.ReleaseOptions{Name: "sanolith", Namespace: namespace, Revision: 1, IsInstall: true}
	values, err := chartutil.ToRenderValues(chart, given, release, nil)
	if err != nil {
		return err
	}
	rendered, err := engine.Engine{Strict: true}.Render(chart, values)
	if err != nil {
		return err
	}
	written, err := yaml.Marshal(rendered)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(written)
	return err
}
