//go:build unix

package serve

import (
	"os"
	"strconv"
	"syscall"
)

// openLifeline gives the descriptor that the host named, if it is a pipe: its end means that the
// host is gone.
func openLifeline(text string) *os.File {
	descriptor, err := strconv.Atoi(text)
	if err != nil || descriptor <= 2 {
		return nil
	}
	var status syscall.Stat_t
	if syscall.Fstat(descriptor, &status) != nil || status.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return nil
	}
	syscall.CloseOnExec(descriptor)
	return os.NewFile(uintptr(descriptor), "lifeline")
}
