package hostclient

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// requireOwn asks the kernel who listens at the other end (SO_PEERCRED, unix(7)); the error is
// ErrForeign for another user than this process's.
func requireOwn(connected *net.UnixConn, socket string) error {
	raw, err := connected.SyscallConn()
	if err != nil {
		return err
	}
	var peer *syscall.Ucred
	var failed error
	err = raw.Control(func(descriptor uintptr) {
		peer, failed = syscall.GetsockoptUcred(int(descriptor), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err != nil || failed != nil {
		return fmt.Errorf("%s: who listens is not known: %w", socket, errors.Join(err, failed))
	}
	return ownedBy(int(peer.Uid), socket)
}
