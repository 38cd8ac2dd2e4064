package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	patience30 = 30 * time.Second
	// role and password are of who owns the tables.
	role     = "aperio"
	password = "right-word"
)

// postgres is a PostgreSQL of its own, which ends with the tests: PostgreSQL refuses to run as root, so
// it is another user's then.
type postgres struct {
	folder  string
	program string // the folder of its programs
	port    int
	running *exec.Cmd
	who     *syscall.Credential
}

var shared struct {
	once   sync.Once
	server *postgres
	err    error
	number int
}

func TestMain(m *testing.M) {
	status := m.Run()
	if shared.server != nil {
		shared.server.remove()
	}
	os.Exit(status)
}

// requirePostgres gives a folder with PostgreSQL's programs.
func requirePostgres(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if onPath, err := exec.LookPath("initdb"); err == nil && len(found) == 0 {
		if program, err := filepath.EvalSymlinks(onPath); err == nil {
			found = []string{program}
		}
	}
	if len(found) > 0 {
		slices.Sort(found)
		return filepath.Dir(found[len(found)-1])
	}
	if os.Getenv("APERIO_CI") != "" {
		t.Fatal("PostgreSQL is not installed, and tests with it are not skipped in CI")
	}
	t.Skip("PostgreSQL is not installed; `apt-get install postgresql` does it")
	return ""
}

// database is a schema of the shared server with the server's tables, for one test.
type database struct {
	t      *testing.T
	server *postgres
	schema string
	client *pgx.Conn
}

// newDatabase gives a schema of its own.
func newDatabase(t *testing.T) *database {
	t.Helper()
	program := requirePostgres(t)
	shared.once.Do(func() { shared.server, shared.err = makeServer(program) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	shared.number++
	return newDatabaseOn(t, shared.server, fmt.Sprintf("test_%d", shared.number))
}

func newDatabaseOn(t *testing.T, server *postgres, schema string) *database {
	t.Helper()
	made := newClient(t, server, schema)
	tables, err := os.ReadFile("testdata/server.sql")
	if err != nil {
		t.Fatal(err)
	}
	made.run(fmt.Sprintf("CREATE SCHEMA %s; SET search_path = %s", schema, schema))
	made.run(string(tables))
	return made
}

// newClient gives access to a schema as it is.
func newClient(t *testing.T, server *postgres, schema string) *database {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience30)
	defer cancel()
	client, err := pgx.Connect(ctx, server.url()+"?search_path="+schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(context.Background()) })
	return &database{t: t, server: server, schema: schema, client: client}
}

// run runs statements.
func (d *database) run(statements string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience30)
	defer cancel()
	if _, err := d.client.Exec(ctx, statements); err != nil {
		d.t.Fatal(err)
	}
}

// ask gives the first column of what a query finds, as text.
func (d *database) ask(query string) []string {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience30)
	defer cancel()
	rows, err := d.client.Query(ctx, query)
	if err != nil {
		d.t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		d.t.Fatal(err)
	}
	return found
}

// want compares what a query finds.
func (d *database) want(query string, want ...string) {
	d.t.Helper()
	if got := d.ask(query); strings.Join(got, "\n") != strings.Join(want, "\n") {
		d.t.Errorf("%s\ngot  %q\nwant %q", query, got, want)
	}
}

func makeServer(program string) (*postgres, error) {
	folder, err := os.MkdirTemp("", "aperio-postgres-test-")
	if err != nil {
		return nil, err
	}
	made := &postgres{folder: folder, program: program}
	if os.Geteuid() == 0 {
		if made.who, err = someoneElse(); err != nil {
			return nil, err
		}
		if err := os.Chown(folder, int(made.who.Uid), int(made.who.Gid)); err != nil {
			return nil, err
		}
	}
	words := filepath.Join(folder, "password")
	if err := os.WriteFile(words, []byte(password), 0o644); err != nil {
		return nil, err
	}
	initdb := made.command("initdb", "-D", made.data(), "-U", role, "--pwfile", words, "--no-sync",
		"-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8")
	if said, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, said)
	}
	return made, made.start()
}

// someoneElse gives the user that Debian's package makes, else nobody.
func someoneElse() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.ParseUint(found.Uid, 10, 32)
		gid, _ := strconv.ParseUint(found.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("there is no user postgres or nobody to run PostgreSQL as")
}

func (s *postgres) data() string { return filepath.Join(s.folder, "data") }

func (s *postgres) url() string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/postgres", role, password, s.port)
}

func (s *postgres) command(name string, arguments ...string) *exec.Cmd {
	command := exec.Command(filepath.Join(s.program, name), arguments...)
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Credential: s.who}
	return command
}

// start starts it, on the port that it had before, and waits until it takes connections.
func (s *postgres) start() error {
	if s.port == 0 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.port = free.Addr().(*net.TCPAddr).Port
		free.Close()
	}
	log, err := os.OpenFile(filepath.Join(s.folder, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.running = s.command("postgres", "-D", s.data(), "-h", "127.0.0.1", "-p", strconv.Itoa(s.port),
		"-k", s.folder, "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "timezone=Asia/Kolkata")
	s.running.Stdout, s.running.Stderr = log, log
	if err := s.running.Start(); err != nil {
		return err
	}
	for until := time.Now().Add(patience30); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		client, err := pgx.Connect(ctx, s.url())
		cancel()
		if err == nil {
			client.Close(context.Background())
			return nil
		}
	}
	said, _ := os.ReadFile(filepath.Join(s.folder, "log"))
	return fmt.Errorf("PostgreSQL did not start:\n%s", said)
}

// kill ends it at once, as a crash does.
func (s *postgres) kill() {
	if s.running != nil {
		_ = s.running.Process.Signal(syscall.SIGQUIT)
		_ = s.running.Wait()
		s.running = nil
	}
}

func (s *postgres) remove() {
	s.kill()
	_ = os.RemoveAll(s.folder)
}
