//go:build unix

package host

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// lease keeps an installed version from being removed, as long as the file is open: a shared flock
// on its receipt, as aperio's own host holds. The kernel lets go when the process ends, however it
// ends; nothing that the process starts inherits it.
type lease struct{ file *os.File }

// lease takes a version that is as it was when its receipt was read.
func (r *Receipt) lease() (*lease, error) {
	file, err := os.OpenFile(r.path(), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, r.changed(err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		_ = file.Close() // it was only read
		return nil, r.refusal(CodePluginInUse, "it is being removed", "another process holds its receipt")
	}
	if err == nil {
		err = r.isStill(file)
	}
	if err != nil {
		_ = file.Close() // it was only read
		return nil, r.changed(err)
	}
	return &lease{file}, nil
}

// isStill says in an error that an open file is not the receipt that was read: another version of it
// may have come, and the file may have been removed after it was opened.
func (r *Receipt) isStill(file *os.File) error {
	data, err := readAll(file, maxReceiptBytes)
	if err != nil {
		return err
	}
	open, err := file.Stat()
	named, namedErr := os.Lstat(r.path())
	if err := errors.Join(err, namedErr); err != nil {
		return err
	}
	if !os.SameFile(open, named) {
		return fs.ErrNotExist
	}
	if found := digest(data); found != r.Digest {
		return errors.New("expected sha256:" + r.Digest + ", found sha256:" + found)
	}
	return nil
}

func (r *Receipt) changed(err error) error {
	refused := r.refusal(CodeReceiptChanged, "its receipt is not the one that was read",
		err.Error(), "read it again with Find: it was removed or installed anew meanwhile")
	refused.Err = err
	return refused
}

func (l *lease) release() { _ = l.file.Close() } // it was only read

// apart puts a plugin into a group of its own, which is ended as a whole.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killGroup(process *os.Process) error {
	err := syscall.Kill(-process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
