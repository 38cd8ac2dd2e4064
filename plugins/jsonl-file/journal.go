package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
)

const (
	currentName = "aperio.jsonl"
	keysName    = "aperio.keys"
	lockName    = ".aperio.lock"
	folderMode  = 0o750
	fileMode    = 0o640

	// lockPatience is how long another process may hold the folder.
	lockPatience = 10 * time.Second
	lockPause    = 10 * time.Millisecond
)

// earlierName is how a full file, and the file of its keys, is called: the greater the number, the
// later.
var earlierName = regexp.MustCompile(`^aperio\.(\d{6,9})\.(jsonl|keys)$`)

// position is where the next line goes; it changes with every write to the folder.
type position struct {
	earlier int   // the number of the latest full file or its keys, 0: none
	size    int64 // of the current file
}

// journal is the files of a folder, locked against other processes while it is open.
type journal struct {
	folder   string
	maxBytes int64
	lock     *os.File
	current  *os.File
	keys     *keyFile
	keyed    []int // numbers of the files of the keys of full files, ascending
	end      position
}

// entry is an envelope to write: what tells it from others, and its line with the line feed.
type entry struct {
	key  string
	line []byte
}

// openJournal locks the folder, makes what is missing, and takes away what a crash left of a line.
func openJournal(ctx context.Context, settings settings) (*journal, error) {
	if err := os.MkdirAll(settings.folder, folderMode); err != nil {
		return nil, err
	}
	lock, err := lockFile(ctx, filepath.Join(settings.folder, lockName))
	if err != nil {
		return nil, err
	}
	opened := &journal{folder: settings.folder, maxBytes: settings.maxFileBytes, lock: lock}
	if err := opened.open(); err != nil {
		opened.Close()
		return nil, err
	}
	return opened, nil
}

// lockFile opens a file and locks it against other processes, until it is closed.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		isLocked, err := tryLock(file)
		if isLocked {
			return file, nil
		}
		if err == nil {
			err = aperio.Sleep(ctx, lockPause)
		}
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("another process holds %s: %w", path, err)
		}
	}
}

func (j *journal) open() error {
	entries, err := os.ReadDir(j.folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if found := earlierName.FindStringSubmatch(entry.Name()); found != nil {
			number, _ := strconv.Atoi(found[1]) // it has at most nine digits
			if found[2] == "keys" {
				j.keyed = append(j.keyed, number)
			} else {
				j.end.earlier = max(j.end.earlier, number)
			}
		}
	}
	slices.Sort(j.keyed)
	if err := j.finishRotation(); err != nil {
		return err
	}
	return j.openCurrent()
}

// finishRotation gives the current file its number when a crash came between its keys and itself:
// the keys have theirs, and no others were begun.
func (j *journal) finishRotation() error {
	if len(j.keyed) == 0 {
		return nil
	}
	latest := j.keyed[len(j.keyed)-1]
	_, err := os.Lstat(filepath.Join(j.folder, keysName))
	if errors.Is(err, fs.ErrNotExist) && latest > j.end.earlier {
		err = os.Rename(filepath.Join(j.folder, currentName), j.pathOf(latest, "jsonl"))
		if errors.Is(err, fs.ErrNotExist) { // somebody has moved it away
			err = nil
		}
	}
	j.end.earlier = max(j.end.earlier, latest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (j *journal) openCurrent() error {
	var err error
	if j.current, err = openRegular(j.folder, currentName); err != nil {
		return err
	}
	if err := j.repair(); err != nil {
		return err
	}
	j.keys, err = openKeys(j.folder, j.end.size)
	return err
}

// openRegular opens a file of the folder for reading and writing, making it if need be. The error is
// about one that is something else, such as a link, too.
func openRegular(folder, name string) (*os.File, error) {
	path := filepath.Join(folder, name)
	info, err := os.Lstat(path)
	isNew := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !isNew:
		return nil, err
	case !isNew && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err == nil && isNew {
		if err = syncFolder(folder); err != nil {
			_ = file.Close() // nothing was written
		}
	}
	return file, err
}

// repair cuts off a last line without its end: it was never accepted.
func (j *journal) repair() error {
	whole, err := cutTorn(j.current)
	j.end.size = whole
	return err
}

// cutTorn cuts off a last line without its end, and gives the size that is left.
func cutTorn(file *os.File) (int64, error) {
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	whole, err := endOfLastLine(file, size)
	if err == nil && whole < size {
		err = file.Truncate(whole)
	}
	return whole, err
}

// endOfLastLine gives the offset behind the last line feed, reading backwards.
func endOfLastLine(file io.ReaderAt, size int64) (int64, error) {
	block := make([]byte, 64<<10)
	for end := size; end > 0; {
		start := max(0, end-int64(len(block)))
		part := block[:end-start]
		if _, err := file.ReadAt(part, start); err != nil {
			return 0, err
		}
		if found := bytes.LastIndexByte(part, '\n'); found >= 0 {
			return start + int64(found) + 1, nil
		}
		end = start
	}
	return 0, nil
}

// Close lets other processes in.
func (j *journal) Close() {
	j.closeFiles()
	_ = j.lock.Close() // which unlocks it
}

// closeFiles closes the current file and that of its keys; both are synced after each write.
func (j *journal) closeFiles() {
	if j.current != nil {
		_ = j.current.Close()
	}
	if j.keys != nil {
		_ = j.keys.file.Close()
	}
	j.current, j.keys = nil, nil
}

// append writes entries, beginning a new file where one is full, and gives how many of them are on
// the disk. What is written of the others is cut off again.
func (j *journal) append(entries []entry) (int, error) {
	durable := 0
	for durable < len(entries) {
		if j.end.size > 0 && j.end.size+int64(len(entries[durable].line)) > j.maxBytes {
			if err := j.rotate(); err != nil {
				return durable, err
			}
		}
		count, err := j.write(entries[durable:])
		durable += count
		if err != nil {
			return durable, err
		}
	}
	return durable, nil
}

// write puts as many lines as fit at the end of the current file, at least one, and syncs it. Their
// keys are on the disk before: a crash in between leaves keys that lead behind the end of the file,
// and these are dropped when it is opened.
func (j *journal) write(entries []entry) (int, error) {
	var data []byte
	var keys []keyEnd
	for _, entry := range entries {
		if len(keys) > 0 && j.end.size+int64(len(data)+len(entry.line)) > j.maxBytes {
			break
		}
		data = append(data, entry.line...)
		keys = append(keys, keyEnd{entry.key, j.end.size + int64(len(data))})
	}
	if err := j.keys.append(keys); err != nil {
		return 0, err
	}
	_, err := j.current.WriteAt(data, j.end.size)
	if err == nil {
		err = j.current.Sync()
	}
	if err != nil {
		// Should this fail, too, the next one to open the file sees lines that were not accepted:
		// a repeat of them is left out, which is as good as written.
		return 0, errors.Join(err, j.current.Truncate(j.end.size), j.keys.takeBack())
	}
	j.end.size += int64(len(data))
	return len(keys), nil
}

// rotate gives the current file the next number and begins another. Its keys are first: what a crash
// leaves in between is finished when the folder is opened.
func (j *journal) rotate() error {
	number := j.end.earlier + 1
	j.closeFiles()
	err := os.Rename(filepath.Join(j.folder, keysName), j.pathOf(number, "keys"))
	if err == nil {
		j.keyed = append(j.keyed, number)
		err = os.Rename(filepath.Join(j.folder, currentName), j.pathOf(number, "jsonl"))
	}
	if err != nil {
		return err
	}
	j.end = position{earlier: number}
	return j.openCurrent()
}

func (j *journal) pathOf(number int, ending string) string {
	return filepath.Join(j.folder, fmt.Sprintf("aperio.%06d.%s", number, ending))
}

// readWindow reads the latest keys back, from as many files as it takes.
func (j *journal) readWindow(limit int) (*window, error) {
	paths := []string{filepath.Join(j.folder, keysName)}
	for _, number := range slices.Backward(j.keyed) {
		paths = append(paths, j.pathOf(number, "keys"))
	}
	var parts [][]string // the latest first
	missing := limit
	for _, path := range paths {
		if missing == 0 {
			break
		}
		keys, err := lastKeys(path, missing)
		if err != nil {
			return nil, err
		}
		parts = append(parts, keys)
		missing -= len(keys)
	}
	found := newWindow(limit)
	for _, keys := range slices.Backward(parts) {
		for _, key := range keys {
			found.add(key)
		}
	}
	found.end = j.end
	return found, nil
}
