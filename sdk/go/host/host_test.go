package host

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/tree"
)

const id = "acme/box-connector"

// installed writes a version as `aperio plugin install` does, and gives the home.
func installed(t *testing.T, changes map[string]any) string {
	t.Helper()
	home := t.TempDir()
	folder := filepath.Join(home, "plugins", "acme", "box-connector", "1.2.0")
	write(t, filepath.Join(folder, "files", "bin", "box"), "#!/bin/sh\n", 0o755)
	write(t, filepath.Join(folder, "files", "manifest.yaml"), "id: x\n", 0o644)
	write(t, filepath.Join(folder, "files", "bin-2"), "", 0o644) // sorts before bin/
	listed, err := tree.List(filepath.Join(folder, "files"))
	if err != nil {
		t.Fatal(err)
	}
	receipt := map[string]any{
		"schema": "aperio.receipt/v1", "id": id, "version": "1.2.0", "kind": "connector",
		"entrypoint": "box", "protocol": "1.0", "provider": "BOX", "interpreter": nil,
		"tree_digest": fmt.Sprintf("t1:%x", sha256.Sum256([]byte(listed))),
	}
	for key, value := range changes {
		receipt[key] = value
	}
	text, err := json.Marshal(receipt)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "files.sha256"), listed, 0o644)
	write(t, filepath.Join(folder, "receipt.json"), string(text), 0o644)
	write(t, filepath.Join(folder, "..", "current.json"), `{"schema": 1, "version": "1.2.0"}`, 0o644)
	return home
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func found(t *testing.T, home, version string) *Receipt {
	t.Helper()
	receipt, err := Find(home, id, version)
	if err != nil {
		t.Fatal(err)
	}
	return receipt
}

func TestAVersionIsStartedWithACleanEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
	for _, version := range []string{"", "1.2.0"} {
		receipt := found(t, installed(t, nil), version)
		options := Options{RuntimeFolder: "/run/x", HostSocket: "/run/s"}
		config, err := receipt.ClientConfig(options)
		if err != nil {
			t.Fatal(err)
		}
		made, err := receipt.prepare(options, []string{"COOKIE=1", "PLUGIN_UNIX_SOCKET_DIR=/elsewhere"})
		if err != nil {
			t.Fatal(err)
		}
		environment := strings.Join(made.command.Env, "\n")
		if !config.SkipHostEnv || strings.Contains(environment, "hunter2") ||
			!strings.HasPrefix(environment, "COOKIE=1\n") ||
			!strings.Contains(environment, "PLUGIN_UNIX_SOCKET_DIR=/run/x\nAPERIO_HOST_SOCKET=/run/s") {
			t.Errorf("environment %s", environment)
		}
		if wanted := filepath.Join(receipt.Folder, "files", "bin", "box"); made.Name() != wanted {
			t.Errorf("got %s, want %s", made.Name(), wanted)
		}
	}
}

func TestAPythonPluginIsStartedByItsInterpreter(t *testing.T) {
	interpreter := map[string]any{"executable": "/usr/bin/python3.11", "tag": "cp311"}
	receipt := found(t, installed(t, map[string]any{"interpreter": interpreter}), "")
	made, err := receipt.prepare(Options{RuntimeFolder: "/run/x"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	start := filepath.Join(receipt.Folder, "files", "bin", "box.py")
	wanted := "/usr/bin/python3.11 -I -S -B " + start
	if got := strings.Join(made.command.Args, " "); got != wanted {
		t.Errorf("got %s, want %s", got, wanted)
	}
}

func TestChangedFilesAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		change func(files string) error
		named  string
	}{
		"contents": {func(files string) error {
			return os.WriteFile(filepath.Join(files, "bin", "box"), []byte("other"), 0o755)
		}, `"bin/box"`},
		"mode": {func(files string) error {
			return os.Chmod(filepath.Join(files, "manifest.yaml"), 0o755)
		}, `"manifest.yaml"`},
		"set-uid": {func(files string) error {
			return os.Chmod(filepath.Join(files, "bin", "box"), 0o755|os.ModeSetuid)
		}, `"bin/box"`},
		"missing": {func(files string) error {
			return os.Remove(filepath.Join(files, "manifest.yaml"))
		}, `"manifest.yaml"`},
		"new": {func(files string) error {
			return os.WriteFile(filepath.Join(files, "new"), nil, 0o644)
		}, `"new"`},
		"link to the same": {func(files string) error {
			path := filepath.Join(files, "manifest.yaml")
			return errors.Join(os.Rename(path, files+"-moved"), os.Symlink(files+"-moved", path))
		}, "manifest.yaml"},
		"a list with a path outside": {func(files string) error {
			return os.WriteFile(filepath.Join(files, "..", "files.sha256"), []byte("x  0644  ../../x\n"), 0o644)
		}, "files.sha256"},
	} {
		t.Run(name, func(t *testing.T) {
			receipt := found(t, installed(t, nil), "")
			if err := c.change(filepath.Join(receipt.Folder, "files")); err != nil {
				t.Fatal(err)
			}
			config, err := receipt.ClientConfig(Options{RuntimeFolder: "/run/x"})
			if config != nil || !errors.Is(err, ErrFilesChanged) || code(t, err) != CodeFilesChanged || !strings.Contains(err.Error(), c.named) {
				t.Errorf("got %v, %v", config, err)
			}
		})
	}
}

func TestReceiptsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		changes map[string]any
		code    string
	}{
		"none":       {nil, ""},
		"newer":      {map[string]any{"schema": "aperio.receipt/v2"}, CodeReceiptNewer},
		"schema":     {map[string]any{"schema": "aperio.other/v1"}, CodeReceiptInvalid},
		"id":         {map[string]any{"id": "acme/other"}, CodeReceiptInvalid},
		"version":    {map[string]any{"version": "1.2.1"}, CodeReceiptInvalid},
		"entrypoint": {map[string]any{"entrypoint": "../../../bin/sh"}, CodeReceiptInvalid},
		"protocol":   {map[string]any{"protocol": "2.0"}, CodeProtocolIncompatible},
		"a number":   {map[string]any{"protocol": 1.0}, CodeReceiptInvalid},
		"too long":   {map[string]any{"source": strings.Repeat("x", maxReceiptBytes)}, CodeReceiptInvalid},
	} {
		receipt, err := Find(installed(t, c.changes), id, "")
		if got := code(t, err); got != c.code || (err == nil) == (receipt == nil) {
			t.Errorf("%s: got %q, %v, %v", name, got, receipt, err)
		}
	}
	if _, err := Find(t.TempDir(), id, ""); code(t, err) != CodeNotInstalled {
		t.Errorf("got %v", err)
	}
	if _, err := Find(installed(t, nil), id, "9.9.9"); code(t, err) != CodeNotInstalled {
		t.Errorf("got %v", err)
	}
}

func TestNamesThatLeadElsewhereAreRefused(t *testing.T) {
	home := installed(t, nil)
	for _, name := range []string{"", "acme", "../acme/x", "acme/..", "acme/box/x", "Acme/box", "acme/box\n"} {
		if _, err := Find(home, name, "1.2.0"); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	for _, version := range []string{"..", "1.2", "1.2.0/../1.2.0", "1.2.0\n", "9.9.9"} {
		if _, err := Find(home, id, version); err == nil {
			t.Errorf("%q was taken", version)
		}
	}
}

func TestARelativeRuntimeFolderIsRefused(t *testing.T) {
	receipt := found(t, installed(t, nil), "")
	if _, err := receipt.ClientConfig(Options{RuntimeFolder: "x"}); err == nil {
		t.Error("it was taken")
	}
}

func FuzzReceipt(f *testing.F) {
	f.Add([]byte(`{"schema": "aperio.receipt/v1", "id": "acme/box-connector", "version": "1.2.0", "entrypoint": "box", "protocol": "1.0"}`))
	f.Add([]byte(`{"interpreter": 5}`))
	f.Add([]byte(`[`))
	home := f.TempDir()
	folder := filepath.Join(home, "plugins", "acme", "box-connector", "1.2.0")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		write(t, filepath.Join(folder, "receipt.json"), string(text), 0o644)
		receipt, err := Find(home, id, "1.2.0")
		if err == nil && (receipt.ID != id || strings.ContainsAny(receipt.Entrypoint, "/\\\x00")) {
			t.Errorf("%q was taken", text)
		}
	})
}

func TestAListHasEveryVersionAndSaysWhatCannotBeRead(t *testing.T) {
	home := installed(t, map[string]any{
		"badge": "verified", "platform": "linux/amd64",
		"signer":     map[string]any{"identity": "alice@example.com"},
		"rule":       map[string]any{"namespace": "acme", "repository_id": "7"},
		"exceptions": []any{map[string]any{"rule": "unverified", "until": "2031-12-31"}},
		"manifest": map[string]any{
			"scopes": []string{"read"}, "limits": map[string]any{"cpu": 0.5, "memory": "1 GiB"},
			"permissions": map[string]any{"egress": []string{"api.box.com:443"}},
		},
	})
	plugin := filepath.Join(home, "plugins", "acme", "box-connector")
	write(t, filepath.Join(plugin, "1.10.0", "receipt.json"), "{}", 0o644)
	for _, nothing := range []string{"2.0.0", ".aside", "no version"} {
		write(t, filepath.Join(plugin, nothing, "files", "x"), "", 0o644)
	}
	write(t, filepath.Join(home, "plugins", "Not", "an id", "1.0.0", "receipt.json"), "{}", 0o644)
	listed, err := List(home)
	if err != nil || len(listed) != 2 {
		t.Fatalf("got %v, %v", listed, err)
	}
	damaged, whole := listed[0], listed[1]
	if damaged.Version != "1.10.0" || damaged.Receipt != nil || damaged.Problem == nil || damaged.Current {
		t.Errorf("got %+v", damaged)
	}
	receipt := whole.Receipt
	if !whole.Current || whole.Problem != nil || receipt.Badge != "verified" ||
		receipt.Signer.Identity != "alice@example.com" || receipt.Rule.RepositoryID != "7" ||
		receipt.Exceptions[0].Until != "2031-12-31" || receipt.Manifest.Scopes[0] != "read" ||
		receipt.Manifest.Permissions.Egress[0] != "api.box.com:443" ||
		receipt.Manifest.Limits.CPU != "0.5" || receipt.Manifest.Limits.Memory != "1 GiB" {
		t.Errorf("got %+v", receipt)
	}
	if listed, err := List(t.TempDir()); err != nil || len(listed) != 0 {
		t.Errorf("an empty home has %v, %v", listed, err)
	}
}

func TestACurrentVersionOfANewerFormIsNotGuessed(t *testing.T) {
	home := installed(t, nil)
	write(t, filepath.Join(home, "plugins", "acme", "box-connector", "current.json"),
		`{"schema": 2, "version": "1.2.0"}`, 0o644)
	if _, err := Find(home, id, ""); err == nil {
		t.Error("it was taken")
	}
	found(t, home, "1.2.0")
}

func TestAPluginsConfigIsWithoutTheClientsSecret(t *testing.T) {
	declared := &pb.SchemaResponse{
		Fields: []*pb.ConfigField{
			{Key: "client_id"}, {Key: "client_secret"}, {Key: "region", DefaultJson: `"eu"`},
		},
		Auth: &pb.Auth{Method: &pb.Auth_Oauth2{Oauth2: &pb.Auth_OAuth2{
			ClientIdField: "client_id", ClientSecretField: "client_secret",
		}}},
	}
	given := map[string]any{"client_id": "me", "client_secret": "hunter2"}
	config, err := PluginConfig(declared, given)
	if want := `{"client_id":"me","region":"eu"}`; err != nil || string(config) != want {
		t.Errorf("got %s, %v, want %s", config, err, want)
	}
	declared.Fields = append(declared.Fields, &pb.ConfigField{Key: "client_secret", HostOnly: true})
	if config, err := PluginConfig(declared, given); err == nil {
		t.Errorf("a key twice gave %s", config)
	}
}
