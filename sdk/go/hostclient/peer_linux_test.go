package hostclient

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/writer/aperio-plugin-go/gen/hostv1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// listening is run by TestNothingIsSaidToAnotherUsersListener, as another user.
func listening(socket string) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		panic(err)
	}
	fmt.Println("listens")
	connected, err := listener.Accept()
	if err != nil {
		panic(err)
	}
	heard, _ := io.ReadAll(connected)
	fmt.Println("heard", len(heard))
	os.Exit(0)
}

func TestMain(m *testing.M) {
	if socket := os.Getenv("LISTEN_ON"); socket != "" {
		listening(socket)
	}
	os.Exit(m.Run())
}

func TestNothingIsSaidToAnotherUsersListener(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	folder, err := os.MkdirTemp("/tmp", "hc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(folder, "listener") // another user cannot enter where tests are built
	if err := os.WriteFile(program, own, 0o755); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(folder, "s")
	other := exec.Command(program)
	other.Dir, other.Env = folder, []string{"LISTEN_ON=" + socket}
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	said, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill() })
	lines := bufio.NewScanner(said)
	if !lines.Scan() {
		t.Fatal("it does not listen")
	}
	client, err := Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err = client.GetHost(ctx, &hostv1.GetHostRequest{})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), ErrForeign.Error()) {
		t.Fatal(err)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || lines.Text() != "heard 0" {
		t.Fatal(lines.Text())
	}
}
