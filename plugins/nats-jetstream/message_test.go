package main

import (
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
	"github.com/writer/aperio/plugins/nats-jetstream/busv1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

var (
	kindPattern   = regexp.MustCompile(`^[a-z][a-z0-9]*([._][a-z0-9]+)*$`)
	schemaPattern = regexp.MustCompile(`^[a-z0-9_]+/[a-z0-9_]+/v[0-9]+$`)
)

const digestOfA = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4f72b9807785afee48bb"

// read makes the message of an envelope and takes it apart again.
func read(t *testing.T, envelope destination.Envelope) (subject, id string, event *busv1.EventEnvelope) {
	t.Helper()
	message, err := messageOf(envelope, "org_1", "events")
	if err != nil {
		t.Fatal(err)
	}
	event = &busv1.EventEnvelope{}
	if err := proto.Unmarshal(message.Data, event); err != nil {
		t.Fatal(err)
	}
	return message.Subject, message.Header.Get(jetstream.MsgIDHeader), event
}

// merged is an envelope with some keys set, or left out where the value is nil.
func merged(t *testing.T, base string, changes map[string]any) json.RawMessage {
	t.Helper()
	keys := map[string]any{}
	if err := json.Unmarshal([]byte(base), &keys); err != nil {
		t.Fatal(err)
	}
	for key, value := range changes {
		keys[key] = value
		if value == nil {
			delete(keys, key)
		}
	}
	data, err := json.Marshal(keys)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const (
	ours = `{"id":"` + digestOfA + `","schema_version":"aperio.event.v1","source":"aperio",
		"producer":"acme/box-connector@1.2.3","organization_id":"org_1","integration_id":"int_1",
		"provider":"BOX","kind":"event","event_type":"box.file_downloaded","actor":null,
		"occurred_at":"2026-01-05T09:00:00Z","source_event_id":"e1","record":{"provider":"not it"}}`
	theirs = `{"schema_version":"aperio.finding.v1","source":"aperio","producer":"aperio.sspm",
		"destination_id":"siem_1","organization_id":"org_1","kind":"finding",
		"occurred_at":"2026-01-05T09:00:00Z","record":{"actor":null,"dedupeKey":"d1",
		"eventType":"PUBLIC_REPOSITORY_CREATED","findingId":"fnd_1","integrationId":"int_1",
		"provider":"GITHUB","ruleId":"github.public_repository_created","severity":"HIGH",
		"sourceEventId":"evt_1","status":"OPEN"}}`
	theirEvent = `{"schema_version":"aperio.event.v1","source":"aperio","producer":"aperio.sspm",
		"destination_id":"siem_1","organization_id":"org_1","kind":"event",
		"occurred_at":"2026-01-05T09:00:00Z","record":{"id":"src_1",
		"eventType":"user.account.privilege.grant","provider":"OKTA"}}`
	theirLog = `{"schema_version":"aperio.audit_log.v1","source":"aperio","producer":"aperio.sspm",
		"destination_id":"siem_1","organization_id":"org_1","kind":"audit_log",
		"occurred_at":"2026-01-05T09:00:00Z","record":{"action":"rule.disabled","actor":"u"}}`
)

func TestAMessageSaysWhatIsInItsEnvelope(t *testing.T) {
	for name, test := range map[string]struct {
		stream                         destination.Stream
		text, kind, schema, id, header string
		attributes                     map[string]string
	}{
		"an event of ours": {
			destination.Event, ours, "aperio.event.box.file_downloaded", "aperio/event/v1",
			digestOfA, digestOfA, map[string]string{
				"producer": "acme/box-connector@1.2.3", "integration_id": "int_1", "provider": "BOX",
				"event_type": "box.file_downloaded", "source_event_id": "e1",
			},
		},
		"a finding of the server's": {
			destination.Finding, theirs, "aperio.finding.github.public_repository_created",
			"aperio/finding/v1", digestOfB, digestOfB, map[string]string{
				"producer": "aperio.sspm", "destination_id": "siem_1", "integration_id": "int_1",
				"provider": "GITHUB", "event_type": "PUBLIC_REPOSITORY_CREATED",
				"source_event_id": "evt_1", "finding_id": "fnd_1", "severity": "HIGH",
				"rule_id": "github.public_repository_created", "status": "OPEN", "dedupe_key": "d1",
			},
		},
		"an event of the server's": {
			destination.Event, theirEvent, "aperio.event.okta.user.account.privilege.grant",
			"aperio/event/v1", digestOfB, digestOfB, map[string]string{
				"producer": "aperio.sspm", "destination_id": "siem_1", "provider": "OKTA",
				"event_type": "user.account.privilege.grant",
			},
		},
		"an audit log entry of the server's": {
			destination.AuditLog, theirLog, "aperio.audit_log", "aperio/audit_log/v1",
			digestOfB, digestOfB,
			map[string]string{"producer": "aperio.sspm", "destination_id": "siem_1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			given := destination.Envelope{ID: digestOfB, Stream: test.stream, JSON: json.RawMessage(test.text)}
			subject, header, event := read(t, given)
			if event.Id != test.id || header != test.header || event.Kind != test.kind ||
				subject != "events."+test.kind || event.SchemaRef != test.schema ||
				event.TenantId != "org_1" || event.SourceId != "aperio" ||
				string(event.Payload) != test.text || event.OccurredAt.Seconds != 1767603600 {
				t.Errorf("got %s %s %s", subject, header, prototext.Format(event))
			}
			if !maps.Equal(event.Attributes, test.attributes) {
				t.Errorf("got %v", event.Attributes)
			}
		})
	}
}

const digestOfB = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"

func TestAFindingIsKnownByItsDeliveryKey(t *testing.T) {
	text := merged(t, theirs, map[string]any{"id": digestOfA})
	given := destination.Envelope{ID: digestOfB, Stream: destination.Finding, JSON: text}
	_, header, event := read(t, given)
	if header != digestOfB || event.Id != digestOfB || event.Attributes["envelope_id"] != digestOfA {
		t.Errorf("got %s %s %v", header, event.Id, event.Attributes)
	}
}

func TestAnIDThatIsNoDigestCountsWithinItsOrganization(t *testing.T) {
	if messageID("org_1", "a") == messageID("org_2", "a") {
		t.Error("the repeat of one organization would be another's")
	}
	// printf 5:org_11:a | sha256sum
	const want = "0ac3434d2a404e6d2cdd5bf8eca1019d0bef5fdff7df692abb1230858f917998"
	if got := messageID("org_1", "a"); got != want {
		t.Errorf("got %s", got)
	}
	if messageID("org_1", digestOfA) != digestOfA {
		t.Error("a digest is not used as it is")
	}
}

func TestAKindHasTheFormOfTheBus(t *testing.T) {
	long := strings.Repeat("x", longestKind)
	for name, test := range map[string]struct{ provider, eventType, want string }{
		"of a connector":       {"BOX", "box.file_downloaded", "aperio.event.box.file_downloaded"},
		"of the service":       {"OKTA", "user.session.start", "aperio.event.okta.user.session.start"},
		"in upper case":        {"SLACK", "MFA_DISABLED", "aperio.event.slack.mfa_disabled"},
		"with other signs":     {"MS_365", "Add  (user)/to..group.", "aperio.event.ms_365.add_user_to.group"},
		"with signs and dots":  {"A", "_.b_._c__d.", "aperio.event.a.b.c_d"},
		"with a dot":           {"a.b", "c", "aperio.event.a_b.c"},
		"beyond ASCII":         {"BOX", "größe", "aperio.event.box.gr_e"},
		"with wildcards":       {"BOX", "*.>", "aperio.event"},
		"without a provider":   {"", "x", "aperio.event"},
		"without an event":     {"BOX", "", "aperio.event"},
		"only the provider":    {"BOX", "box", "aperio.event.box.box"},
		"longer than subjects": {"BOX", long, "aperio.event"},
	} {
		t.Run(name, func(t *testing.T) {
			attributes := map[string]string{"provider": test.provider, "event_type": test.eventType}
			got := kindOf(destination.Event, attributes)
			if got != test.want || !kindPattern.MatchString(got) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestAnEnvelopeThatCannotBeAMessageIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":                 `{`,
		"a list":                  `[]`,
		"nothing":                 `null`,
		"of another organization": string(merged(t, ours, map[string]any{"organization_id": "org_2"})),
		"without a time":          string(merged(t, ours, map[string]any{"occurred_at": nil})),
		"of no time":              string(merged(t, ours, map[string]any{"occurred_at": "2026-02-30T00:00:00Z"})),
		"of a local time":         string(merged(t, ours, map[string]any{"occurred_at": "2026-01-05T09:00:00"})),
		"of another schema":       string(merged(t, ours, map[string]any{"schema_version": "aperio.event"})),
		"of no schema":            string(merged(t, ours, map[string]any{"schema_version": 1})),
	} {
		t.Run(name, func(t *testing.T) {
			given := destination.Envelope{ID: "a", Stream: destination.Event, JSON: json.RawMessage(text)}
			if message, err := messageOf(given, "org_1", "events"); err == nil {
				t.Errorf("got %s", message.Data)
			}
		})
	}
	twins := map[string]map[string]any{
		"as it is": {}, "of no organization": {"organization_id": nil}, "of no schema": {"schema_version": nil},
		"with an offset": {"occurred_at": "2026-01-05T11:00:00+02:00"}, "of a newer schema": {"schema_version": "aperio.event.v12"},
		// Keys count as they are written.
		"with a key like another": {"Organization_ID": "org_2"},
	}
	for name, changes := range twins {
		t.Run(name, func(t *testing.T) {
			given := destination.Envelope{ID: "a", Stream: destination.Event, JSON: merged(t, ours, changes)}
			if _, _, event := read(t, given); event.TenantId != "org_1" || !schemaPattern.MatchString(event.SchemaRef) {
				t.Errorf("got %s", prototext.Format(event))
			}
		})
	}
}

// theirEventEnvelope is the message of Aperio's server as another module registers it: same numbers,
// a name of its own.
func theirEventEnvelope(t *testing.T, path, pack string) protoreflect.FileDescriptor {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(busv1.File_aperio_plugin_bus_v1_event_envelope_proto)
	file.Name, file.Package, file.Options = proto.String(path), proto.String(pack), nil
	own := ".aperio.plugin.bus.v1."
	for _, message := range file.MessageType {
		for _, field := range message.Field {
			if name := field.GetTypeName(); strings.HasPrefix(name, own) {
				field.TypeName = proto.String("." + pack + "." + strings.TrimPrefix(name, own))
			}
		}
	}
	made, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// registered is what this program has registered at its start, to register more in.
func registered(t *testing.T) *protoregistry.Files {
	t.Helper()
	files := &protoregistry.Files{}
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if err := files.RegisterFile(file); err != nil {
			t.Fatal(err)
		}
		return true
	})
	return files
}

func TestAProgramMayHaveTheServersMessageToo(t *testing.T) {
	files := registered(t)
	file := theirEventEnvelope(t, "cerebro/v1/primitives.proto", "cerebro.v1")
	// What generated code does at the start, where an error is a panic.
	if err := files.RegisterFile(file); err != nil {
		t.Fatal(err)
	}
	same := theirEventEnvelope(t, "elsewhere.proto", "aperio.plugin.bus.v1")
	if err := files.RegisterFile(same); err == nil {
		t.Error("a name was registered twice, and nobody noticed")
	}
	theirs := dynamicpb.NewMessageType(file.Messages().ByName("EventEnvelope"))
	message, err := messageOf(
		destination.Envelope{ID: digestOfB, Stream: destination.Event, JSON: json.RawMessage(ours)}, "org_1", "events")
	if err != nil {
		t.Fatal(err)
	}
	read := theirs.New()
	if err := proto.Unmarshal(message.Data, read.Interface()); err != nil || len(read.GetUnknown()) > 0 {
		t.Fatalf("got %v, %x", err, read.GetUnknown())
	}
	id := read.Descriptor().Fields().ByNumber(1)
	if id.Name() != "id" || read.Get(id).String() != digestOfA {
		t.Errorf("got %s", prototext.Format(read.Interface()))
	}
}

func TestNumbersAreThoseOfTheServer(t *testing.T) {
	want := []string{
		"1 id string", "2 tenant_id string", "3 source_id string", "4 kind string", "5 occurred_at message",
		"6 schema_ref string", "7 payload bytes", "8 attributes message",
	}
	got := []string{}
	file := protodesc.ToFileDescriptorProto(busv1.File_aperio_plugin_bus_v1_event_envelope_proto)
	types := map[descriptorpb.FieldDescriptorProto_Type]string{
		descriptorpb.FieldDescriptorProto_TYPE_STRING: "string", descriptorpb.FieldDescriptorProto_TYPE_BYTES: "bytes",
		descriptorpb.FieldDescriptorProto_TYPE_MESSAGE: "message",
	}
	for _, field := range file.MessageType[0].Field {
		got = append(got, strings.Join([]string{
			string(rune('0' + field.GetNumber())), field.GetName(), types[field.GetType()]}, " "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func FuzzMessage(f *testing.F) {
	for _, seed := range []string{ours, theirs, theirEvent, theirLog, `{}`, `[]`, ""} {
		f.Add([]byte(seed), "a", uint8(0))
		f.Add([]byte(seed), digestOfA, uint8(1))
	}
	streams := []destination.Stream{destination.Event, destination.Finding, destination.AuditLog}
	f.Fuzz(func(t *testing.T, data []byte, id string, stream uint8) {
		given := destination.Envelope{ID: id, Stream: streams[int(stream)%len(streams)], JSON: data}
		message, err := messageOf(given, "org_1", "events")
		if err != nil {
			return
		}
		event := &busv1.EventEnvelope{}
		if err := proto.Unmarshal(message.Data, event); err != nil || !kindPattern.MatchString(event.Kind) ||
			!schemaPattern.MatchString(event.SchemaRef) || string(event.Payload) != string(data) ||
			!digest.MatchString(message.Header.Get(jetstream.MsgIDHeader)) {
			t.Errorf("%q became %s %v", data, prototext.Format(event), err)
		}
		for name, value := range event.Attributes {
			if value == "" {
				t.Errorf("%s is empty", name)
			}
		}
	})
}

func settingsOf(changes map[string]any) (*settings, error) {
	values := map[string]any{"servers": "nats.example.com"}
	maps.Copy(values, changes)
	return readSettings(aperio.NewConfig(values), "org_1")
}

func TestSettingsAreRefusedByName(t *testing.T) {
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := account.Seed()
	for name, test := range map[string]struct {
		key   string
		value any
	}{
		"no server":                {"servers", " "},
		"a server of another kind": {"servers", "http://nats.example.com"},
		"a password in an address": {"servers", "nats://u:secret@nats.example.com"},
		"a path":                   {"servers", "nats://nats.example.com/x"},
		"a port that is none":      {"servers", "nats.example.com:port"},
		"one server that is none":  {"servers", "nats.example.com,"},
		"more servers than many":   {"servers", strings.Repeat("nats.example.com,", mostServers) + "a.example.com"},
		"a stream with a dot":      {"stream", "a.b"},
		"a stream with a space":    {"stream", "a b"},
		"a wildcard":               {"subject_prefix", "events.>"},
		"a dot at the end":         {"subject_prefix", "events."},
		"a long prefix":            {"subject_prefix", strings.Repeat("a", longestPrefix+1)},
		"no time":                  {"timeout_s", 0.0},
		"much time":                {"timeout_s", 61.0},
		"a user alone":             {"password", ""},
		"credentials that are not": {"credentials", "SUSECRET"},
		"an account's seed":        {"credentials", string(seed)},
		"no certificate":           {"ca", "-----BEGIN CERTIFICATE-----"},
	} {
		t.Run(name, func(t *testing.T) {
			changes := map[string]any{test.key: test.value}
			if test.key == "password" {
				changes["user"] = "u"
			}
			_, err := settingsOf(changes)
			var told *aperio.Error
			if !errors.As(err, &told) || !errors.Is(err, aperio.InvalidConfig) ||
				!slices.Equal(told.Attribute, aperio.Path{aperio.Key(test.key)}) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(strings.ToLower(told.Summary+told.Detail), "secret") {
				t.Errorf("it shows a secret: %s", told.Summary)
			}
		})
	}
	if _, err := settingsOf(map[string]any{"token": "t", "user": "u", "password": "p"}); err == nil {
		t.Error("two ways to say who one is were taken")
	}
}

func TestServersAreReadAsPeopleWriteThem(t *testing.T) {
	for text, want := range map[string]string{
		"nats.example.com":                   "nats://nats.example.com:4222",
		"NATS.example.com:4333":              "nats://nats.example.com:4333",
		"tls://a.example.com, b.example.com": "tls://a.example.com:4222 nats://b.example.com:4222",
		"[::1]:4222":                         "nats://[::1]:4222",
		"nats://a.example.com/":              "nats://a.example.com:4222",
	} {
		found, err := readServers(text)
		if err != nil || strings.Join(found.addresses, " ") != want {
			t.Errorf("%s: got %v, %v", text, found, err)
		}
	}
}

func TestAPasswordAsksForTLSUnlessTheServerIsHere(t *testing.T) {
	for name, test := range map[string]struct {
		changes map[string]any
		asks    bool
	}{
		"a password":              {map[string]any{"user": "u", "password": "p"}, true},
		"a token":                 {map[string]any{"token": "t"}, true},
		"nobody":                  {map[string]any{}, false},
		"tls":                     {map[string]any{"servers": "tls://nats.example.com"}, true},
		"a password here":         {map[string]any{"servers": "localhost,127.0.0.1,[::1]", "token": "t"}, false},
		"a password here and not": {map[string]any{"servers": "localhost,nats.example.com", "token": "t"}, true},
		"allowed":                 {map[string]any{"token": "t", "allow_cleartext": true}, false},
		"required":                {map[string]any{"tls": "required"}, true},
		"first":                   {map[string]any{"tls": "first", "allow_cleartext": true}, true},
		"allowed, but tls": {map[string]any{
			"servers": "tls://nats.example.com", "token": "t", "allow_cleartext": true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := settingsOf(test.changes)
			if err != nil || (found.secure != nil) != test.asks {
				t.Errorf("got %v, %v", found, err)
			}
		})
	}
}

func TestConnectionsAreOfOneOrganizationAndItsSettings(t *testing.T) {
	values := map[string]any{"servers": "nats.example.com", "token": "t"}
	key := func(organization string, changes map[string]any) string {
		all := maps.Clone(values)
		maps.Copy(all, changes)
		found, err := readSettings(aperio.NewConfig(all), organization)
		if err != nil {
			t.Fatal(err)
		}
		return string(found.key[:])
	}
	keys := []string{
		key("org_1", nil), key("org_2", nil), key("org_1", map[string]any{"token": "u"}),
		key("org_1", map[string]any{"stream": "A"}), key("org_1", map[string]any{"timeout_s": 5.0}),
	}
	slices.Sort(keys)
	if len(slices.Compact(keys)) != 5 || key("org_1", nil) != key("org_1", nil) {
		t.Error("connections would be shared, or never used again")
	}
}

func TestAPatternCoversSubjects(t *testing.T) {
	for pattern, test := range map[string]struct{ taken, left []string }{
		"events.>":   {[]string{"events.a", "events.a.b"}, []string{"events", "event.a"}},
		"events.*":   {[]string{"events.a"}, []string{"events", "events.a.b"}},
		"events.*.b": {[]string{"events.a.b"}, []string{"events.a", "events.a.c", "events.a.b.c"}},
		"events.a":   {[]string{"events.a"}, []string{"events.b", "events.a.b", "events"}},
		">":          {[]string{"events", "events.a"}, nil},
	} {
		for _, subject := range test.taken {
			if !covers(pattern, subject) {
				t.Errorf("%s does not cover %s", pattern, subject)
			}
		}
		for _, subject := range test.left {
			if covers(pattern, subject) {
				t.Errorf("%s covers %s", pattern, subject)
			}
		}
	}
}
