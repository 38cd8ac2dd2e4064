// Command plugin is a connector on stock hashicorp/go-plugin, made without any SDK of ours.
//
// Its arguments, key=value, make it do what a test wants to see; Schema's description reports what
// it found around itself.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/rpc"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/writer/aperio/tests/interop/wire"
)

// identity tells binaries apart; a test sets another one with -ldflags.
var identity = "good"

// mark, when set at build time, is a file that the program makes as soon as it runs.
var mark = ""

type options map[string][]string

func parse(arguments []string) options {
	parsed := options{}
	for _, argument := range arguments {
		key, value, _ := strings.Cut(argument, "=")
		parsed[key] = append(parsed[key], value)
	}
	return parsed
}

func (o options) first(key string) string {
	if values := o[key]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func (o options) has(key string) bool { return len(o[key]) > 0 }

func (o options) number(key string) int {
	number, err := strconv.Atoi(o.first(key))
	if err != nil {
		return 0
	}
	return number
}

func main() {
	if mark != "" {
		_ = os.WriteFile(mark, []byte(identity), 0o600)
	}
	o := parse(os.Args[1:])
	prepare(o)
	plugin.Serve(config(o))
	if file := o.first("cleanup"); file != "" {
		_ = os.WriteFile(file, []byte("cleaned up"), 0o600)
	}
	if o.has("last-words") {
		fmt.Fprintln(os.NewFile(2, "fd2"), "the very last words")
	}
	if o.has("stubborn") {
		signal.Ignore(syscall.SIGTERM)
		select {}
	}
}

// prepare does what a test wants to happen before the handshake.
func prepare(o options) {
	if file := o.first("started"); file != "" {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, _ = f.WriteString("x")
			_ = f.Close()
		}
	}
	if o.has("grandchild") {
		child := exec.Command("/bin/sleep", "300")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		if err := child.Start(); err == nil {
			fmt.Fprintln(os.Stderr, "grandchild", child.Process.Pid)
		}
	}
	if text := o.first("stray"); text != "" {
		fmt.Println(text)
	}
	if o.has("mute") {
		time.Sleep(time.Minute)
	}
}

func config(o options) *plugin.ServeConfig {
	made := &plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion:  1,
			MagicCookieKey:   "APERIO_PLUGIN_MAGIC_COOKIE",
			MagicCookieValue: "aperio-plugin-v1",
		},
		Plugins:    plugin.PluginSet{"connector": &connector{o: o}},
		GRPCServer: plugin.DefaultGRPCServer,
	}
	if o.has("version") {
		made.HandshakeConfig.ProtocolVersion = uint(o.number("version"))
	}
	if o.has("netrpc") {
		made.GRPCServer = nil
	}
	if o.has("tls") {
		made.TLSProvider = ownTLS
	}
	return made
}

// ownTLS is TLS that the plugin's author set up, with a certificate that no host was told of.
func ownTLS() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost"},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	certificate := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{certificate}}, nil
}

// connector serves aperio.plugin.v1.ConnectorPlugin, and an echo.
type connector struct {
	o      options
	broker *plugin.GRPCBroker
}

// Server is for net/rpc, which a test wants to see refused.
func (c *connector) Server(*plugin.MuxBroker) (any, error) { return c, nil }

// Client is never used: this is a plugin.
func (c *connector) Client(*plugin.MuxBroker, *rpc.Client) (any, error) {
	return nil, errors.New("this is a plugin, not a host")
}

// GRPCClient is never used: this is a plugin.
func (c *connector) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is a plugin, not a host")
}

// GRPCServer registers the services.
func (c *connector) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	c.broker = broker
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "aperio.plugin.v1.ConnectorPlugin",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{wire.Unary("Schema", c.schema)},
		Streams:     []grpc.StreamDesc{wire.Stream("Sync", c.sync)},
	}, c)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "interop.Echo",
		HandlerType: (*any)(nil),
		Streams:     []grpc.StreamDesc{wire.Stream("Echo", echo)},
	}, c)
	return nil
}

func (c *connector) schema(ctx context.Context, _ wire.Message) (wire.Message, error) {
	c.act()
	if c.o.has("hang") {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	description := c.report()
	if size := c.o.number("big"); size > 0 {
		description = strings.Repeat("x", size)
	}
	return wire.Message{}.Bytes(1, nil).Text(2, "BOX").Text(3, "Stock Go").Text(6, description), nil
}

// act does what a test wants to happen in a call.
func (c *connector) act() {
	for _, text := range c.o["out"] {
		fmt.Fprint(os.Stdout, text)
	}
	for _, text := range c.o["err"] {
		fmt.Fprint(os.Stderr, text)
	}
	for n := range c.o.number("print") / 1024 {
		fmt.Printf("%08d%s\n", n, strings.Repeat(".", 1015))
	}
	// As a variable, os.Stderr is go-plugin's stream by now; descriptor 2 is what it was.
	raw := os.NewFile(2, "fd2")
	for _, text := range c.o["raw"] {
		line, err := hex.DecodeString(text)
		if err == nil {
			_, _ = raw.Write(append(line, '\n'))
		}
	}
	if size := c.o.number("flood"); size > 0 {
		_, _ = io.WriteString(raw, strings.Repeat("y", size)+"\n")
	}
	if c.o.has("log") {
		logger := hclog.New(&hclog.LoggerOptions{Name: "stock", Output: raw, JSONFormat: true})
		logger.Warn("structured", "text", "a b", "number", 42)
	}
	if c.o.has("panic") {
		go func() { panic("it broke") }()
		time.Sleep(time.Minute)
	}
}

// report says what the program found around itself.
func (c *connector) report() string {
	executable, _ := os.Readlink("/proc/self/exe")
	input, _ := os.Readlink("/proc/self/fd/0")
	entries, _ := os.ReadDir("/proc/self/fd")
	found := map[string]any{
		"identity":    identity,
		"environment": os.Environ(),
		"executable":  executable,
		"stdin":       input,
		"descriptors": len(entries),
	}
	if c.o.has("broker") {
		_, err := c.broker.Dial(1)
		found["broker"] = fmt.Sprint(err)
	}
	text, err := json.Marshal(found)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// sync gives as many events as the cursor says.
func (c *connector) sync(receive func() (wire.Message, error), send func(wire.Message) error) error {
	request, err := receive()
	if err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	cursors, err := request.Find(2)
	if err != nil {
		return err
	}
	count := 1
	if len(cursors) > 0 {
		if count, err = strconv.Atoi(string(cursors[0])); err != nil {
			return fmt.Errorf("reading the cursor: %w", err)
		}
	}
	for n := range count {
		event := wire.Message{}.Text(1, fmt.Sprintf("e%d", n)).Text(2, "box.login").Text(6, "{}")
		if err := send(wire.Message{}.Bytes(1, wire.Message{}.Bytes(1, event))); err != nil {
			return err
		}
	}
	return nil
}

func echo(receive func() (wire.Message, error), send func(wire.Message) error) error {
	for {
		message, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := send(message); err != nil {
			return err
		}
	}
}
