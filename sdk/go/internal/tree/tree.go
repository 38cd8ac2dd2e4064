// Package tree lists the files below a folder in the form of an installed version's files.sha256:
// `<sha256>  <mode>  <path>` and a line feed for each, in the order of the paths' bytes.
package tree

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// List gives the list of all files below a folder. What is no regular file gets a line that no
// files.sha256 has.
func List(folder string) (string, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }() // it was only read
	var paths []string
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	slices.Sort(paths)
	var list strings.Builder
	for _, path := range paths {
		line, err := line(root, path)
		if err != nil {
			return "", err
		}
		list.WriteString(line)
	}
	return list.String(), nil
}

func line(root *os.Root, path string) (string, error) {
	status, err := root.Lstat(path)
	if err != nil {
		return "", err
	}
	if !status.Mode().IsRegular() || strings.Contains(path, "\n") {
		return fmt.Sprintf("not a file that can be listed  %s  %q\n", status.Mode(), path), nil
	}
	file, err := root.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // it was only read
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x  %04o  %s\n", digest.Sum(nil), mode(status.Mode()), path), nil
}

// mode gives the permission bits, and those for set-id and sticky as chmod has them.
func mode(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for flag, bit := range map[fs.FileMode]uint32{
		fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000,
	} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// Differences names at most so many paths whose lines are in one of two lists only.
func Differences(one, other string, most int) string {
	in := func(list string) map[string]bool {
		lines := map[string]bool{}
		for line := range strings.Lines(list) {
			lines[line] = true
		}
		return lines
	}
	first, second := in(one), in(other)
	var paths []string
	for line := range strings.Lines(one + other) {
		_, after, _ := strings.Cut(line, "  ")
		_, path, _ := strings.Cut(after, "  ")
		path = fmt.Sprintf("%q", strings.TrimSuffix(path, "\n"))
		if first[line] != second[line] && !slices.Contains(paths, path) {
			if paths = append(paths, path); len(paths) == most {
				break
			}
		}
	}
	return strings.Join(paths, ", ")
}
