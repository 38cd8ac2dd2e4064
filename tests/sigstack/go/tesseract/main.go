// Command tesseract serves a certificate transparency log of TesseraCT from one folder of files.
//
// It exists because the command of TesseraCT v0.1.2 uses two options of tessera's antispam index
// that no published version of tessera has. The log itself (handlers, chain validation, signed
// certificate timestamps, storage) is TesseraCT's. Left out: the antispam index, which answers a
// certificate that was submitted before (every leaf of a test is new), remote roots, witnesses and
// telemetry.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/transparency-dev/tessera"
	files "github.com/transparency-dev/tessera/storage/posix"
	"github.com/transparency-dev/tesseract"
	"github.com/transparency-dev/tesseract/storage"
	"github.com/transparency-dev/tesseract/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const (
	requestTimeout     = 10 * time.Second
	stopTimeout        = 5 * time.Second
	checkpointInterval = time.Second
	maxChainBytes      = 64 << 10
)

// settings are what the command line says; all of it is needed.
type settings struct {
	address, origin, key, roots, storage string
}

func main() {
	var chosen settings
	flag.StringVar(&chosen.address, "address", "", "`host:port` to listen on")
	flag.StringVar(&chosen.origin, "origin", "", "name of the log, the first line of its checkpoints")
	flag.StringVar(&chosen.key, "key", "", "`file` with the log's ECDSA private key, SEC 1 in PEM")
	flag.StringVar(&chosen.roots, "roots", "", "`file` with the accepted root certificates, PEM")
	flag.StringVar(&chosen.storage, "storage", "", "`folder` of the log, made when missing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, chosen); err != nil {
		log.Fatalf("tesseract: %v", err)
	}
}

// serve answers requests until ctx ends, then lets those that are under way finish.
func serve(ctx context.Context, chosen settings) error {
	key, err := readKey(chosen.key)
	if err != nil {
		return err
	}
	create := func(ctx context.Context, signer note.Signer) (*storage.CTStorage, error) {
		return openLog(ctx, chosen.storage, signer)
	}
	// Only what Fulcio issues: its leaves, and the precertificates they are made from.
	accepted := tesseract.ChainValidationConfig{
		RootsPEMFile: chosen.roots,
		ExtKeyUsages: "CodeSigning",
	}
	limits := tesseract.LogHandlerOpts{MaxCertChainBytes: maxChainBytes}
	handler, err := tesseract.NewLogHandler(
		ctx, chosen.origin, key, accepted, create, requestTimeout, false, "", limits)
	if err != nil {
		return fmt.Errorf("the log cannot be opened: %w", err)
	}
	server := &http.Server{
		Addr:              chosen.address,
		Handler:           handler,
		ReadHeaderTimeout: requestTimeout,
	}
	return listen(ctx, server)
}

func listen(ctx context.Context, server *http.Server) error {
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return server.Shutdown(grace)
}

func openLog(ctx context.Context, folder string, signer note.Signer) (*storage.CTStorage, error) {
	driver, err := files.New(ctx, files.Config{Path: folder})
	if err != nil {
		return nil, err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCTLayout().
		WithCheckpointInterval(checkpointInterval)
	appender, _, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return nil, err
	}
	issuers, err := posix.NewIssuerStorage(ctx, folder)
	if err != nil {
		return nil, err
	}
	return storage.NewCTStorage(ctx, &storage.CTStorageOptions{
		Appender:      appender,
		Reader:        reader,
		IssuerStorage: issuers,
	})
}

func readKey(path string) (*ecdsa.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New(path + " holds no PEM block")
	}
	return x509.ParseECPrivateKey(block.Bytes)
}
