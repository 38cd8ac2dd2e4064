//go:build !unix

package host

import (
	"os"
	"syscall"
)

type lease struct{}

func (r *Receipt) lease() (*lease, error) {
	return nil, r.refusal(CodeSystemUnsupported, "plugins are installed and run on Linux only", "")
}

func (*lease) release() {}

func apart() *syscall.SysProcAttr { return nil }

func killGroup(process *os.Process) error { return process.Kill() }
