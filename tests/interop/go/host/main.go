// Command host is a stock hashicorp/go-plugin host for one plugin. It does the steps it is told,
// in order, and prints what came of each as a line of JSON.
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net/rpc"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/writer/aperio/tests/interop/wire"
)

const (
	callTimeout  = 10 * time.Second
	startTimeout = 15 * time.Second
	connectorAPI = "/aperio.plugin.v1.ConnectorPlugin/"
)

// wanted is what the command line asks for.
type wanted struct {
	steps, versions, cookie, group string
	reattach                       string
	autoMTLS, multiplex            bool
	command                        []string
}

func main() {
	w := wanted{}
	flag.StringVar(&w.steps, "steps", "ping,kill", "what to do, comma separated")
	flag.StringVar(&w.versions, "versions", "1", "protocol versions, comma separated")
	flag.StringVar(&w.cookie, "cookie", "aperio-plugin-v1", "value of the magic cookie")
	flag.StringVar(&w.group, "group", "", "group of the socket")
	flag.StringVar(&w.reattach, "reattach", "", "a reattach record, instead of a command")
	flag.BoolVar(&w.autoMTLS, "automtls", false, "ask for AutoMTLS")
	flag.BoolVar(&w.multiplex, "multiplex", false, "ask for a multiplexed broker")
	flag.Parse()
	w.command = flag.Args()
	session := start(w)
	for _, step := range strings.Split(w.steps, ",") {
		session.do(step)
	}
	session.client.Kill()
	session.tell("end", map[string]any{
		"stdout": session.stdout.String(),
		"stderr": session.stderr.String(),
		"log":    session.log.lines(),
		"exited": session.client.Exited(),
	}, nil)
}

// session is one plugin under one host.
type session struct {
	client  *plugin.Client
	stdout  *buffer
	stderr  *buffer
	log     *buffer
	pending chan error
	began   time.Time
}

func start(w wanted) *session {
	s := &session{stdout: &buffer{}, stderr: &buffer{}, log: &buffer{}, pending: make(chan error, 1)}
	config := &plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			MagicCookieKey: "APERIO_PLUGIN_MAGIC_COOKIE", MagicCookieValue: w.cookie,
		},
		VersionedPlugins: map[int]plugin.PluginSet{},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         w.autoMTLS,
		StartTimeout:     startTimeout,
		SyncStdout:       s.stdout,
		SyncStderr:       s.stderr,
		Logger:           hclog.New(&hclog.LoggerOptions{Output: s.log, JSONFormat: true, Level: hclog.Trace}),
	}
	if len(w.command) > 0 {
		config.Cmd = exec.Command(w.command[0], w.command[1:]...)
	}
	for _, text := range strings.Split(w.versions, ",") {
		if version, err := strconv.Atoi(text); err == nil {
			config.VersionedPlugins[version] = plugin.PluginSet{"connector": &stub{}}
		}
	}
	if err := newer(config, w); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	s.client = plugin.NewClient(config)
	return s
}

// stub hands out the connection and the broker.
type stub struct {
	conn   *grpc.ClientConn
	broker *plugin.GRPCBroker
}

// Server is never used: this is a host.
func (*stub) Server(*plugin.MuxBroker) (any, error) { return nil, errors.New("this is a host") }

// Client is never used: net/rpc is not allowed.
func (*stub) Client(*plugin.MuxBroker, *rpc.Client) (any, error) {
	return nil, errors.New("net/rpc is not allowed")
}

// GRPCServer is never used: this is a host.
func (*stub) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return errors.New("this is a host") }

// GRPCClient keeps the connection.
func (*stub) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return &stub{conn: conn, broker: broker}, nil
}

func (s *session) connect() (*stub, error) {
	protocol, err := s.client.Client()
	if err != nil {
		return nil, err
	}
	raw, err := protocol.Dispense("connector")
	if err != nil {
		return nil, fmt.Errorf("dispensing: %w", err)
	}
	connected, ok := raw.(*stub)
	if !ok {
		return nil, fmt.Errorf("dispensed a %T", raw)
	}
	return connected, nil
}

// do performs one step, `name` or `name:argument`, and tells what came of it.
func (s *session) do(step string) {
	s.began = time.Now()
	name, argument, _ := strings.Cut(step, ":")
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	steps := map[string]func(context.Context, string) (any, error){
		"start": s.startStep, "ping": s.ping, "schema": s.schema, "sync": s.sync,
		"kill": s.kill, "shutdown": s.shutdown, "signal": s.signal, "gone": s.gone,
		"pending": s.begin, "collect": s.collect, "broker": s.dialBroker, "plain": s.plain,
		"stranger": s.stranger, "block": s.block, "stdout": s.awaitStdout,
	}
	perform, known := steps[name]
	if !known {
		s.tell(step, nil, fmt.Errorf("no such step: %s", name))
		return
	}
	value, err := perform(ctx, argument)
	s.tell(step, value, err)
}

func (s *session) tell(step string, value any, err error) {
	line := map[string]any{"step": step, "value": value, "seconds": time.Since(s.began).Seconds()}
	if err != nil {
		line["error"] = err.Error()
		line["code"] = status.Code(err).String()
	}
	if encodingError := json.NewEncoder(os.Stdout).Encode(line); encodingError != nil {
		panic(encodingError)
	}
}

func (s *session) startStep(context.Context, string) (any, error) {
	if _, err := s.client.Start(); err != nil {
		return nil, err
	}
	attached := s.client.ReattachConfig()
	return map[string]any{
		"version": s.client.NegotiatedVersion(), "pid": attached.Pid, "address": attached.Addr.String(),
		"network": attached.Addr.Network(), "protocol": string(attached.Protocol),
	}, nil
}

func (s *session) ping(context.Context, string) (any, error) {
	protocol, err := s.client.Client()
	if err != nil {
		return nil, err
	}
	return nil, protocol.Ping()
}

func (s *session) schema(ctx context.Context, _ string) (any, error) {
	connected, err := s.connect()
	if err != nil {
		return nil, err
	}
	return schemaOf(ctx, connected.conn)
}

// schemaOf returns the name in a plugin's schema.
func schemaOf(ctx context.Context, conn grpc.ClientConnInterface) (any, error) {
	answer, err := wire.Call(ctx, conn, connectorAPI+"Schema", nil)
	if err != nil {
		return nil, err
	}
	names, err := answer.Find(3)
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("no name in the schema: %w", err)
	}
	return string(names[0]), nil
}

func (s *session) sync(ctx context.Context, _ string) (any, error) {
	connected, err := s.connect()
	if err != nil {
		return nil, err
	}
	messages, err := wire.Collect(ctx, connected.conn, connectorAPI+"Sync", nil)
	if err != nil {
		return nil, err
	}
	ids := []string{}
	for _, message := range messages {
		batches, _ := message.Find(1)
		for _, batch := range batches {
			events, _ := batch.Find(1)
			for _, event := range events {
				id, _ := event.Find(1)
				ids = append(ids, string(id[0]))
			}
		}
	}
	return ids, nil
}

func (s *session) kill(context.Context, string) (any, error) {
	s.client.Kill()
	return s.client.Exited(), nil
}

func (s *session) shutdown(ctx context.Context, _ string) (any, error) {
	connected, err := s.connect()
	if err != nil {
		return nil, err
	}
	_, err = wire.Call(ctx, connected.conn, "/plugin.GRPCController/Shutdown", nil)
	return nil, err
}

func (s *session) signal(_ context.Context, name string) (any, error) {
	numbers := map[string]syscall.Signal{
		"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL, "SEGV": syscall.SIGSEGV,
	}
	return nil, syscall.Kill(s.client.ReattachConfig().Pid, numbers[name])
}

// gone waits until the host has noticed that the plugin ended.
func (s *session) gone(ctx context.Context, _ string) (any, error) {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !s.client.Exited() {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
	}
	return true, nil
}

// begin starts a call that collect ends.
func (s *session) begin(_ context.Context, _ string) (any, error) {
	connected, err := s.connect()
	if err != nil {
		return nil, err
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		_, err := wire.Call(ctx, connected.conn, connectorAPI+"TestConnection", nil)
		s.pending <- err
	}()
	return nil, nil
}

func (s *session) collect(ctx context.Context, _ string) (any, error) {
	select {
	case err := <-s.pending:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialBroker asks for a connection that the plugin would have to offer.
func (s *session) dialBroker(context.Context, string) (any, error) {
	connected, err := s.connect()
	if err != nil {
		return nil, err
	}
	conn, err := connected.broker.Dial(1)
	if err != nil {
		return nil, err
	}
	return nil, conn.Close()
}

func (s *session) plain(ctx context.Context, _ string) (any, error) {
	return s.callWith(ctx, insecure.NewCredentials())
}

// stranger calls with a certificate that is not this host's.
func (s *session) stranger(ctx context.Context, _ string) (any, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	return s.callWith(ctx, credentials.NewTLS(&tls.Config{
		Certificates:       []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		InsecureSkipVerify: true, //nolint:gosec // whom it trusts is not what the test is about
		ServerName:         "localhost",
	}))
}

func (s *session) callWith(ctx context.Context, with credentials.TransportCredentials) (any, error) {
	address := s.client.ReattachConfig().Addr
	//nolint:staticcheck // grpc.NewClient is newer than the oldest grpc this is built with
	conn, err := grpc.Dial("unix:"+address.String(), grpc.WithTransportCredentials(with))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	return schemaOf(ctx, conn)
}

// block waits to be killed.
func (s *session) block(context.Context, string) (any, error) {
	s.tell("blocking", nil, nil)
	select {}
}

// awaitStdout waits until so many bytes of the plugin's standard output have arrived.
func (s *session) awaitStdout(ctx context.Context, argument string) (any, error) {
	bytesWanted, err := strconv.Atoi(argument)
	if err != nil {
		return nil, fmt.Errorf("reading the number: %w", err)
	}
	return nil, s.stdout.await(ctx, bytesWanted)
}

// buffer collects what is written to it, from any goroutine.
type buffer struct {
	mutex   sync.Mutex
	content bytes.Buffer
}

// Write appends data.
func (b *buffer) Write(data []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.content.Write(data)
}

// String returns all that was written.
func (b *buffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.content.String()
}

func (b *buffer) await(ctx context.Context, size int) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for len(b.String()) < size {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// lines returns the log's records.
func (b *buffer) lines() []json.RawMessage {
	var records []json.RawMessage
	for _, line := range strings.Split(strings.TrimSpace(b.String()), "\n") {
		if json.Valid([]byte(line)) {
			records = append(records, json.RawMessage(line))
		}
	}
	return records
}
