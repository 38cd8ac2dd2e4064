package host

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"github.com/writer/aperio-plugin-go/internal/hoststate"
	"github.com/writer/aperio-plugin-go/internal/serve"
	"google.golang.org/grpc"
)

// DefaultOrganization is the one for which aperio starts plugins when none is named.
const DefaultOrganization = "local"

// Options say how a plugin is launched.
type Options struct {
	// RuntimeFolder is the plugin's home and temporary folder and has its socket: private to it,
	// with a path of at most 80 bytes. The caller removes it after Kill.
	RuntimeFolder string
	// Organization is whose requirements count; empty: DefaultOrganization.
	Organization string
	// Aperio is the program that is asked before every start; empty: `aperio` in PATH.
	Aperio string
	// ConfigFile is the operator's config.toml; empty: where aperio finds it for the receipt's home.
	ConfigFile string
	// Enforces names limits that the server itself enforces on the process, such as open_files. What
	// the policy requires and is not named here refuses the start.
	Enforces []string
	// HostSocket is where the host serves aperio.plugin.v1.KeyValueStore; empty: nowhere.
	HostSocket string
	// Logger takes the plugin's log records; nil: go-plugin's own.
	Logger hclog.Logger
}

func (o Options) organization() string {
	if o.Organization == "" {
		return DefaultOrganization
	}
	return o.Organization
}

func (o Options) program() string {
	if o.Aperio == "" {
		return "aperio"
	}
	return o.Aperio
}

// ClientConfig gives what plugin.NewClient takes, for one start. Every file is checked, here and when
// it is started; then the policy is asked as well (MayRun), and the version is kept from being removed
// until the process has ended. An error of the start is a *Refusal or wraps ErrFilesChanged when
// nothing was executed. The plugin's environment is built from nothing.
func (r *Receipt) ClientConfig(options Options) (*plugin.ClientConfig, error) {
	if !filepath.IsAbs(options.RuntimeFolder) {
		return nil, fmt.Errorf("%s: the runtime folder %q is not absolute", r.ID, options.RuntimeFolder)
	}
	if err := r.Check(); err != nil {
		return nil, err
	}
	calls := newGuard(r, options)
	return &plugin.ClientConfig{
		HandshakeConfig:  serve.Handshake,
		Plugins:          plugin.PluginSet{r.Kind: grpcPlugin{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		SkipHostEnv:      true,
		Logger:           options.Logger,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: options.RuntimeFolder},
		RunnerFunc: func(logger hclog.Logger, asked *exec.Cmd, _ string) (runner.Runner, error) {
			options.Logger = logger
			return r.prepare(options, asked.Env)
		},
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(
				grpc.MaxCallRecvMsgSize(serve.MaxMessageBytes),
				grpc.MaxCallSendMsgSize(serve.MaxMessageBytes),
			),
			grpc.WithChainUnaryInterceptor(calls.unary),
			grpc.WithChainStreamInterceptor(calls.stream),
		},
	}, nil
}

// prepare gives the process that is going to be started.
func (r *Receipt) prepare(options Options, handshake []string) (*process, error) {
	start := filepath.Join(r.Folder, "files", "bin", r.Entrypoint)
	command := exec.Command(start)
	if r.Interpreter != nil {
		command = exec.Command(r.Interpreter.Executable, "-I", "-S", "-B", start+".py")
	}
	command.Dir = options.RuntimeFolder
	command.Env = append(handshake, environment(options)...) // of two of a name the last counts
	command.SysProcAttr = apart()
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := command.StderrPipe()
	return &process{receipt: r, options: options, command: command, stdout: stdout, stderr: stderr}, err
}

func environment(options Options) []string {
	variables := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8",
		"HOME=" + options.RuntimeFolder, "TMPDIR=" + options.RuntimeFolder,
		"PLUGIN_UNIX_SOCKET_DIR=" + options.RuntimeFolder,
	}
	if options.HostSocket != "" {
		variables = append(variables, hoststate.SocketVariable+"="+options.HostSocket)
	}
	return variables
}

// process is one run of a plugin (go-plugin's runner.Runner). It holds the lease on the version, and
// the end of a pipe at which the plugin sees that this host is gone.
type process struct {
	receipt        *Receipt
	options        Options
	command        *exec.Cmd
	stdout, stderr io.ReadCloser
	held           sync.Once
	lease          *lease
	lifeline       *os.File
}

// Start asks, checks and starts, in this order.
func (p *process) Start(ctx context.Context) (err error) {
	if p.lease, err = p.receipt.lease(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.letGo()
		}
	}()
	verdict, err := p.receipt.MayRun(ctx, p.options)
	if err != nil {
		return err
	}
	if err := p.receipt.Check(); err != nil {
		return err
	}
	plugins, own, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = plugins.Close() }() // the plugin has its own
	p.lifeline = own
	p.command.ExtraFiles = []*os.File{plugins}
	p.command.Env = append(p.command.Env, serve.LifelineVariable+"=3")
	p.tell(verdict)
	return p.command.Start()
}

// tell logs what has to be known of every start.
func (p *process) tell(verdict *Verdict) {
	p.options.Logger.Info("not enforced", "plugin", verdict.ID, "limits", verdict.NotEnforced)
	for _, each := range verdict.Exceptions {
		p.options.Logger.Warn("started by an exception", "plugin", verdict.ID,
			"rule", each.Rule, "until", each.Until, "reason", each.Reason)
	}
}

// Wait waits for the end; the version may be removed from then on.
func (p *process) Wait(context.Context) error {
	defer p.letGo()
	return p.command.Wait()
}

func (p *process) letGo() {
	p.held.Do(func() {
		p.lease.release()
		if p.lifeline != nil {
			_ = p.lifeline.Close() // nothing was written
		}
	})
}

// Kill ends the plugin and what it has started in its group.
func (p *process) Kill(context.Context) error {
	if p.command.Process == nil {
		return nil
	}
	return killGroup(p.command.Process)
}

// Diagnose says where to look.
func (p *process) Diagnose(context.Context) string {
	return fmt.Sprintf("run `aperio plugin test %s`, which says more", p.receipt.ID)
}

// Stdout is where the plugin says its address.
func (p *process) Stdout() io.ReadCloser { return p.stdout }

// Stderr has its log records.
func (p *process) Stderr() io.ReadCloser { return p.stderr }

// Name is the program's.
func (p *process) Name() string { return p.command.Path }

// ID is the process id; empty before the start.
func (p *process) ID() string {
	if p.command.Process == nil {
		return ""
	}
	return fmt.Sprint(p.command.Process.Pid)
}

// PluginToHost changes nothing: both see the same files.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin changes nothing either.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
