package host

import (
	"encoding/json"
	"time"
)

// Receipt is the record of one installed version: every key of its receipt.json. A key that an
// earlier aperio did not write is the zero value.
type Receipt struct {
	Schema     string `json:"schema"`
	ID         string `json:"id"`
	Version    string `json:"version"`
	Kind       string `json:"kind"`
	Entrypoint string `json:"entrypoint"`
	Protocol   string `json:"protocol"`
	Provider   string `json:"provider"`
	// Platform is such as linux/amd64.
	Platform string `json:"platform"`
	// ArtifactSHA256 and TreeDigest are of what was unpacked, and of files.sha256.
	ArtifactSHA256 string    `json:"artifact_sha256"`
	TreeDigest     string    `json:"tree_digest"`
	InstalledAt    time.Time `json:"installed_at"`
	// Badge is official, verified, community, local or unsigned.
	Badge string `json:"badge"`
	// Signer, Rule and Proof say why it was admitted at install: nil, all three, for an Exception.
	Signer    *Signer    `json:"signer"`
	Rule      *Rule      `json:"rule"`
	Proof     *Proof     `json:"proof"`
	Exception *Exception `json:"exception"`
	// Exceptions are further ones that it took, such as from having a verified publisher.
	Exceptions []Exception `json:"exceptions"`
	// IndexSerial is the edition of the index that offered it; nil: it did not say.
	IndexSerial *int64 `json:"index_serial"`
	Source      string `json:"source"`
	// Origin is the registry, the file or the address that it came from; nil, of an earlier aperio.
	Origin *Origin `json:"origin"`
	// Builds are the artifacts of the version, of every platform that its origin offered.
	Builds []Build `json:"builds"`
	// LogProof is that the registry's log had it, as a C2SP tlog-proof; nil: it has no log.
	LogProof *string `json:"log_proof"`
	// StateOwner is whose stored state it uses.
	StateOwner string `json:"state_owner"`
	// Interpreter executes a Python plugin; nil for a binary.
	Interpreter *Interpreter `json:"interpreter"`
	// Manifest is what it declares, and asks for.
	Manifest Manifest `json:"manifest"`
	// Grant is what the operator granted of that; nil, of an earlier aperio: all of it.
	Grant *Grant `json:"grant"`

	// Folder is where the version stands; it is absolute.
	Folder string `json:"-"`
	// Raw is what it was read from, for keys of a newer aperio; Digest is its sha256, hex.
	Raw    json.RawMessage `json:"-"`
	Digest string          `json:"-"`

	home string
}

// Signer is who signed an artifact, as the certificate says.
type Signer struct {
	Domain            string            `json:"domain"`
	Identity          string            `json:"identity"`
	Issuer            string            `json:"issuer"`
	SignedAt          time.Time         `json:"signed_at"`
	CertificateSHA256 string            `json:"certificate_sha256"`
	Claims            map[string]string `json:"claims"`
	FurtherDomains    []string          `json:"further_domains"`
}

// Origin is where a version came from; exactly one is set.
type Origin struct {
	Registry string `json:"registry,omitempty"`
	File     string `json:"file,omitempty"`
	URL      string `json:"url,omitempty"`
}

// Build is one artifact of a version.
type Build struct {
	// Platform is such as linux/amd64.
	Platform string `json:"platform"`
	SHA256   string `json:"sha256"`
	Size     *int64 `json:"size,omitempty"` // in bytes; nil: nobody said it
}

// Rule is the operator's rule that admitted a signer; which of its keys are set depends on whom it
// names, as in config.toml.
type Rule struct {
	Namespace         string `json:"namespace"`
	Domain            string `json:"domain"`
	Identity          string `json:"identity"`
	Issuer            string `json:"issuer"`
	Plugin            string `json:"plugin"`
	Tier              string `json:"tier"`
	ValidFrom         string `json:"valid_from"`
	ValidUntil        string `json:"valid_until"`
	CI                string `json:"ci"`
	Repository        string `json:"repository"`
	RepositoryID      string `json:"repository_id"`
	OwnerID           string `json:"owner_id"`
	Workflow          string `json:"workflow"`
	Ref               string `json:"ref"`
	Runner            string `json:"runner"`
	SignerWorkflow    string `json:"signer_workflow"`
	RequireProvenance bool   `json:"require_provenance"`
	Builder           string `json:"builder"`
	SourceRepository  string `json:"source_repository"`
}

// Proof is what the bundle proved at install.
type Proof struct {
	// Form is signature, or statement that names the artifact among its subjects.
	Form         string        `json:"form"`
	Root         TrustedRoot   `json:"root"`
	LogEntry     *LogEntry     `json:"log_entry"` // nil: the log gave its promise only
	Attestations []Attestation `json:"attestations"`
}

// TrustedRoot is what a proof was held against.
type TrustedRoot struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	Origin string `json:"origin"`
	AsOf   string `json:"as_of"`
}

// LogEntry is where a signature stands in a transparency log.
type LogEntry struct {
	Log      string `json:"log"`
	Index    int64  `json:"index"`
	TreeSize int64  `json:"tree_size"`
}

// Attestation is a further statement about an artifact that was verified.
type Attestation struct {
	PredicateType string      `json:"predicate_type"`
	Signer        Signer      `json:"signer"`
	Provenance    *Provenance `json:"provenance"` // nil: it is none
}

// Provenance is how an artifact was built, as its statement says.
type Provenance struct {
	Builder          string `json:"builder"`
	BuildType        string `json:"build_type"`
	SourceRepository string `json:"source_repository"`
	SourceSHA        string `json:"source_sha"`
	Invocation       string `json:"invocation"`
}

// Exception is a rule that the operator does not ask of a plugin until the end of a day.
type Exception struct {
	// Plugin is the id, with the version if it is about one; empty for one of the command line.
	Plugin string `json:"plugin"`
	// Rule is unsigned, unverified or limit:NAME.
	Rule string `json:"rule"`
	// Until is the last day on which it holds, such as 2031-12-31.
	Until  string `json:"until"`
	Reason string `json:"reason"`
	// Source is the configuration file that states it; empty when a receipt does.
	Source string `json:"source"`
}

// Interpreter is the Python that a plugin was installed for.
type Interpreter struct {
	Executable string `json:"executable"`
	Version    string `json:"version"`
	Tag        string `json:"tag"`
	BasePrefix string `json:"base_prefix"`
}

// Manifest is what a plugin declares of itself (docs/reference/manifest.md).
type Manifest struct {
	Schema      string      `json:"schema"`
	ID          string      `json:"id"`
	Version     string      `json:"version"`
	Kind        string      `json:"kind"`
	Provider    string      `json:"provider"`
	Name        string      `json:"name"`
	Description string      `json:"description"`
	License     string      `json:"license"`
	Homepage    string      `json:"homepage"`
	Source      string      `json:"source"`
	Protocol    string      `json:"protocol"`
	Runtime     Runtime     `json:"runtime"`
	Entrypoint  string      `json:"entrypoint"`
	Scopes      []string    `json:"scopes"`
	Permissions Permissions `json:"permissions"`
	// Limits are what it asks for; this package enforces none of them.
	Limits Limits `json:"limits"`
	// State is whether it uses the key-value store.
	State bool `json:"state"`
}

// Runtime is what executes a plugin.
type Runtime struct {
	Language string   `json:"language"`
	Tags     []string `json:"tags"`
}

// Permissions are what a plugin asks for.
type Permissions struct {
	Egress           []string           `json:"egress"`
	EgressFromConfig []EgressFromConfig `json:"egress_from_config"`
	// FoldersFromConfig are settings that name folders which the plugin writes to.
	FoldersFromConfig []string `json:"folders_from_config"`
}

// EgressFromConfig is a host that a setting names.
type EgressFromConfig struct {
	Field  string `json:"field"`
	Suffix string `json:"suffix"`
	Port   int    `json:"port"`
}

// Limits are those of a manifest, as it writes them.
type Limits struct {
	Memory    string      `json:"memory"`
	CPU       json.Number `json:"cpu"`
	Processes int         `json:"processes"`
	OpenFiles int         `json:"open_files"`
	Tmp       string      `json:"tmp"`
	// Duration is how long one sync may take altogether; a record of before it was known lacks it.
	Duration string `json:"duration"`
}

// Grant is what a plugin may do: of what its manifest asks for, and beyond.
type Grant struct {
	Scopes      []string    `json:"scopes"`
	Permissions Permissions `json:"permissions"`
	Limits      Limits      `json:"limits"`
	State       bool        `json:"state"`
	// Own are hosts that the operator's own rules open.
	Own []OwnRule `json:"own"`
}

// OwnRule is a host and port that the operator opens to one plugin.
type OwnRule struct {
	Rule        string `json:"rule"`
	AnyProtocol bool   `json:"any_protocol"`
}
