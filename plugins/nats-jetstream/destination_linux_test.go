package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
	"github.com/writer/aperio-plugin-go/plugintest"
)

// harness is the plugin as after a start, with a server to publish to.
func harness(t *testing.T, servers string, further map[string]any) *plugintest.Harness {
	t.Helper()
	return slowHarness(t, servers, further, 0)
}

// slowHarness has calls that may take so long.
func slowHarness(
	t *testing.T, servers string, further map[string]any, timeout time.Duration,
) *plugintest.Harness {
	t.Helper()
	config := map[string]any{"servers": servers, "stream": testStream}
	for key, value := range further {
		config[key] = value
	}
	plugin := &NATSJetStream{}
	t.Cleanup(func() { closeAll(&plugin.links) })
	return plugintest.New(t, plugin, plugintest.Options{Config: config, Timeout: timeout})
}

func closeAll(links *links) {
	links.mutex.Lock()
	defer links.mutex.Unlock()
	for _, link := range links.byKey {
		link.connection.Close()
	}
}

// idOfNumber is a digest, as ids of envelopes are.
func idOfNumber(number int) string {
	sum := sha256.Sum256(fmt.Append(nil, number))
	return hex.EncodeToString(sum[:])
}

func event(id string) destination.Envelope { return padded(id, 0) }

// padded is an event with a text of so many bytes in it.
func padded(id string, length int) destination.Envelope {
	text := fmt.Sprintf(`{"id":%q, "schema_version":"aperio.event.v1","source":"aperio",`+
		`"producer":"acme/box-connector@1.2.3","organization_id":"local","integration_id":"int_1",`+
		`"provider":"BOX","kind":"event","event_type":"box.file_downloaded","actor":null,`+
		`"occurred_at":"2026-01-05T09:00:00.123456789Z","source_event_id":"e1",`+
		`"record": {"cost": 0.10, "text":%q}}`, id, strings.Repeat("x", length))
	return destination.Envelope{ID: id, Stream: destination.Event, JSON: json.RawMessage(text)}
}

// finding is as the product hands one over: eight keys, no id; its id is the delivery key.
func finding(key, status string) destination.Envelope {
	text := fmt.Sprintf(`{"schema_version":"aperio.finding.v1","source":"aperio",`+
		`"producer":"aperio.sspm","destination_id":"siem_1","organization_id":"local",`+
		`"kind":"finding","occurred_at":"2026-01-05T09:00:00Z","record":{"dedupeKey":"d1",`+
		`"findingId":"fnd_1","provider":"GITHUB","ruleId":"github.public_repository_created",`+
		`"severity":"HIGH","status":%q}}`, status)
	return destination.Envelope{ID: key, Stream: destination.Finding, JSON: json.RawMessage(text)}
}

func events(from, to int) []destination.Envelope {
	made := []destination.Envelope{}
	for number := from; number < to; number++ {
		made = append(made, event(idOfNumber(number)))
	}
	return made
}

func idsOf(envelopes []destination.Envelope) []string {
	ids := []string{}
	for _, envelope := range envelopes {
		ids = append(ids, envelope.ID)
	}
	return ids
}

// mustDeliver delivers; every envelope must be accepted.
func mustDeliver(t *testing.T, harness *plugintest.Harness, given ...destination.Envelope) {
	t.Helper()
	results, err := harness.Deliver(given...)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		if result.Status != destination.StatusAccepted {
			t.Fatalf("got %+v, %+v", result, result.Diagnostic)
		}
	}
}

// wantRefused delivers one event, which has to end in an error with a cause, about a setting.
func wantRefused(t *testing.T, harness *plugintest.Harness, cause aperio.Cause, key string) {
	t.Helper()
	results, err := harness.Deliver(event(idOfNumber(0)))
	var told *aperio.Error
	if !errors.As(err, &told) || !errors.Is(err, cause) || len(results) > 0 {
		t.Fatalf("got %v, %v; want %s", results, err, cause)
	}
	want := aperio.Path{aperio.Key(key)}
	if key == "" {
		want = nil
	}
	if !slices.Equal(told.Attribute, want) {
		t.Errorf("got the attribute %v, want %v", told.Attribute, want)
	}
}

func TestDeliverPublishesWhatTheBusHas(t *testing.T) {
	server := startServer(t, "")
	stream := server.stream(jetstream.StreamConfig{})
	given := event(idOfNumber(1))
	mustDeliver(t, harness(t, server.address(), nil), given, finding(idOfNumber(2), "OPEN"))
	messages := storedIn(t, stream)
	if len(messages) != 2 {
		t.Fatalf("the stream has %d messages", len(messages))
	}
	got := messages[0]
	if got.subject != "events.aperio.event.box.file_downloaded" || got.id != given.ID ||
		!bytes.Equal(got.event.Payload, given.JSON) || got.event.TenantId != "local" ||
		got.event.SchemaRef != "aperio/event/v1" || got.event.OccurredAt.Nanos != 123456789 {
		t.Errorf("got %+v", got)
	}
	got = messages[1]
	if got.subject != "events.aperio.finding.github.public_repository_created" ||
		got.id != idOfNumber(2) || got.event.Attributes["status"] != "OPEN" ||
		got.event.SchemaRef != "aperio/finding/v1" {
		t.Errorf("got %+v", got)
	}
}

func TestDeliverLeavesRepeatsOut(t *testing.T) {
	server := startServer(t, "")
	stream := server.stream(jetstream.StreamConfig{})
	one, other := harness(t, server.address(), nil), harness(t, server.address(), nil)
	given := events(0, 300)
	mustDeliver(t, one, given[:200]...)
	mustDeliver(t, one, given[100:]...)
	mustDeliver(t, other, given...) // as after a restart
	wantStored(t, stream, idsOf(given)...)
}

func TestDeliverPublishesEachStatusOfAFindingOnce(t *testing.T) {
	server := startServer(t, "")
	stream := server.stream(jetstream.StreamConfig{})
	plugin := harness(t, server.address(), nil)
	opened, resolved := finding(idOfNumber(1), "OPEN"), finding(idOfNumber(2), "RESOLVED")
	for range 2 {
		mustDeliver(t, plugin, opened)
		mustDeliver(t, plugin, resolved, resolved)
	}
	wantStored(t, stream, opened.ID, resolved.ID)
}

func TestDeliverRejectsOnlyWhatIsTooLarge(t *testing.T) {
	for name, test := range map[string]struct {
		server string
		stream int32
	}{
		"for the server": {"max_payload: 65536", -1},
		"for the stream": {"", 65536},
	} {
		t.Run(name, func(t *testing.T) {
			server := startServer(t, test.server)
			stream := server.stream(jetstream.StreamConfig{MaxMsgSize: test.stream})
			plugin := harness(t, server.address(), nil)
			given := events(0, 3)
			given[1] = padded(given[1].ID, 65536)
			results, err := plugin.Deliver(given...)
			if err != nil || len(results) != 3 {
				t.Fatalf("got %v, %v", results, err)
			}
			if rejected := results[1]; rejected.Status != destination.StatusRejected ||
				rejected.Diagnostic.Code != "message-too-large" {
				t.Errorf("got %+v", rejected)
			}
			wantStored(t, stream, given[0].ID, given[2].ID)
			mustDeliver(t, plugin, padded(idOfNumber(3), 60_000)) // fits, on the same connection
		})
	}
}

func TestDeliverRejectsWhatIsNoEnvelope(t *testing.T) {
	server := startServer(t, "")
	stream := server.stream(jetstream.StreamConfig{})
	given := events(0, 2)
	given[0].JSON = json.RawMessage(`{"id":"x"}`)
	results, err := harness(t, server.address(), nil).Deliver(given...)
	if err != nil || results[0].Status != destination.StatusRejected ||
		results[0].Diagnostic.Code != "envelope-invalid" {
		t.Errorf("got %+v, %v", results, err)
	}
	wantStored(t, stream, given[1].ID)
}

func TestDeliverRefusesAStreamThatItCannotPublishOn(t *testing.T) {
	server := startServer(t, "")
	for name, test := range map[string]struct {
		config jetstream.StreamConfig
		key    string
	}{
		"other subjects":      {jetstream.StreamConfig{Subjects: []string{"one.>"}}, "subject_prefix"},
		"fewer words":         {jetstream.StreamConfig{Subjects: []string{"two.*"}}, "subject_prefix"},
		"no acknowledgements": {jetstream.StreamConfig{Subjects: []string{"three.>"}, NoAck: true}, "stream"},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.Name = strings.ReplaceAll(name, " ", "-")
			further := map[string]any{"stream": test.config.Name, "subject_prefix": "events"}
			if test.key == "stream" {
				further["subject_prefix"] = "three"
			}
			stream := server.stream(test.config)
			plugin := harness(t, server.address(), further)
			wantRefused(t, plugin, aperio.InvalidConfig, test.key)
			// Mended, the same plugin publishes at its next call.
			test.config.NoAck, test.config.Subjects = false, []string{further["subject_prefix"].(string) + ".>"}
			server.stream(test.config)
			mustDeliver(t, plugin, event(idOfNumber(1)))
			wantStored(t, stream, idOfNumber(1))
			test.config.Subjects = []string{name[:1] + ".>"} // for the next test
			server.stream(test.config)
		})
	}
}

func TestDeliverRefusesAStreamThatKeepsNothing(t *testing.T) {
	server := startServer(t, "")
	stream := server.stream(jetstream.StreamConfig{Retention: jetstream.InterestPolicy})
	plugin := harness(t, server.address(), nil)
	wantRefused(t, plugin, aperio.InvalidConfig, "stream")
	ctx, cancel := context.WithTimeout(context.Background(), patience10)
	defer cancel()
	if _, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "reader"}); err != nil {
		t.Fatal(err)
	}
	mustDeliver(t, plugin, event(idOfNumber(1)))
	wantStored(t, stream, idOfNumber(1))
}

func TestDeliverRefusesAMirror(t *testing.T) {
	server := startServer(t, "")
	server.stream(jetstream.StreamConfig{})
	server.stream(jetstream.StreamConfig{
		Name: "COPY", Subjects: []string{}, Mirror: &jetstream.StreamSource{Name: testStream},
	})
	wantRefused(t, harness(t, server.address(), map[string]any{"stream": "COPY"}), aperio.InvalidConfig, "stream")
	mustDeliver(t, harness(t, server.address(), nil), event(idOfNumber(1)))
}

func TestDeliverRefusesAStreamThatIsNotThere(t *testing.T) {
	server := startServer(t, "")
	plugin := harness(t, server.address(), nil)
	wantRefused(t, plugin, aperio.InvalidConfig, "stream")
	stream := server.stream(jetstream.StreamConfig{})
	mustDeliver(t, plugin, event(idOfNumber(0)))
	wantStored(t, stream, idOfNumber(0))
}

func TestDeliverTriesAgainWhenTheStreamGoesWhileItIsConnected(t *testing.T) {
	t.Parallel()
	server := startServer(t, "")
	stream := server.stream(jetstream.StreamConfig{})
	plugin := harness(t, server.address(), nil)
	mustDeliver(t, plugin, event(idOfNumber(0)))
	access := stream.(interface{ CachedInfo() *jetstream.StreamInfo })
	deleteStream(t, server, access.CachedInfo().Config.Name)
	results, err := plugin.Deliver(events(1, 3)...)
	if err != nil || len(results) != 2 {
		t.Fatalf("got %v, %v", results, err)
	}
	for _, result := range results {
		if result.Status != destination.StatusRetry || result.Diagnostic.Code != "no-responders" {
			t.Errorf("got %+v, %+v", result, result.Diagnostic)
		}
	}
	wantRefused(t, plugin, aperio.InvalidConfig, "stream")
}

func deleteStream(t *testing.T, server *server, name string) {
	t.Helper()
	connection, err := nats.Connect(server.address())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	answer, err := connection.Request("$JS.API.STREAM.DELETE."+name, nil, patience10)
	if err != nil || !strings.Contains(string(answer.Data), `"success":true`) {
		t.Fatalf("got %s, %v", answer.Data, err)
	}
}

func TestDeliverTriesAgainWhatAFullStreamDoesNotTake(t *testing.T) {
	server := startServer(t, "")
	full := jetstream.StreamConfig{MaxMsgs: 2, Discard: jetstream.DiscardNew}
	stream := server.stream(full)
	plugin := harness(t, server.address(), nil)
	results, err := plugin.Deliver(events(0, 3)...)
	if err != nil || len(results) != 3 || results[1].Status != destination.StatusAccepted ||
		results[2].Status != destination.StatusRetry || results[2].Diagnostic.Code != "not-stored" {
		t.Fatalf("got %v, %v", results, err)
	}
	full.MaxMsgs = 10
	server.stream(full)
	mustDeliver(t, plugin, events(0, 3)...)
	wantStored(t, stream, idsOf(events(0, 3))...)
}

func TestDeliverSaysWhoItIs(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := pair.PublicKey()
	seed, _ := pair.Seed()
	stranger, _ := nkeys.CreateUser()
	strange, _ := stranger.Seed()
	operated, credentials, strangers := operatorConfig(t)
	for name, test := range map[string]struct {
		config     string
		right, bad map[string]any
		mine       nats.Option
	}{
		"by password": {
			config: `authorization { user: u, password: "right" }`,
			right:  map[string]any{"user": "u", "password": "right"},
			bad:    map[string]any{"user": "u", "password": "wrong"},
			mine:   nats.UserInfo("u", "right"),
		},
		"by token": {
			config: `authorization { token: "right" }`,
			right:  map[string]any{"token": "right"},
			bad:    map[string]any{"token": "wrong"},
			mine:   nats.Token("right"),
		},
		"by NKey": {
			config: fmt.Sprintf("authorization { users: [ { nkey: %s } ] }", public),
			right:  map[string]any{"credentials": string(seed)},
			bad:    map[string]any{"credentials": string(strange)},
			mine:   nats.Nkey(public, pair.Sign),
		},
		"by credentials": {
			config: operated,
			right:  map[string]any{"credentials": folded(credentials)},
			bad:    map[string]any{"credentials": folded(strangers)},
			mine:   nats.UserCredentialBytes([]byte(credentials)),
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := startServer(t, test.config)
			stream := server.stream(jetstream.StreamConfig{}, test.mine)
			wantRefused(t, harness(t, server.address(), test.bad), aperio.Unauthenticated, "")
			wantRefused(t, harness(t, server.address(), nil), aperio.Unauthenticated, "")
			mustDeliver(t, harness(t, server.address(), test.right), event(idOfNumber(0)))
			wantStored(t, stream, idOfNumber(0))
		})
	}
}

func folded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// operatorConfig gives a server with accounts by JWT, and two .creds files: one of a user of it, one
// that somebody else signed. Format: nats-io/jwt, v2.
func operatorConfig(t *testing.T) (config, right, wrong string) {
	t.Helper()
	pair := func(make func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
		made, err := make()
		if err != nil {
			t.Fatal(err)
		}
		public, _ := made.PublicKey()
		return made, public
	}
	token := func(signer nkeys.KeyPair, subject string, claims map[string]any) string {
		issuer, _ := signer.PublicKey()
		claims["version"] = 2
		body := map[string]any{"iss": issuer, "sub": subject, "name": "x", "iat": time.Now().Unix(), "nats": claims}
		data, _ := json.Marshal(body)
		sum := sha256.Sum256(data)
		body["jti"] = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
		data, _ = json.Marshal(body)
		encode := base64.RawURLEncoding.EncodeToString
		text := encode([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + encode(data)
		signature, err := signer.Sign([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + encode(signature)
	}
	operator, operatorID := pair(nkeys.CreateOperator)
	account, accountID := pair(nkeys.CreateAccount)
	_, systemID := pair(nkeys.CreateAccount)
	outsider, _ := pair(nkeys.CreateAccount)
	limits := map[string]any{
		"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1,
		"wildcards": true, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
	}
	accountClaims := func() map[string]any { return map[string]any{"type": "account", "limits": limits} }
	config = fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: { %s: %s, %s: %s }",
		token(operator, operatorID, map[string]any{"type": "operator"}), systemID,
		accountID, token(operator, accountID, accountClaims()),
		systemID, token(operator, systemID, map[string]any{"type": "account"}))
	credentials := func(signer nkeys.KeyPair) string {
		user, userID := pair(nkeys.CreateUser)
		seed, _ := user.Seed()
		return fmt.Sprintf("-----BEGIN NATS USER JWT-----\r\n%s\r\n------END NATS USER JWT------\r\n\r\n"+
			"-----BEGIN USER NKEY SEED-----\r\n%s\r\n------END USER NKEY SEED------\r\n",
			token(signer, userID, map[string]any{"type": "user", "subs": -1, "data": -1, "payload": -1}), seed)
	}
	return config, credentials(account), credentials(outsider)
}

func TestDeliverSaysWhatTheUserMayNot(t *testing.T) {
	server := startServer(t, `
		authorization { users: [
			{ user: all, password: p }
			{ user: some, password: p, permissions: { subscribe: "_INBOX.>", publish: {
				allow: ["$JS.API.STREAM.INFO.*", "Events.aperio.event.>"] } } }
			{ user: blind, password: p, permissions: { publish: "Events.>" } }
			{ user: deaf, password: p, permissions: { subscribe: { deny: "_INBOX.>" } } }
		] }`)
	all := nats.UserInfo("all", "p")
	stream := server.stream(jetstream.StreamConfig{Subjects: []string{"Events.>"}}, all)
	as := func(user string) *plugintest.Harness {
		return harness(t, server.address(), map[string]any{
			"user": user, "password": "p", "subject_prefix": "Events"})
	}
	wantRefused(t, as("blind"), aperio.PermissionDenied, "")
	wantRefused(t, as("deaf"), aperio.PermissionDenied, "")
	given := []destination.Envelope{
		event(idOfNumber(0)), finding(idOfNumber(1), "OPEN"), event(idOfNumber(2)),
	}
	plugin := as("some")
	results, err := plugin.Deliver(given...)
	if err != nil || results[0].Status != destination.StatusAccepted ||
		results[1].Status != destination.StatusRetry || results[2].Status != destination.StatusAccepted {
		t.Fatalf("got %+v, %v", results, err)
	}
	if code := results[1].Diagnostic.Code; code != string(aperio.PermissionDenied) {
		t.Errorf("got %s", code)
	}
	if _, err := plugin.Deliver(given[1]); !errors.Is(err, aperio.PermissionDenied) {
		t.Errorf("got %v", err)
	}
	wantStored(t, stream, given[0].ID, given[2].ID)
}

// certificates makes an authority and a certificate of 127.0.0.1; it gives the authority's PEM.
func certificates(t *testing.T, folder string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	data, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, _ := x509.MarshalPKCS8PrivateKey(key)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: data})
	for name, text := range map[string][]byte{
		"cert.pem": certificate,
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return string(certificate)
}

func TestDeliverChecksTheServersCertificate(t *testing.T) {
	folder := t.TempDir()
	authority, stranger := certificates(t, folder), certificates(t, t.TempDir())
	server := startServer(t, fmt.Sprintf(
		`tls { cert_file: %q, key_file: %q }`, folder+"/cert.pem", folder+"/key.pem"))
	stream := server.stream(jetstream.StreamConfig{}, nats.RootCAs(folder+"/cert.pem"))
	wantRefused(t, harness(t, "tls://"+server.address(), nil), aperio.InvalidConfig, "ca")
	wantRefused(t, harness(t, server.address(), nil), aperio.InvalidConfig, "ca")
	wantRefused(t, harness(t, server.address(), map[string]any{"ca": folded(stranger)}), aperio.InvalidConfig, "ca")
	unnamed := "tls://localhost:" + server.port
	wantRefused(t, harness(t, unnamed, map[string]any{"ca": folded(authority)}), aperio.InvalidConfig, "ca")
	mustDeliver(t, harness(t, "tls://"+server.address(), map[string]any{"ca": folded(authority)}), event(idOfNumber(0)))
	mustDeliver(t, harness(t, server.address(), map[string]any{"ca": folded(authority)}), event(idOfNumber(1)))
	wantStored(t, stream, idOfNumber(0), idOfNumber(1))
}

func TestDeliverBeginsWithTLSWhereTheServerDoes(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	authority := folded(certificates(t, folder))
	config := func(first bool) string {
		return fmt.Sprintf(`tls { cert_file: %q, key_file: %q, handshake_first: %t }`,
			folder+"/cert.pem", folder+"/key.pem", first)
	}
	first, usual := startServer(t, config(true)), startServer(t, config(false))
	stream := first.stream(jetstream.StreamConfig{}, nats.RootCAs(folder+"/cert.pem"), nats.TLSHandshakeFirst())
	usual.stream(jetstream.StreamConfig{}, nats.RootCAs(folder+"/cert.pem"))
	by := func(server *server, way string, seconds int) *plugintest.Harness {
		settings := map[string]any{"ca": authority, "tls": way, "timeout_s": seconds}
		return harness(t, server.address(), settings)
	}
	mustDeliver(t, by(first, "first", 10), event(idOfNumber(0)))
	wantRefused(t, by(first, "required", 1), aperio.Unavailable, "") // each waits for the other
	wantRefused(t, by(usual, "first", 10), aperio.InvalidConfig, "tls")
	mustDeliver(t, by(usual, "required", 10), event(idOfNumber(0)))
	wantStored(t, stream, idOfNumber(0))
}

func TestDeliverAsksForTLSWhereItIsNotOffered(t *testing.T) {
	server := startServer(t, "")
	server.stream(jetstream.StreamConfig{})
	wantRefused(t, harness(t, "tls://"+server.address(), nil), aperio.InvalidConfig, "servers")
	required := map[string]any{"tls": "required"}
	wantRefused(t, harness(t, server.address(), required), aperio.InvalidConfig, "servers")
	mustDeliver(t, harness(t, "nats://"+server.address(), nil), event(idOfNumber(0)))
}

func TestDeliverSendsNoPasswordInTheClearToElsewhere(t *testing.T) {
	server := startServer(t, `authorization { user: u, password: p }`)
	stream := server.stream(jetstream.StreamConfig{}, nats.UserInfo("u", "p"))
	elsewhere := "0.0.0.0:" + server.port // leads here, but nobody can know that
	login := map[string]any{"user": "u", "password": "p"}
	wantRefused(t, harness(t, elsewhere, login), aperio.InvalidConfig, "servers")
	login["allow_cleartext"] = true
	mustDeliver(t, harness(t, elsewhere, login), event(idOfNumber(0)))
	wantStored(t, stream, idOfNumber(0))
}

func TestDeliverTriesAgainWithoutAServer(t *testing.T) {
	t.Parallel()
	server := startServer(t, "")
	stream := server.stream(jetstream.StreamConfig{})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	// A name that no resolver is asked for.
	for _, address := range []string{nobody, "no..such.name", mute.Addr().String()} {
		wantRefused(t, harness(t, address, map[string]any{"timeout_s": 1}), aperio.Unavailable, "")
		// One of several is enough.
		several := address + ", " + server.address()
		mustDeliver(t, harness(t, several, map[string]any{"timeout_s": 3}), event(idOfNumber(0)))
	}
	wantStored(t, stream, idOfNumber(0))
}

func TestDeliverLosesNothingWhenTheServerIsKilled(t *testing.T) {
	server := startServer(t, "")
	server.stream(jetstream.StreamConfig{})
	destination := &NATSJetStream{}
	t.Cleanup(func() { closeAll(&destination.links) })
	config := map[string]any{"servers": server.address(), "stream": testStream}
	plugin := plugintest.New(t, destination, plugintest.Options{Config: config})
	mustDeliver(t, plugin, event(idOfNumber(0)))
	inFlight := only(t, &destination.links).jetStream.PublishAsyncPending
	// Stopped, it acknowledges nothing; killed, it never will.
	server.signal(syscall.SIGSTOP)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		results, err := plugin.Deliver(events(0, 200)...)
		if err != nil || len(results) != 200 {
			t.Errorf("got %v, %v", results, err)
		}
		for _, result := range results {
			if result.Diagnostic == nil || result.Diagnostic.Code != "disconnected" {
				t.Errorf("got %+v, %+v", result, result.Diagnostic)
				break
			}
		}
	}()
	for until := time.Now().Add(patience10); inFlight() < mostInFlight; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d messages are in flight", inFlight())
		}
	}
	server.kill()
	<-ended
	wantRefused(t, plugin, aperio.Unavailable, "")
	server.start()
	mustDeliver(t, plugin, events(0, 200)...)
	wantStored(t, server.stream(jetstream.StreamConfig{}), idsOf(events(0, 200))...)
}

func TestDeliverAnswersInTimeWhenNothingIsAcknowledged(t *testing.T) {
	for name, test := range map[string]struct {
		timeoutS int
		call     time.Duration
		code     string
	}{
		"within the timeout":  {2, 0, "ack-timeout"},
		"before the deadline": {30, 3 * time.Second, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startServer(t, "")
			stream := server.stream(jetstream.StreamConfig{})
			plugin := slowHarness(t, server.address(), map[string]any{"timeout_s": test.timeoutS}, test.call)
			mustDeliver(t, plugin, event(idOfNumber(0)))
			server.signal(syscall.SIGSTOP)
			results, err := plugin.Deliver(events(0, 200)...)
			if err != nil || len(results) != 200 {
				t.Fatalf("got %d results, %v", len(results), err)
			}
			for _, result := range results {
				if result.Status != destination.StatusRetry || result.Diagnostic.Code != test.code {
					t.Fatalf("got %+v, %+v", result, result.Diagnostic)
				}
			}
			server.signal(syscall.SIGCONT)
			mustDeliver(t, harness(t, server.address(), nil), events(0, 200)...)
			wantStored(t, stream, idsOf(events(0, 200))...)
		})
	}
}

// narrow is a way to a server that lets nothing more through once it is stopped, and that takes in
// little before it is full.
func narrow(t *testing.T, server *server) (address string, stop func()) {
	t.Helper()
	small := net.ListenConfig{Control: func(_, _ string, socket syscall.RawConn) error {
		return socket.Control(func(descriptor uintptr) {
			_ = syscall.SetsockoptInt(int(descriptor), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		})
	}}
	listener, err := small.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	var stopped atomic.Bool
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { client.Close() })
			onward, err := net.Dial("tcp", server.address())
			if err != nil {
				return
			}
			t.Cleanup(func() { onward.Close() })
			go func() { _, _ = io.Copy(client, onward) }()
			go func() {
				for buffer := make([]byte, 1024); !stopped.Load(); {
					count, err := client.Read(buffer)
					if _, failed := onward.Write(buffer[:count]); err != nil || failed != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), func() { stopped.Store(true) }
}

func TestDeliverEndsInTimeWhenNothingCanBeWritten(t *testing.T) {
	t.Parallel()
	server := startServer(t, "")
	stream := server.stream(jetstream.StreamConfig{})
	address, stop := narrow(t, server)
	plugin := slowHarness(t, address, map[string]any{"timeout_s": 30}, 3*time.Second)
	mustDeliver(t, plugin, event(idOfNumber(0)))
	stop()
	given := []destination.Envelope{}
	for number := range 7 { // more than the buffers between the two hold
		given = append(given, padded(idOfNumber(number), 500_000))
	}
	results, err := plugin.Deliver(given...)
	if err != nil || len(results) != len(given) {
		t.Fatalf("got %d results, %v", len(results), err)
	}
	for _, result := range results {
		if result.Status != destination.StatusRetry {
			t.Fatalf("got %+v, %+v", result, result.Diagnostic)
		}
	}
	mustDeliver(t, harness(t, server.address(), nil), given...)
	wantStored(t, stream, idsOf(given)...)
}

func TestDeliverUsesOneConnectionForItsCalls(t *testing.T) {
	server := startServer(t, "")
	stream := server.stream(jetstream.StreamConfig{})
	plugin := &NATSJetStream{}
	t.Cleanup(func() { closeAll(&plugin.links) })
	config := map[string]any{"servers": server.address(), "stream": testStream}
	tried := plugintest.New(t, plugin, plugintest.Options{Config: config})
	mustDeliver(t, tried, event(idOfNumber(0)))
	first := only(t, &plugin.links)
	var group sync.WaitGroup
	for call := range 4 {
		group.Go(func() {
			results, err := tried.Deliver(events(100*call, 100*call+100)...)
			if err != nil || len(results) != 100 {
				t.Errorf("got %v, %v", results, err)
			}
		})
	}
	group.Wait()
	if only(t, &plugin.links) != first || len(storedIn(t, stream)) != 400 {
		t.Error("it connected anew, or the stream has something else")
	}
	first.connection.Close() // as the server does it
	mustDeliver(t, tried, event(idOfNumber(0)))
	if only(t, &plugin.links) == first {
		t.Error("it used a connection that has ended")
	}
}

func TestAConnectionThatNobodyUsesIsClosed(t *testing.T) {
	server := startServer(t, "")
	stream := server.stream(jetstream.StreamConfig{})
	plugin := &NATSJetStream{}
	t.Cleanup(func() { closeAll(&plugin.links) })
	config := map[string]any{"servers": server.address(), "stream": testStream}
	tried := plugintest.New(t, plugin, plugintest.Options{Config: config})
	mustDeliver(t, tried, event(idOfNumber(0)))
	first := only(t, &plugin.links)
	plugin.links.keep = time.Millisecond
	mustDeliver(t, tried, event(idOfNumber(1)))
	select {
	case <-first.closed:
	case <-time.After(patience10):
		t.Fatal("the connection is kept")
	}
	mustDeliver(t, tried, event(idOfNumber(2)))
	wantStored(t, stream, idsOf(events(0, 3))...)
}

func only(t *testing.T, links *links) *link {
	t.Helper()
	links.mutex.Lock()
	defer links.mutex.Unlock()
	if len(links.byKey) != 1 {
		t.Fatalf("there are %d connections", len(links.byKey))
	}
	for _, link := range links.byKey {
		return link
	}
	return nil
}
