// Every Kubernetes component of the rack in one static binary, chosen by the name it is called by.
//
// One link of what the components share costs minutes and disk once instead of eleven times. Nothing of
// upstream is changed here: each entry calls the component's own command.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	"github.com/spf13/cobra"
	etcdctl "go.etcd.io/etcd/etcdctl/v3/ctlv3"
	"go.etcd.io/etcd/server/v3/etcdmain"
	helm "helm.sh/helm/v4/pkg/cmd"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	// The plug-ins that a cluster's Corefile uses, and no others.
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

// The order in which CoreDNS chains its plug-ins, as in upstream's plugin.cfg.
var directives = []string{
	"reload", "log", "errors", "health", "ready", "prometheus",
	"loop", "cache", "hosts", "kubernetes", "forward", "loadbalance",
}

var components = map[string]func() int{
	"kube-apiserver":          command(apiserver.NewAPIServerCommand),
	"kube-controller-manager": command(controllers.NewControllerManagerCommand),
	"kube-scheduler":          command(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kube-proxy":              command(proxy.NewProxyCommand),
	"kubelet":                 command(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kubectl":                 command(kubectl.NewDefaultKubectlCommand),
	"kubeadm":                 func() int { return status(kubeadm.Run()) },
	"etcd":                    func() int { etcdmain.Main(os.Args); return 0 },
	"etcdctl":                 func() int { etcdctl.MustStart(); return 0 },
	"coredns":                 runCoreDNS,
	"helm":                    runHelm,
}

func main() {
	name := filepath.Base(os.Args[0])
	run, known := components[name]
	if !known {
		names := make([]string, 0, len(components))
		for each := range components {
			names = append(names, each)
		}
		slices.Sort(names)
		fmt.Fprintf(os.Stderr, "%s is no component; call this program as one of: %s\n", name, strings.Join(names, " "))
		os.Exit(2)
	}
	if name != "coredns" {
		dropCoreDNSFlags()
	}
	os.Exit(run())
}

// CoreDNS defines its flags when it is linked in, and other components take up all that are defined: its
// -version, for one, would hide theirs.
func dropCoreDNSFlags() {
	dropped := []string{"conf", "dns.port", "p", "pidfile", "plugins", "quiet", "version"}
	kept := flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	flag.VisitAll(func(each *flag.Flag) {
		if !slices.Contains(dropped, each.Name) {
			kept.Var(each.Value, each.Name, each.Usage)
		}
	})
	flag.CommandLine = kept
}

func command(make func() *cobra.Command) func() int {
	return func() int { return cli.Run(make()) }
}

func status(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func runCoreDNS() int {
	dnsserver.Directives = directives
	coremain.Run()
	return 0
}

func runHelm() int {
	root, err := helm.NewRootCmd(os.Stdout, os.Args[1:], helm.SetupLogging)
	if err != nil {
		return status(err)
	}
	// Helm prints its own errors.
	if err := root.Execute(); err != nil {
		return 1
	}
	return 0
}
