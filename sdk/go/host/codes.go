package host

// Codes of a Refusal that are this package's own.
const (
	// CodeVerdictMissing: aperio could not be asked, or gave no verdict.
	CodeVerdictMissing = "verdict-missing"
	// CodeVerdictMismatch: the verdict is about something else than what is to be started.
	CodeVerdictMismatch = "verdict-mismatch"
	// CodeVerdictStale: the verdict was not made for this start.
	CodeVerdictStale = "verdict-stale"
	// CodeReceiptChanged: the version was installed anew, or removed, since its receipt was read.
	CodeReceiptChanged = "receipt-changed"
	// CodeForeignOrganization: an envelope is another organization's, or nobody's.
	CodeForeignOrganization = "organization-foreign"
)

// Codes of a Refusal that `aperio plugin run` has as well; docs/reference/errors.md says what each of
// them means, and has more.
const (
	CodeNotInstalled              = "not-installed"
	CodePluginInUse               = "plugin-in-use"
	CodeReceiptInvalid            = "receipt-invalid"
	CodeReceiptNewer              = "receipt-newer"
	CodeRecordNewer               = "record-newer"
	CodeFilesChanged              = "files-changed"
	CodePathShared                = "path-shared"
	CodeSignatureMissing          = "signature-missing"
	CodeSignatureIdentityMismatch = "signature-identity-mismatch"
	CodePublisherUnknown          = "publisher-unknown"
	CodePublisherUnverified       = "publisher-unverified"
	CodePublisherFileInvalid      = "publisher-file-invalid"
	CodeProvenanceMissing         = "provenance-missing"
	CodeProvenanceMismatch        = "provenance-mismatch"
	CodeExceptionExpired          = "exception-expired"
	CodeLimitRequired             = "limit-required"
	CodeConfigurationInvalid      = "configuration-invalid"
	CodeProtocolIncompatible      = "protocol-incompatible"
	CodePlatformIncompatible      = "platform-incompatible"
	CodeInterpreterChanged        = "interpreter-changed"
	CodeSystemUnsupported         = "system-unsupported"
)
