// Package host lets a Go server load what `aperio plugin install` installed, through unmodified
// hashicorp/go-plugin.
//
//	receipt, err := host.Find(home, "acme/box-connector", "")
//	config, err := receipt.ClientConfig(host.Options{RuntimeFolder: folder})
//	client := plugin.NewClient(config)
//	defer client.Kill()
//	box, err := host.Connector(client)
//	schema, err := box.Schema(ctx, &host.SchemaRequest{})
//	given, err := host.PluginConfig(schema, settings) // for InvocationContext.ConfigJson
//
// PluginConfig withholds what only the host may use, so that no plugin gets a client's secret.
// The trust decision was made at install; here every file is compared with what was installed
// before anything is executed.
package host

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/writer/aperio-plugin-go/internal/hoststate"
	"github.com/writer/aperio-plugin-go/internal/serve"
	"github.com/writer/aperio-plugin-go/internal/tree"
	"google.golang.org/grpc"
)

const (
	receiptSchema   = "aperio.receipt/v1"
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

// Receipt is the record of one installed version (`receipt.json`); only what a launch needs.
type Receipt struct {
	Schema     string `json:"schema"`
	ID         string `json:"id"`
	Version    string `json:"version"`
	Kind       string `json:"kind"`
	Entrypoint string `json:"entrypoint"`
	Protocol   string `json:"protocol"`
	Provider   string `json:"provider"`
	TreeDigest string `json:"tree_digest"`
	// Interpreter executes a Python plugin; nil for a binary.
	Interpreter *struct {
		Executable string `json:"executable"`
	} `json:"interpreter"`
	// Folder is where the version stands.
	Folder string `json:"-"`
}

// Find gives the receipt of an installed version below a home; an empty version is the current one.
func Find(home, id, version string) (*Receipt, error) {
	if !validID.MatchString(id) {
		return nil, fmt.Errorf("%q is not the id of a plugin", id)
	}
	folder := filepath.Join(home, "plugins", filepath.FromSlash(id))
	if version == "" {
		var current struct{ Version string }
		if err := readJSON(filepath.Join(folder, "current.json"), maxCurrentBytes, &current); err != nil {
			return nil, fmt.Errorf("%s: which version is current: %w", id, err)
		}
		version = current.Version
	}
	if !validVersion.MatchString(version) {
		return nil, fmt.Errorf("%s: %q is not a version", id, version)
	}
	receipt := &Receipt{Folder: filepath.Join(folder, version)}
	path := filepath.Join(receipt.Folder, "receipt.json")
	if err := readJSON(path, maxReceiptBytes, receipt); err != nil {
		return nil, fmt.Errorf("%s %s: %w", id, version, err)
	}
	major, _, _ := strings.Cut(receipt.Protocol, ".")
	switch {
	case receipt.Schema != receiptSchema, receipt.ID != id, receipt.Version != version,
		!validEntry.MatchString(receipt.Entrypoint):
		return nil, fmt.Errorf("%s %s: the receipt %s is damaged", id, version, path)
	case major != fmt.Sprint(serve.Handshake.ProtocolVersion):
		return nil, fmt.Errorf("%s %s: built for version %s of the plugin interface, this host has %d",
			id, version, receipt.Protocol, serve.Handshake.ProtocolVersion)
	}
	return receipt, nil
}

// Check compares the installed files with the list made at install, and the list with the receipt.
// The error wraps ErrFilesChanged and names files that differ, are missing, or are new.
func (r *Receipt) Check() error {
	_, err := r.checkedList()
	return err
}

func (r *Receipt) checkedList() (string, error) {
	listed, err := readCapped(filepath.Join(r.Folder, "files.sha256"), maxListBytes)
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", r.ID, r.Version, err)
	}
	if digest := sha256.Sum256(listed); r.TreeDigest != "t1:"+hex.EncodeToString(digest[:]) {
		return "", fmt.Errorf("%s %s: %w: files.sha256", r.ID, r.Version, ErrFilesChanged)
	}
	found, err := tree.List(filepath.Join(r.Folder, "files"))
	if err != nil {
		return "", fmt.Errorf("%s %s: %w", r.ID, r.Version, err)
	}
	if found != string(listed) {
		changed := tree.Differences(string(listed), found, namedAtMost)
		return "", fmt.Errorf("%s %s: %w: %s", r.ID, r.Version, ErrFilesChanged, changed)
	}
	return string(listed), nil
}

// Options say how a plugin is launched.
type Options struct {
	// RuntimeFolder is the plugin's home and temporary folder and has its socket: private to it,
	// with a path of at most 80 bytes. The caller removes it after Kill.
	RuntimeFolder string
	// HostSocket is where the host serves aperio.plugin.v1.KeyValueStore; empty: nowhere.
	HostSocket string
	// Logger takes the plugin's log records; nil: go-plugin's own.
	Logger hclog.Logger
}

// ClientConfig checks every file and gives what plugin.NewClient takes. The plugin's environment is
// built from nothing. A binary is hashed once more by go-plugin, right before it is executed.
func (r *Receipt) ClientConfig(options Options) (*plugin.ClientConfig, error) {
	if !filepath.IsAbs(options.RuntimeFolder) {
		return nil, fmt.Errorf("%s: the runtime folder %q is not absolute", r.ID, options.RuntimeFolder)
	}
	listed, err := r.checkedList()
	if err != nil {
		return nil, err
	}
	start, err := filepath.Abs(filepath.Join(r.Folder, "files", "bin", r.Entrypoint))
	if err != nil {
		return nil, err
	}
	config := &plugin.ClientConfig{
		HandshakeConfig:  serve.Handshake,
		Plugins:          plugin.PluginSet{r.Kind: grpcPlugin{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		SkipHostEnv:      true,
		Logger:           options.Logger,
		GRPCDialOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(serve.MaxMessageBytes),
			grpc.MaxCallSendMsgSize(serve.MaxMessageBytes),
		)},
	}
	if r.Interpreter != nil {
		config.Cmd = exec.Command(r.Interpreter.Executable, "-I", "-B", start+".py")
	} else {
		config.Cmd = exec.Command(start)
		config.SecureConfig, err = r.secure(listed)
	}
	config.Cmd.Dir = options.RuntimeFolder
	config.Cmd.Env = environment(options)
	return config, err
}

// secure gives go-plugin the digest that the checked list has for the binary.
func (r *Receipt) secure(listed string) (*plugin.SecureConfig, error) {
	for line := range strings.Lines(listed) {
		if digest, found := strings.CutSuffix(line, "  0755  bin/"+r.Entrypoint+"\n"); found {
			checksum, err := hex.DecodeString(digest)
			return &plugin.SecureConfig{Checksum: checksum, Hash: sha256.New()}, err
		}
	}
	return nil, fmt.Errorf("%s %s: no binary bin/%s was installed", r.ID, r.Version, r.Entrypoint)
}

func environment(options Options) []string {
	variables := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8",
		"HOME=" + options.RuntimeFolder, "TMPDIR=" + options.RuntimeFolder,
		"PLUGIN_UNIX_SOCKET_DIR=" + options.RuntimeFolder,
	}
	if options.HostSocket != "" {
		variables = append(variables, hoststate.SocketVariable+"="+options.HostSocket)
	}
	return variables
}

func readJSON(path string, limit int64, into any) error {
	data, err := readCapped(path, limit)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

func readCapped(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, err
}
