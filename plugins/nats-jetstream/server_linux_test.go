package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/writer/aperio/plugins/nats-jetstream/busv1"
	"google.golang.org/protobuf/proto"
)

const (
	testStream = "AUDIT"
	patience10 = 10 * time.Second
)

// server is a nats-server of its own, which ends with the test.
type server struct {
	t       *testing.T
	folder  string
	config  string
	port    string
	running *exec.Cmd
}

// requireServer gives the program; `make setup` builds it.
func requireServer(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("nats-server")
	if err != nil {
		if os.Getenv("APERIO_CI") != "" {
			t.Fatal("nats-server is not on PATH, and tests with it are not skipped in CI")
		}
		t.Skip("nats-server is not on PATH; `make setup` builds it")
	}
	return program
}

// startServer starts a server on a free port of this machine. config is more for its file.
func startServer(t *testing.T, config string) *server {
	t.Helper()
	made := &server{t: t, folder: t.TempDir(), port: "-1", config: config}
	t.Cleanup(made.kill)
	made.start()
	return made
}

// start starts it, on the port that it had before.
func (s *server) start() {
	s.t.Helper()
	program := requireServer(s.t)
	path := filepath.Join(s.folder, "server.conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:%s\"\nserver_name: test\njetstream { store_dir: %q }\n%s\n",
		s.port, filepath.Join(s.folder, "store"), s.config)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(s.folder, "server.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.running = exec.Command(program, "-c", path, "--ports_file_dir", s.folder)
	s.running.Stdout, s.running.Stderr = log, log
	s.running.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.running.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.port = s.readPort()
}

// readPort waits until the server says where it listens.
func (s *server) readPort() string {
	s.t.Helper()
	path := filepath.Join(s.folder, fmt.Sprintf("nats-server_%d.ports", s.running.Process.Pid))
	for until := time.Now().Add(patience10); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		data, err := os.ReadFile(path)
		var ports struct{ Nats []string }
		if err != nil || json.Unmarshal(data, &ports) != nil || len(ports.Nats) == 0 {
			continue
		}
		address, err := url.Parse(ports.Nats[0])
		if err != nil {
			s.t.Fatal(err)
		}
		return address.Port()
	}
	log, _ := os.ReadFile(filepath.Join(s.folder, "server.log"))
	s.t.Fatalf("the server did not start:\n%s", log)
	return ""
}

func (s *server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.running.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
	if signal == syscall.SIGSTOP {
		s.awaitStop()
	}
}

// awaitStop returns once no thread of the server runs any more: a stop takes its time on a busy
// machine, and until then the server answers.
func (s *server) awaitStop() {
	s.t.Helper()
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(s.running.Process.Pid, &status, syscall.WUNTRACED, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || !status.Stopped() {
			s.t.Fatalf("the server did not stop: %v, %v", status, err)
		}
		return
	}
}

func (s *server) kill() {
	if s.running != nil {
		_ = s.running.Process.Kill()
		_ = s.running.Wait()
		s.running = nil
	}
}

func (s *server) address() string { return "127.0.0.1:" + s.port }

// stream gives access to a stream of the server, which is made if there is none.
func (s *server) stream(config jetstream.StreamConfig, login ...nats.Option) jetstream.Stream {
	s.t.Helper()
	connection, err := nats.Connect(s.address(), login...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(connection.Close)
	access, err := jetstream.New(connection)
	if err != nil {
		s.t.Fatal(err)
	}
	if config.Name == "" {
		config.Name = testStream
	}
	if config.Subjects == nil {
		config.Subjects = []string{"events.>"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience10)
	defer cancel()
	made, err := access.CreateOrUpdateStream(ctx, config)
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

// stored is a message as the stream has it.
type stored struct {
	subject string
	id      string
	event   *busv1.EventEnvelope
}

// storedIn reads a stream back.
func storedIn(t *testing.T, stream jetstream.Stream) []stored {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience10)
	defer cancel()
	info, err := stream.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	found := []stored{}
	for number := info.State.FirstSeq; number <= info.State.LastSeq && number > 0; number++ {
		message, err := stream.GetMsg(ctx, number)
		if err != nil {
			t.Fatal(err)
		}
		event := &busv1.EventEnvelope{}
		if err := proto.Unmarshal(message.Data, event); err != nil {
			t.Fatal(err)
		}
		found = append(found, stored{message.Subject, message.Header.Get(jetstream.MsgIDHeader), event})
	}
	return found
}

// wantStored compares the ids that a stream has, in order.
func wantStored(t *testing.T, stream jetstream.Stream, want ...string) {
	t.Helper()
	got := []string{}
	for _, message := range storedIn(t, stream) {
		got = append(got, message.event.Id)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the stream has %v, want %v", got, want)
	}
}
