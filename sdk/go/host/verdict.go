package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	verdictSchema   = "aperio.launch-verdict/v1"
	verdictTimeout  = 60 * time.Second
	maxVerdictBytes = 1024 * 1024
	dayForm         = "2006-01-02"
)

// Refusal says why a plugin was not started, or an envelope not sent: nothing was executed.
type Refusal struct {
	// Code names the cause, for programs: one of the constants of this package, or another of aperio's.
	Code string
	// What was not done, and Why: evidence, may have several lines.
	What, Why string
	// Next are steps to take, the easiest first.
	Next []string
	// ExitStatus is that of aperio: 3 refused, 6 incompatible, 1 not installed; 0: it was not asked.
	ExitStatus int
	// Err is the cause, where there is one.
	Err error
}

// Error gives all of it in one line.
func (r *Refusal) Error() string {
	text := r.What
	for _, line := range append(strings.Split(r.Why, "\n"), r.Next...) {
		if line != "" {
			text += "; " + line
		}
	}
	return text + " (" + r.Code + ")"
}

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Err }

// Verdict is the leave to start one version once (`aperio plugin may-run`).
type Verdict struct {
	Schema       string    `json:"schema"`
	ID           string    `json:"id"`
	Version      string    `json:"version"`
	Kind         string    `json:"kind"`
	Platform     string    `json:"platform"`
	MayRun       bool      `json:"may_run"`
	Organization string    `json:"organization"`
	JudgedAt     time.Time `json:"judged_at"`
	// Until is the last day of the first exception to end; empty: it takes none.
	Until         string `json:"until"`
	ReceiptSHA256 string `json:"receipt_sha256"`
	TreeDigest    string `json:"tree_digest"`
	FilesChecked  bool   `json:"files_checked"`
	// Badge, Signer, Rule and Exceptions are by the rules of now; a receipt has those of install.
	Badge      string      `json:"badge"`
	Required   string      `json:"required"`
	Signer     *Signer     `json:"signer"`
	Rule       *Rule       `json:"rule"`
	RuleSource string      `json:"rule_source"`
	Exceptions []Exception `json:"exceptions"`
	// Grant is what it may do; a host that enforces anything enforces that.
	Grant *Grant `json:"grant"`
	// Enforced and NotEnforced are limits: this package enforces none, Options.Enforces may name some.
	Enforced    []string `json:"enforced"`
	NotEnforced []string `json:"not_enforced"`
}

// MayRun asks aperio whether this version may be started now, as ClientConfig does at every start.
// The error is a *Refusal.
func (r *Receipt) MayRun(ctx context.Context, options Options) (*Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, verdictTimeout)
	defer cancel()
	asked := time.Now().Truncate(time.Second)
	answer, status, err := r.ask(ctx, options)
	if err != nil {
		return nil, r.noVerdict(err)
	}
	if len(answer.Errors) > 0 {
		first := answer.Errors[0]
		return nil, &Refusal{first.Code, first.What, first.Why, first.Next, status, nil}
	}
	var verdict Verdict
	if err := json.Unmarshal(answer.Data, &verdict); err != nil {
		return nil, r.noVerdict(fmt.Errorf("its verdict cannot be read: %w", err))
	}
	if answer.Status != "ok" || status != 0 {
		return nil, r.noVerdict(fmt.Errorf("it ended with status %d", status))
	}
	if err := r.hold(&verdict, options.organization(), asked); err != nil {
		return nil, err
	}
	return &verdict, nil
}

// envelope is the JSON document of any command.
type envelope struct {
	Schema int             `json:"schema"`
	Status string          `json:"status"`
	Data   json.RawMessage `json:"data"`
	Errors []struct {
		Code string   `json:"code"`
		What string   `json:"what"`
		Why  string   `json:"why"`
		Next []string `json:"next"`
	} `json:"errors"`
}

// ask runs aperio; the error says that it gave no document.
func (r *Receipt) ask(ctx context.Context, options Options) (*envelope, int, error) {
	program, err := exec.LookPath(options.program())
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return nil, 0, err
	}
	said, noise := &capped{most: maxVerdictBytes}, &capped{most: maxCurrentBytes}
	command := exec.CommandContext(ctx, program, r.words(options)...)
	command.Dir = "/" // what stands in the server's folder is no part of the question
	command.Env = operatorsEnvironment()
	command.Stdout, command.Stderr = said, noise
	command.WaitDelay = time.Second
	err = command.Run()
	var answer envelope
	if said.full || json.Unmarshal(said.Bytes(), &answer) != nil || answer.Schema != 1 {
		err = errors.Join(err, ctx.Err(), errors.New(strings.TrimSpace(noise.String())))
		return nil, 0, fmt.Errorf("%s gave no verdict: %w", program, err)
	}
	if command.ProcessState == nil {
		return nil, 0, err
	}
	return &answer, command.ProcessState.ExitCode(), nil
}

func (r *Receipt) words(options Options) []string {
	words := []string{
		"plugin", "may-run", r.ID + "@" + r.Version, "--json", "--org", options.organization(),
	}
	for _, limit := range options.Enforces {
		words = append(words, "--enforces", limit)
	}
	if !isOperatorsOwn(r.home) {
		words = append(words, "--home", r.home)
	}
	if options.ConfigFile != "" {
		words = append(words, "--config", options.ConfigFile)
	}
	return words
}

// hold holds a verdict against what is to be started, for whom and when.
func (r *Receipt) hold(verdict *Verdict, organization string, asked time.Time) error {
	type pair struct{ name, expected, found string }
	for _, each := range []pair{
		{"schema", verdictSchema, verdict.Schema},
		{"may_run", "true", fmt.Sprint(verdict.MayRun)},
		{"files_checked", "true", fmt.Sprint(verdict.FilesChecked)},
		{"id", r.ID, verdict.ID},
		{"version", r.Version, verdict.Version},
		{"organization", organization, verdict.Organization},
		{"receipt_sha256", r.Digest, verdict.ReceiptSHA256},
		{"tree_digest", r.TreeDigest, verdict.TreeDigest},
	} {
		if each.expected != each.found {
			return r.refusal(CodeVerdictMismatch, "the verdict is about something else",
				fmt.Sprintf("%s: expected %s, found %s", each.name, each.expected, each.found),
				"read the receipt again with Find, and start that")
		}
	}
	now := time.Now()
	isOld := verdict.JudgedAt.Before(asked) || verdict.JudgedAt.After(now.Add(time.Second))
	if isOld || (verdict.Until != "" && verdict.Until < asked.UTC().Format(dayForm)) {
		return r.refusal(CodeVerdictStale, "the verdict was not made for this start",
			fmt.Sprintf("it was asked for at %s; judged at %s, good until %q",
				asked.UTC().Format(time.RFC3339), verdict.JudgedAt.Format(time.RFC3339), verdict.Until),
			"ask again; see which program is run as aperio")
	}
	return nil
}

func (r *Receipt) noVerdict(err error) error {
	refused := r.refusal(CodeVerdictMissing, "aperio could not be asked whether it may be",
		err.Error(), "install aperio-cli where this server finds it: `aperio` in PATH, or Options.Aperio",
		fmt.Sprintf("see what `aperio plugin may-run %s --json` says", r.ID))
	refused.Err = err
	return refused
}

func (r *Receipt) refusal(code, what, why string, next ...string) *Refusal {
	return &Refusal{
		Code: code, What: fmt.Sprintf("`%s` %s was not started: %s", r.ID, r.Version, what),
		Why: why, Next: next,
	}
}

// operatorsEnvironment gives aperio what it finds the operator's places by, and nothing else that a
// server was started with: the product's own secrets are variables, too.
func operatorsEnvironment() (found []string) {
	for _, name := range []string{
		"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "APERIO_HOME",
		"XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR",
	} {
		if value, isSet := os.LookupEnv(name); isSet {
			found = append(found, name+"="+value)
		}
	}
	return found
}

// isOperatorsOwn tells whether a home is the one that aperio uses when none is named. Naming it
// would have aperio look for config.toml inside.
func isOperatorsOwn(home string) bool {
	own := os.Getenv("APERIO_HOME")
	if own == "" {
		own = filepath.Join(os.Getenv("HOME"), ".aperio")
	}
	one, err := os.Stat(home)
	other, otherErr := os.Stat(own)
	return errors.Join(err, otherErr) == nil && filepath.IsAbs(own) && os.SameFile(one, other)
}

// capped keeps the first bytes of what is written to it.
type capped struct {
	bytes.Buffer
	most int
	full bool
}

// Write takes everything.
func (c *capped) Write(data []byte) (int, error) {
	kept := min(len(data), c.most-c.Len())
	c.full = c.full || kept < len(data)
	_, _ = c.Buffer.Write(data[:kept]) // a buffer takes all
	return len(data), nil
}
