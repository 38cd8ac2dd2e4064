package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
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
	lockName    = ".aperio.lock"
	folderMode  = 0o750
	fileMode    = 0o640

	// lockPatience is how long another process may hold the folder.
	lockPatience = 10 * time.Second
	lockPause    = 10 * time.Millisecond
)

// earlierName is how a full file is called: the greater the number, the later.
var earlierName = regexp.MustCompile(`^aperio\.(\d{6,9})\.jsonl$`)

// position is where the next line goes; it changes with every write to the folder.
type position struct {
	earlier int   // the number of the latest full file, 0: none
	size    int64 // of the current file
}

// journal is the files of a folder, locked against other processes while it is open.
type journal struct {
	folder   string
	maxBytes int64
	lock     *os.File
	current  *os.File
	earlier  []int // numbers of the full files, ascending
	end      position
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
			j.earlier = append(j.earlier, number)
		}
	}
	slices.Sort(j.earlier)
	if len(j.earlier) > 0 {
		j.end.earlier = j.earlier[len(j.earlier)-1]
	}
	return j.openCurrent()
}

func (j *journal) openCurrent() error {
	path := filepath.Join(j.folder, currentName)
	info, err := os.Lstat(path)
	isNew := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !isNew:
		return err
	case !isNew && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	}
	if j.current, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode); err != nil {
		return err
	}
	if isNew {
		if err := syncFolder(j.folder); err != nil {
			return err
		}
	}
	return j.repair()
}

// repair cuts off a last line without its end: it was never accepted.
func (j *journal) repair() error {
	size, err := j.current.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	whole, err := endOfLastLine(j.current, size)
	if err != nil {
		return err
	}
	if whole < size {
		if err := j.current.Truncate(whole); err != nil {
			return err
		}
	}
	j.end.size = whole
	return nil
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
	if j.current != nil {
		_ = j.current.Close() // synced after each write
	}
	_ = j.lock.Close() // which unlocks it
}

// append writes lines, beginning a new file where one is full, and gives how many of them are on
// the disk. What is written of the others is cut off again.
func (j *journal) append(lines [][]byte) (int, error) {
	durable := 0
	for durable < len(lines) {
		if j.end.size > 0 && j.end.size+int64(len(lines[durable])) > j.maxBytes {
			if err := j.rotate(); err != nil {
				return durable, err
			}
		}
		count, err := j.write(lines[durable:])
		durable += count
		if err != nil {
			return durable, err
		}
	}
	return durable, nil
}

// write puts as many lines as fit at the end of the current file, at least one, and syncs it.
func (j *journal) write(lines [][]byte) (int, error) {
	var data []byte
	count := 0
	for _, line := range lines {
		if count > 0 && j.end.size+int64(len(data)+len(line)) > j.maxBytes {
			break
		}
		data = append(data, line...)
		count++
	}
	_, err := j.current.WriteAt(data, j.end.size)
	if err == nil {
		err = j.current.Sync()
	}
	if err != nil {
		// Should this fail, too, the next one to open the file sees lines that were not accepted:
		// a repeat of them is left out, which is as good as written.
		return 0, errors.Join(err, j.current.Truncate(j.end.size))
	}
	j.end.size += int64(len(data))
	return count, nil
}

// rotate gives the current file the next number and begins another.
func (j *journal) rotate() error {
	number := j.end.earlier + 1
	path := filepath.Join(j.folder, currentName)
	if err := j.current.Close(); err != nil {
		return err
	}
	j.current = nil
	if err := os.Rename(path, j.pathOf(number)); err != nil {
		return errors.Join(err, j.openCurrent())
	}
	j.earlier = append(j.earlier, number)
	j.end = position{earlier: number}
	return j.openCurrent()
}

func (j *journal) pathOf(number int) string {
	return filepath.Join(j.folder, fmt.Sprintf("aperio.%06d.jsonl", number))
}

// readWindow reads the latest ids back, from as many files as it takes.
func (j *journal) readWindow(limit int) (*window, error) {
	paths := []string{filepath.Join(j.folder, currentName)}
	for _, number := range slices.Backward(j.earlier) {
		paths = append(paths, j.pathOf(number))
	}
	var parts [][]string // the latest first
	missing := limit
	for _, path := range paths {
		if missing == 0 {
			break
		}
		ids, err := lastIDs(path, missing)
		if err != nil {
			return nil, err
		}
		parts = append(parts, ids)
		missing -= len(ids)
	}
	found := newWindow(limit)
	for _, ids := range slices.Backward(parts) {
		for _, id := range ids {
			found.add(id)
		}
	}
	found.end = j.end
	return found, nil
}

// lastIDs gives the ids of the last lines of a file, at most count; other lines are passed over.
func lastIDs(path string, count int) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	last := newWindow(count)
	reader := bufio.NewReaderSize(file, 1<<20)
	for {
		line, err := reader.ReadBytes('\n')
		var head struct {
			ID string `json:"id"`
		}
		if json.Unmarshal(line, &head) == nil && head.ID != "" {
			last.add(head.ID)
		}
		if errors.Is(err, io.EOF) {
			return last.inOrder(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}
