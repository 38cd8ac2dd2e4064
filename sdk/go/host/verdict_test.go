package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-plugin"
)

// saying is a program that says a verdict on a receipt, with changes, in the place of aperio.
func saying(t *testing.T, receipt *Receipt, changes map[string]any) Options {
	t.Helper()
	data := map[string]any{
		"schema": verdictSchema, "id": receipt.ID, "version": receipt.Version, "may_run": true,
		"organization": "local", "judged_at": "NOW",
		"until": nil, "receipt_sha256": receipt.Digest, "tree_digest": receipt.TreeDigest,
		"files_checked": true, "rule_source": nil, "not_enforced": []string{"cpu"}, "more": "to come",
	}
	maps.Copy(data, changes)
	text, err := json.Marshal(map[string]any{
		"schema": 1, "status": "ok", "exit_status": 0, "data": data, "errors": []any{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return printing(t, string(text), "")
}

// printing is a program that prints something and does more.
func printing(t *testing.T, text, more string) Options {
	t.Helper()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "said"), text, 0o644)
	program := filepath.Join(folder, "aperio")
	script := fmt.Sprintf("#!/bin/sh\ncd %s\necho \"$@\" > words\nenv > environment\nsed s/NOW/`date -u +%%Y-%%m-%%dT%%H:%%M:%%SZ`/ said\n%s\n", folder, more)
	write(t, program, script, 0o755)
	return Options{RuntimeFolder: folder, Aperio: program}
}

func code(t *testing.T, err error) string {
	t.Helper()
	var refused *Refusal
	if err != nil && !errors.As(err, &refused) {
		t.Errorf("%v is no Refusal", err)
	}
	if refused == nil {
		return ""
	}
	return refused.Code
}

func TestAVerdictCountsForWhatItIsAbout(t *testing.T) {
	receipt := found(t, installed(t, nil), "")
	at := func(from time.Duration) string { return time.Now().Add(from).UTC().Format(time.RFC3339) }
	today := time.Now().UTC()
	for name, c := range map[string]struct {
		changes map[string]any
		code    string
	}{
		"as it is":                  {nil, ""},
		"an exception's last day":   {map[string]any{"until": today.Format(dayForm)}, ""},
		"an exception that ended":   {map[string]any{"until": today.AddDate(0, 0, -1).Format(dayForm)}, CodeVerdictStale},
		"made before":               {map[string]any{"judged_at": at(-time.Minute)}, CodeVerdictStale},
		"made later":                {map[string]any{"judged_at": at(time.Hour)}, CodeVerdictStale},
		"never made":                {map[string]any{"judged_at": nil}, CodeVerdictStale},
		"no moment":                 {map[string]any{"judged_at": "yesterday"}, CodeVerdictMissing},
		"another receipt":           {map[string]any{"receipt_sha256": strings.Repeat("0", 64)}, CodeVerdictMismatch},
		"no receipt":                {map[string]any{"receipt_sha256": nil}, CodeVerdictMismatch},
		"other files":               {map[string]any{"tree_digest": "t1:00"}, CodeVerdictMismatch},
		"files it did not look at":  {map[string]any{"files_checked": false}, CodeVerdictMismatch},
		"another plugin":            {map[string]any{"id": "acme/other"}, CodeVerdictMismatch},
		"another version":           {map[string]any{"version": "1.2.1"}, CodeVerdictMismatch},
		"another organization":      {map[string]any{"organization": "org_1"}, CodeVerdictMismatch},
		"another form":              {map[string]any{"schema": "aperio.launch-verdict/v2"}, CodeVerdictMismatch},
		"no":                        {map[string]any{"may_run": false}, CodeVerdictMismatch},
		"no answer to the question": {map[string]any{"may_run": nil}, CodeVerdictMismatch},
	} {
		verdict, err := receipt.MayRun(context.Background(), saying(t, receipt, c.changes))
		if got := code(t, err); got != c.code || (verdict == nil) == (err == nil) {
			t.Errorf("%s: got %q, want %q: %v", name, got, c.code, err)
		}
	}
}

func TestWhatIsNoVerdictRefuses(t *testing.T) {
	receipt := found(t, installed(t, nil), "")
	folder := t.TempDir()
	refusal := `{"schema": 1, "status": "error", "data": {}, "errors": [{"code": "publisher-unknown",` +
		`"what": "it was not started", "why": "nobody\nnamed", "next": ["name one"]}]}`
	for name, options := range map[string]Options{
		"no program":     {Aperio: filepath.Join(folder, "aperio")},
		"a folder":       {Aperio: folder},
		"nothing":        printing(t, "", ""),
		"no JSON":        printing(t, "yes", ""),
		"another schema": printing(t, `{"schema": 2, "status": "ok", "data": {}, "errors": []}`, ""),
		"no data":        printing(t, `{"schema": 1, "status": "ok", "errors": []}`, ""),
		"too much":       printing(t, `{"schema": 1}`+strings.Repeat(" ", maxVerdictBytes), ""),
		"a failure":      printing(t, `{"schema": 1, "status": "ok", "data": {}, "errors": []}`, "exit 3"),
		"an error that is none": printing(t, `{"schema": 1, "status": "error", "data": {}, "errors": []}`,
			"exit 0"),
	} {
		_, err := receipt.MayRun(context.Background(), options)
		if got := code(t, err); got != CodeVerdictMissing || !strings.Contains(err.Error(), "install aperio-cli") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, err := receipt.MayRun(context.Background(), Options{Aperio: filepath.Join(folder, "aperio")})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	_, err = receipt.MayRun(context.Background(), printing(t, refusal, "exit 3"))
	var refused *Refusal
	if !errors.As(err, &refused) || refused.ExitStatus != 3 || refused.Next[0] != "name one" ||
		err.Error() != "it was not started; nobody; named; name one (publisher-unknown)" {
		t.Errorf("got %v", err)
	}
}

func TestAnAperioThatHangsIsGivenUp(t *testing.T) {
	receipt := found(t, installed(t, nil), "")
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := receipt.MayRun(ctx, printing(t, "", "exec sleep 60"))
	if code(t, err) != CodeVerdictMissing || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAperioIsAskedInTheOperatorsPlacesAndWithoutTheServersSecrets(t *testing.T) {
	home := installed(t, nil)
	receipt := found(t, home, "")
	t.Setenv("APERIO_ENCRYPTION_KEY", "hunter2")
	ask := func(options Options) (words, environment string) {
		_, refused := receipt.MayRun(context.Background(), options)
		asked, wordsErr := os.ReadFile(filepath.Join(options.RuntimeFolder, "words"))
		found, environmentErr := os.ReadFile(filepath.Join(options.RuntimeFolder, "environment"))
		if err := errors.Join(refused, wordsErr, environmentErr); err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(asked)), string(found)
	}
	plain := "plugin may-run acme/box-connector@1.2.0 --json --org local"
	words, environment := ask(saying(t, receipt, nil))
	if words != plain+" --home "+home || strings.Contains(environment, "hunter2") {
		t.Errorf("asked %s with %s", words, environment)
	}
	t.Setenv("APERIO_HOME", home) // naming it then would be the same
	if words, environment = ask(saying(t, receipt, nil)); words != plain ||
		!strings.Contains(environment, "APERIO_HOME="+home+"\n") {
		t.Errorf("asked %s", words)
	}
	options := saying(t, receipt, map[string]any{"organization": "org_1"})
	options.Organization, options.ConfigFile = "org_1", "/etc/x.toml"
	options.Enforces = []string{"cpu", "memory"}
	wanted := "plugin may-run acme/box-connector@1.2.0 --json --org org_1 --enforces cpu --enforces memory --config /etc/x.toml"
	if words, _ = ask(options); words != wanted {
		t.Errorf("asked %s", words)
	}
}

func TestTheHomeThatAperioUsesByItselfIsNotNamed(t *testing.T) {
	user := t.TempDir()
	t.Setenv("HOME", user)
	t.Setenv("APERIO_HOME", "")
	home := filepath.Join(user, ".aperio")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	if !isOperatorsOwn(home) || isOperatorsOwn(user) {
		t.Error("a home was taken for another")
	}
	t.Setenv("APERIO_HOME", user)
	if isOperatorsOwn(home) || !isOperatorsOwn(user) {
		t.Error("a home was taken for another")
	}
}

// started starts a plugin that is none; it leaves a mark when it is executed.
func started(t *testing.T, receipt *Receipt, options Options) error {
	t.Helper()
	config, err := receipt.ClientConfig(options)
	if err != nil {
		return err
	}
	config.StartTimeout = 10 * time.Second
	client := plugin.NewClient(config)
	defer client.Kill()
	_, err = Connector(client)
	return err
}

func TestNothingIsExecutedBeforeTheVerdict(t *testing.T) {
	home := installed(t, nil)
	receipt := found(t, home, "")
	mark := filepath.Join(t.TempDir(), "executed")
	box := filepath.Join(receipt.Folder, "files", "bin", "box")
	change := func(text string) { write(t, box, text, 0o755) }

	refusing := saying(t, receipt, map[string]any{"may_run": false})
	if err := started(t, receipt, refusing); code(t, err) != CodeVerdictMismatch {
		t.Errorf("got %v", err)
	}
	// A change between the question and the start is seen as well.
	late := saying(t, receipt, nil)
	program, err := os.ReadFile(late.Aperio)
	if err != nil {
		t.Fatal(err)
	}
	write(t, late.Aperio, string(program)+fmt.Sprintf("echo touch %s > %s\n", mark, box), 0o755)
	if err := started(t, receipt, late); !errors.Is(err, ErrFilesChanged) {
		t.Errorf("got %v", err)
	}
	change("#!/bin/sh\n")
	// A version that was installed anew has another receipt.
	write(t, receipt.path(), `{"id": "acme/box-connector"}`, 0o644)
	if err := started(t, receipt, saying(t, receipt, nil)); code(t, err) != CodeReceiptChanged {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(receipt.path()); err != nil {
		t.Fatal(err)
	}
	err = started(t, receipt, saying(t, receipt, nil))
	if code(t, err) != CodeReceiptChanged || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was executed")
	}
}

func TestAStartThatFailsKeepsNothingFromBeingRemoved(t *testing.T) {
	receipt := found(t, installed(t, nil), "")
	err := started(t, receipt, saying(t, receipt, nil)) // its box ends at once, without a handshake
	if err == nil || !strings.Contains(err.Error(), "aperio plugin test acme/box-connector") {
		t.Errorf("got %v", err)
	}
	taken := exec.Command("flock", "--exclusive", "--timeout", "10", receipt.path(), "true")
	if said, err := taken.CombinedOutput(); err != nil {
		t.Errorf("it is still held: %v %s", err, said)
	}
}

func TestSeveralServersHoldOneVersion(t *testing.T) {
	receipt := found(t, installed(t, nil), "")
	first, err := receipt.lease()
	if err != nil {
		t.Fatal(err)
	}
	defer first.release()
	second, err := receipt.lease()
	if err != nil {
		t.Fatal(err)
	}
	second.release()
}

func TestARefusalIsOneLine(t *testing.T) {
	refused := &Refusal{Code: "a-code", What: "what", Why: "", Next: nil}
	if got := refused.Error(); got != "what (a-code)" {
		t.Errorf("got %q", got)
	}
}
