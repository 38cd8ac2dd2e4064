package host

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/writer/aperio-plugin-go/internal/serve"
	"github.com/writer/aperio-plugin-go/internal/tree"
)

const (
	receiptForm     = "aperio.receipt/v"
	receiptSchema   = receiptForm + "1"
	receiptName     = "receipt.json"
	maxCurrentBytes = 4096
	maxReceiptBytes = 256 * 1024
	maxListBytes    = 16 * 1024 * 1024
	namedAtMost     = 5
)

// ErrFilesChanged says that what is on disk is not what was installed; nothing was executed.
var ErrFilesChanged = errors.New("the files are not as they were installed")

var (
	validID      = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,38}/[a-z0-9][a-z0-9-]{1,62}$`)
	validVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)
	validEntry   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

// Installed is one version in a store.
type Installed struct {
	ID      string
	Version string
	// Current is whether it is the version that is used when none is named.
	Current bool
	// Receipt is its record; nil when it cannot be read, and then Problem says why.
	Receipt *Receipt
	Problem error
}

// List gives every version that is installed below a home, by id, then by version as text. What
// cannot be read is in the list, too, and keeps nothing else from being listed. Whether a version may
// be started is another question: Receipt.MayRun.
func List(home string) ([]Installed, error) {
	var found []Installed
	plugins := filepath.Join(home, "plugins")
	namespaces, err := folders(plugins)
	for _, namespace := range namespaces {
		var names []string
		if names, err = folders(filepath.Join(plugins, namespace)); err != nil {
			break
		}
		for _, name := range names {
			if id := namespace + "/" + name; validID.MatchString(id) {
				found = append(found, versions(home, id)...)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list what is installed: %w", err)
	}
	return found, nil
}

func versions(home, id string) (found []Installed) {
	folder := pluginFolder(home, id)
	names, _ := folders(folder)
	current, _ := currentVersion(folder) // a file that cannot be read names none
	for _, version := range names {
		_, err := os.Lstat(filepath.Join(folder, version, receiptName))
		if err != nil || !validVersion.MatchString(version) {
			continue // what is left of a removal is not installed
		}
		one := Installed{ID: id, Version: version, Current: version == current}
		one.Receipt, one.Problem = Find(home, id, version)
		found = append(found, one)
	}
	return found
}

// Find gives the receipt of an installed version below a home; an empty version is the current one.
// The error of what is not there, or cannot be read, is a *Refusal.
func Find(home, id, version string) (*Receipt, error) {
	if !validID.MatchString(id) {
		return nil, fmt.Errorf("%q is not the id of a plugin", id)
	}
	home, err := filepath.Abs(home)
	if err != nil {
		return nil, err
	}
	folder := pluginFolder(home, id)
	receipt := &Receipt{ID: id, Version: version, home: home}
	if version == "" {
		if receipt.Version, err = currentVersion(folder); err != nil {
			return nil, receipt.unread(CodeNotInstalled, "which version is current is not known", err)
		}
	}
	if !validVersion.MatchString(receipt.Version) {
		return nil, fmt.Errorf("%s: %q is not a version", id, receipt.Version)
	}
	receipt.Folder = filepath.Join(folder, receipt.Version)
	return receipt.read()
}

func (r *Receipt) path() string { return filepath.Join(r.Folder, receiptName) }

func (r *Receipt) unread(code, what string, err error) *Refusal {
	if !errors.Is(err, fs.ErrNotExist) && code == CodeNotInstalled {
		code = CodeReceiptInvalid
	}
	refused := r.refusal(code, what, err.Error(), "install it again: `aperio plugin install "+r.ID+"`")
	refused.Err = err
	return refused
}

// read gives the receipt of the version that is named, from its folder.
func (r *Receipt) read() (*Receipt, error) {
	data, err := readCapped(r.path(), maxReceiptBytes)
	if err != nil {
		return nil, r.unread(CodeNotInstalled, "its receipt cannot be read", err)
	}
	found := &Receipt{Folder: r.Folder, home: r.home, Raw: data, Digest: digest(data)}
	err = json.Unmarshal(data, found)
	switch major, _, _ := strings.Cut(found.Protocol, "."); {
	case err != nil:
	case found.Schema != receiptSchema && strings.HasPrefix(found.Schema, receiptForm):
		err = fmt.Errorf("expected the schema %s, found %.80q", receiptSchema, found.Schema)
		return nil, r.unread(CodeReceiptNewer, "a newer aperio made its receipt", err)
	case found.Schema != receiptSchema:
		err = fmt.Errorf("expected the schema %s, found %.80q", receiptSchema, found.Schema)
	case found.ID != r.ID, found.Version != r.Version:
		err = fmt.Errorf("it speaks for %.80q %.80q", found.ID, found.Version)
	case !validEntry.MatchString(found.Entrypoint):
		err = fmt.Errorf("%.80q is no entrypoint", found.Entrypoint)
	case major != fmt.Sprint(serve.Handshake.ProtocolVersion):
		err = fmt.Errorf("built for version %.20q of the plugin interface, this host has %d",
			found.Protocol, serve.Handshake.ProtocolVersion)
		return nil, r.unread(CodeProtocolIncompatible, "it speaks another version of the interface", err)
	}
	if err != nil {
		return nil, r.unread(CodeReceiptInvalid, "its receipt is damaged", err)
	}
	return found, nil
}

// Check compares the installed files with the list made at install, and the list with the receipt.
// The error is a *Refusal that wraps ErrFilesChanged and names files that differ, are missing, or are
// new.
func (r *Receipt) Check() error {
	listed, err := readCapped(filepath.Join(r.Folder, "files.sha256"), maxListBytes)
	if err != nil {
		return r.unread(CodeReceiptInvalid, "the list of its files cannot be read", err)
	}
	if r.TreeDigest != "t1:"+digest(listed) {
		return r.filesChanged("files.sha256")
	}
	found, err := tree.List(filepath.Join(r.Folder, "files"))
	if err != nil {
		return r.filesChanged(err.Error())
	}
	if found != string(listed) {
		return r.filesChanged(tree.Differences(string(listed), found, namedAtMost))
	}
	return nil
}

func (r *Receipt) filesChanged(which string) *Refusal {
	refused := r.refusal(CodeFilesChanged, ErrFilesChanged.Error(), which,
		"remove the plugin and install it again, and find out who changed it")
	refused.Err = ErrFilesChanged
	return refused
}

func pluginFolder(home, id string) string {
	return filepath.Join(home, "plugins", filepath.FromSlash(id))
}

func currentVersion(folder string) (string, error) {
	data, err := readCapped(filepath.Join(folder, "current.json"), maxCurrentBytes)
	var current struct {
		Schema  int    `json:"schema"`
		Version string `json:"version"`
	}
	if err == nil {
		err = json.Unmarshal(data, &current)
	}
	if err == nil && current.Schema != 1 {
		err = fmt.Errorf("current.json has the schema %d, this host knows 1", current.Schema)
	}
	return current.Version, err
}

// folders gives the names of the folders in a folder, sorted, without hidden ones and links; none
// where there is no such folder.
func folders(folder string) (names []string, err error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func readCapped(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	return readAll(file, limit)
}

func readAll(file *os.File, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", file.Name(), limit)
	}
	return data, err
}
