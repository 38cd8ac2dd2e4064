package serve

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin"
	"github.com/writer/aperio-plugin-go/internal/hoststate"
	"github.com/writer/aperio-plugin-go/internal/logging"
	"google.golang.org/grpc"
)

// Handshake is what the host must say for a process to take itself for a plugin, and the major
// version of the plugin interface.
var Handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "APERIO_PLUGIN_MAGIC_COOKIE",
	MagicCookieValue: "aperio-plugin-v1",
}

const (
	// stopPatience: an ending process is gone after this, whatever its code does; go-plugin kills
	// after 2 s.
	stopPatience = 1500 * time.Millisecond
	// callPatience is, of it, for calls to notice that they were cancelled.
	callPatience = 700 * time.Millisecond

	// printPatience is, of it, for what was printed to be handed over; wirePatience is for what is on
	// the wire then, and for a host that keeps its connection.
	printPatience = 400 * time.Millisecond
	wirePatience  = 200 * time.Millisecond

	hostCheckInterval = 500 * time.Millisecond
)

// LifelineVariable names the descriptor of a pipe whose end means that the host is gone.
const LifelineVariable = "APERIO_HOST_LIFELINE"

// handedOver are the variables of the handshake: programs that the plugin starts must not take
// themselves for plugins.
var handedOver = []string{
	"PLUGIN_CLIENT_CERT", "PLUGIN_MAX_PORT", "PLUGIN_MIN_PORT", "PLUGIN_PROTOCOL_VERSIONS",
	"PLUGIN_UNIX_SOCKET_DIR", "PLUGIN_UNIX_SOCKET_GROUP", LifelineVariable,
}

// parent is taken as early as possible: the host may end while the plugin is starting.
var parent = os.Getppid()

// Run serves a plugin until its host says stop, or is gone. It returns then, so that main can
// clean up; the process ends stopPatience after the stop at the latest. Without a host it says so
// on stderr and ends the process with status 1.
func Run(service *Service) {
	writer := logging.NewWriter(os.Stderr, logging.LowestLevel()) // go-plugin replaces os.Stderr
	slog.SetDefault(logging.NewSlog(writer, "plugin"))
	runtime := NewRuntime(writer, hoststate.FromEnvironment().Slice)
	served := &process{runtime: runtime, service: service}
	runtime.ending, runtime.stop = served.begin, served.stop
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: Handshake,
		Plugins:         plugin.PluginSet{service.Kind: served},
		GRPCServer:      served.server,
		Logger:          runtime.log,
	})
	served.begin() // when the listener failed; else it has begun already
}

// process is the life of a plugin's process, and its go-plugin plugin.
type process struct {
	plugin.NetRPCUnsupportedPlugin
	runtime *Runtime
	service *Service
	grpc    *grpc.Server
	once    sync.Once
}

// GRPCServer registers the service; go-plugin calls it when it has read the environment.
func (p *process) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	p.service.Register(server, p.runtime)
	lifeline := openLifeline(os.Getenv(LifelineVariable))
	for _, name := range append(handedOver, Handshake.MagicCookieKey) {
		if err := os.Unsetenv(name); err != nil {
			return fmt.Errorf("clear %s: %w", name, err)
		}
	}
	// Before the handshake, after which a host may send signals. SIGINT is what a terminal sends to
	// the whole group; go-plugin eats it, but only from after the handshake on.
	signal.Ignore(os.Interrupt)
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go p.endWithHost(lifeline, terminated)
	return nil
}

// GRPCClient is the host's side.
func (p *process) GRPCClient(
	context.Context, *plugin.GRPCBroker, *grpc.ClientConn,
) (any, error) {
	return nil, fmt.Errorf("a %s is no client of itself", p.service.Kind)
}

func (p *process) server(options []grpc.ServerOption) *grpc.Server {
	p.grpc = grpc.NewServer(append(options, p.runtime.ServerOptions()...)...)
	return p.grpc
}

// begin begins the end: from here on the process lives stopPatience at most. It waits until calls
// have ended and the host has what they printed.
func (p *process) begin() {
	p.once.Do(func() {
		time.AfterFunc(stopPatience, func() { os.Exit(0) })
		p.runtime.End(callPatience)
		p.runtime.prints.flush(printPatience, printed()...)
	})
}

// stop ends the server, with which plugin.Serve returns, when its answers are sent.
func (p *process) stop() {
	time.AfterFunc(wirePatience, p.grpc.Stop)
	go p.grpc.GracefulStop()
}

// endWithHost waits until the host is gone, or SIGTERM, and ends the server then, with which
// plugin.Serve returns.
func (p *process) endWithHost(lifeline *os.File, terminated <-chan os.Signal) {
	gone := make(chan struct{})
	if lifeline != nil {
		go func() {
			_, _ = lifeline.Read(make([]byte, 1))
			close(gone)
		}()
	}
	ticker := time.NewTicker(hostCheckInterval)
	defer ticker.Stop()
	for os.Getppid() == parent {
		select {
		case <-ticker.C:
			continue
		case <-gone:
		case <-terminated:
		}
		break
	}
	p.begin()
	p.stop()
}
