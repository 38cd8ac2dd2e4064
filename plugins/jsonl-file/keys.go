package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
)

// keyEnd is the key of an envelope, and where its line ends in the file of lines.
type keyEnd struct {
	key string
	end int64
}

// keyFile has the keys of the envelopes in the current file, in their order. A line of it is an end,
// a space and the key in quotes. An envelope says nothing of its own key, so it cannot be read back
// from the lines.
type keyFile struct {
	file *os.File
	size int64
	last int64 // the size before the latest append
}

// openKeys opens the file of keys, and drops those whose lines are not there: they end behind the end
// of the current file.
func openKeys(folder string, end int64) (*keyFile, error) {
	file, err := openRegular(folder, keysName)
	if err != nil {
		return nil, err
	}
	size, err := cutTorn(file)
	if err == nil {
		size, err = cutBehind(file, size, end)
	}
	if err != nil {
		_ = file.Close() // nothing was written
		return nil, err
	}
	return &keyFile{file: file, size: size, last: size}, nil
}

// cutBehind cuts off the first key that ends behind an end, and all after it, and gives the size that
// is left. Nearly always there is none: the last line is looked at first.
func cutBehind(file *os.File, size, end int64) (int64, error) {
	left := size
	for left > 0 {
		start, err := endOfLastLine(file, left-1)
		if err != nil {
			return 0, err
		}
		line := make([]byte, left-start)
		if _, err := file.ReadAt(line, start); err != nil {
			return 0, err
		}
		if found, isKey := parseKey(string(line)); isKey && found.end <= end {
			break
		}
		left = start
	}
	if left == size {
		return size, nil
	}
	return left, file.Truncate(left)
}

// append writes keys and syncs them. On an error, what is written of them is cut off again.
func (k *keyFile) append(keys []keyEnd) error {
	var data []byte
	for _, key := range keys {
		data = strconv.AppendInt(data, key.end, 10)
		data = append(data, ' ')
		data = strconv.AppendQuote(data, key.key)
		data = append(data, '\n')
	}
	k.last = k.size
	_, err := k.file.WriteAt(data, k.size)
	if err == nil {
		err = k.file.Sync()
	}
	if err != nil {
		return errors.Join(err, k.file.Truncate(k.size))
	}
	k.size += int64(len(data))
	return nil
}

// takeBack cuts off what was appended last.
func (k *keyFile) takeBack() error {
	k.size = k.last
	return k.file.Truncate(k.size)
}

func parseKey(line string) (keyEnd, bool) {
	digits, quoted, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	end, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return keyEnd{}, false
	}
	key, err := strconv.Unquote(quoted)
	return keyEnd{key, end}, err == nil
}

// lastKeys gives the keys of the last lines of a file, at most count; other lines are passed over.
func lastKeys(path string, count int) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	last := newWindow(count)
	reader := bufio.NewReaderSize(file, 1<<20)
	for {
		line, err := reader.ReadString('\n')
		if found, isKey := parseKey(line); isKey {
			last.add(found.key)
		}
		if errors.Is(err, io.EOF) {
			return last.inOrder(), nil
		}
		if err != nil {
			return nil, err
		}
	}
}
