package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/destination"
)

func TestStorableReplacesWhatJSONBDoesNotHave(t *testing.T) {
	for given, want := range map[string]string{
		`{"a":"x\u0000y"}`:           `{"a":"x\ufffdy"}`,
		`{"a":"x\\u0000y"}`:          `{"a":"x\\u0000y"}`,
		`{"a":"x\\\u0000y"}`:         `{"a":"x\\\ufffdy"}`,
		`{"\u0000":0.10}`:            `{"\ufffd":0.10}`,
		`{"a":"\ud83d\ude00"}`:       `{"a":"\ud83d\ude00"}`,
		`{"a":"\uD83D\uDE00"}`:       `{"a":"\uD83D\uDE00"}`,
		`{"a":"\ud83d"}`:             `{"a":"\ufffd"}`,
		`{"a":"\ud83dx"}`:            `{"a":"\ufffdx"}`,
		`{"a":"\ud83d\u0041"}`:       `{"a":"\ufffd\u0041"}`,
		`{"a":"\ud83d\ud83d\ude00"}`: `{"a":"\ufffd\ud83d\ude00"}`,
		`{"a":"\ude00"}`:             `{"a":"\ufffd"}`,
		`{"a":"\u00e9\n\/"}`:         `{"a":"\u00e9\n\/"}`,
		`{"a": 9007199254740993 }`:   `{"a": 9007199254740993 }`,
		``:                           ``,
		`\`:                          `\`,
		`{"a":"\u00`:                 `{"a":"\u00`,
	} {
		got, count := storable([]byte(given))
		if string(got) != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
		if isChanged := given != want; isChanged != (count > 0) {
			t.Errorf("%s: counted %d", given, count)
		}
	}
}

func TestMappingsAreReadInEveryForm(t *testing.T) {
	list := `[{"event_type": "SHARE", "product_event_type": "A"}, {"event_type": "box.b", "product_event_type": "B"}]`
	for _, text := range []string{
		list, `{"event_mappings": ` + list + `}`,
		`{"schema": 1, "data": {"provider": "BOX", "event_mappings": ` + list + `}, "errors": []}`,
	} {
		found, err := parseMappings(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		for _, test := range []struct{ native, ours, want string }{
			{"SHARE", "box.b", "A"}, {"OTHER", "box.b", "B"}, {"", "box.b", "B"}, {"share", "x", ""}, {"", "", ""},
		} {
			if got, isMapped := found.find(test.native, test.ours); got != test.want || isMapped != (got != "") {
				t.Errorf("%+v: got %q", test, got)
			}
		}
	}
	for _, text := range []string{"", "[]", `{"event_mappings": []}`} {
		if found, err := parseMappings(text); err != nil || len(found) > 0 || (found == nil) != (text == "") {
			t.Errorf("%s: got %v, %v", text, found, err)
		}
	}
}

func TestMappingsThatAreNoneAreRefused(t *testing.T) {
	long := strings.Repeat("x", 129)
	one := func(from, to string) string {
		return fmt.Sprintf(`{"event_type": %q, "product_event_type": %q}`, from, to)
	}
	for text, want := range map[string]string{
		`{`: "neither a JSON list", `"x"`: "neither", `[1]`: "neither", `null`: "not the schema of a connector",
		`{}`: "not the schema", `{"data": {}}`: "not the schema", `{"data": null}`: "not the schema",
		`[` + one("", "A") + `]`: "mapping 1", `[` + one(long, "A") + `]`: "1 to 128 bytes",
		`[` + one("a", "") + `]`: "1 to 120 bytes", `[` + one("a", long) + `]`: "1 to 120 bytes",
		`[` + one("a", "A") + `,` + one("a", "B") + `]`: "twice",
		`[` + one("a", " ") + `]`:                       "no name", `[{"event_type":"a","product_event_type":"A\u0000"}]`: "no name",
	} {
		if _, err := parseMappings(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	if _, err := parseMappings(`[` + one("a", "A") + `,` + one("a", "A") + `]`); err != nil {
		t.Error(err)
	}
}

// changed is an event with some of its keys set to other JSON; none: without the key.
func changed(keys map[string]string) destination.Envelope {
	envelope := event(idOfNumber(1))
	all := parseObject(envelope.JSON)
	for key, value := range keys {
		if value == "" {
			delete(all, key)
		} else {
			all[key] = json.RawMessage(value)
		}
	}
	envelope.JSON, _ = json.Marshal(all)
	return envelope
}

func TestPayloadIsTheRecordWithThreeKeys(t *testing.T) {
	for _, test := range []struct {
		name, record, actor, want string
	}{
		{"an empty record", `{ }`, `null`, `{"_aperio":O,"sourceEventId":"e1"}`},
		{"no address", `{"a":1}`, `{"id":"u"}`, `{"a":1,"_aperio":O,"sourceEventId":"e1"}`},
		{"an address", `{"a":1}`, `{"ip_address":"203.0.113.9"}`,
			`{"a":1,"_aperio":O,"ipAddress":"203.0.113.9","sourceEventId":"e1"}`},
		{"its own keys", `{"sourceEventId":7,"ipAddress":null}`, `{"ip_address":"203.0.113.9"}`,
			`{"_aperio":O,"ipAddress":null,"sourceEventId":7}`},
		{"the reserved key", `{"_aperio":{"id":"forged"}}`, `null`, `{"_aperio":O,"sourceEventId":"e1"}`},
		{"digits", `{"a":9007199254740993,"b":0.10}`, `null`,
			`{"a":9007199254740993,"_aperio":O,"b":0.10,"sourceEventId":"e1"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			given := changed(map[string]string{"record": test.record, "actor": test.actor})
			read, err := readHead(given, "local")
			if err != nil {
				t.Fatal(err)
			}
			made, hadReserved, err := jobOf(read, "A")
			if err != nil || hadReserved != strings.Contains(test.record, reserved) {
				t.Fatalf("got %v, %v", hadReserved, err)
			}
			want := fmt.Sprintf(`{"actor":%s,"id":%q,"occurred_at":"2026-01-05T09:00:00.123956789Z",`+
				`"producer":"acme/box-connector@1.2.3"}`, test.actor, idOfNumber(1))
			if got := sorted(t, made.payload); got != sorted(t, strings.Replace(test.want, "O", want, 1)) {
				t.Errorf("got %s", got)
			}
		})
	}
}

// sorted gives JSON with its keys in order and its numbers as they are.
func sorted(t *testing.T, text string) string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	made, _ := json.Marshal(value)
	return string(made)
}

func TestHeadRefusesWhatIsNoEnvelopeOfAPlugin(t *testing.T) {
	for name, test := range map[string]struct {
		keys map[string]string
		want string
	}{
		"as it is":              {nil, ""},
		"another organization":  {map[string]string{"organization_id": `"org_2"`}, "another organization"},
		"no organization":       {map[string]string{"organization_id": ""}, "another organization"},
		"no id":                 {map[string]string{"id": ""}, "has no id"},
		"of the server":         {map[string]string{"id": "", "producer": `"aperio.sspm"`}, "has it already"},
		"an id with NUL":        {map[string]string{"id": `"a\u0000b"`}, "a character that is none"},
		"no integration":        {map[string]string{"integration_id": `""`}, "no integration_id"},
		"provider in lowercase": {map[string]string{"provider": `"box"`}, "upper case"},
		"provider with a quote": {map[string]string{"provider": `"BOX'; DROP TABLE x; --"`}, "upper case"},
		"provider of 64":        {map[string]string{"provider": `"` + strings.Repeat("B", 64) + `"`}, "upper case"},
		"no time":               {map[string]string{"occurred_at": `"yesterday"`}, "occurred_at"},
		"a list for a record":   {map[string]string{"record": `[]`}, "record is no JSON object"},
		"null for a record":     {map[string]string{"record": `null`}, "record is no JSON object"},
		"no record":             {map[string]string{"record": ``}, "record is no JSON object"},
	} {
		_, err := readHead(changed(test.keys), "local")
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	for _, text := range []string{"", "[]", "null", `{"id":`, "{\"a\":\"\xff\"}"} {
		if _, err := readHead(destination.Envelope{JSON: json.RawMessage(text)}, "local"); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func TestColumnsAreAsTheServerHasThem(t *testing.T) {
	long := strings.Repeat("ü", 300)
	for _, test := range []struct {
		actor, origin, source, want string
	}{
		{`{"email":"a@example.com","id":"u","display_name":"n"}`, `"admin_logs"`, "slack.admin_logs", "a@example.com"},
		{`{"id":"u","display_name":"n"}`, `"a.b"`, "slack.a.b", "u"},
		{`{"display_name":"n"}`, `""`, "slack", "n"},
		{`{"email":" ","display_name":"` + long + `"}`, ``, "slack", strings.Repeat("ü", 255)},
		{`{"email":"a\u0000b"}`, ``, "slack", "a\ufffdb"},
		{`null`, ``, "slack", "nobody"},
		{`{"ip_address":"203.0.113.9"}`, ``, "slack", "nobody"},
	} {
		read, err := readHead(changed(map[string]string{"actor": test.actor, "origin": test.origin}), "local")
		if err != nil {
			t.Fatal(err)
		}
		got := "nobody"
		if actor := read.actor(); actor != nil {
			got = *actor
		}
		if got != test.want || read.source() != test.source {
			t.Errorf("%s: got %s, %s", test.actor, got, read.source())
		}
	}
}

func TestFindingRefusesWhatItsColumnsDoNotHave(t *testing.T) {
	for name, test := range map[string]struct {
		key, value, want string
	}{
		"as it is":       {"title", `"T"`, ""},
		"no title":       {"title", `""`, "title"},
		"no key":         {"dedupeKey", `null`, "dedupeKey"},
		"other status":   {"status", `"ACKNOWLEDGED"`, "status"},
		"other severity": {"severity", `"high"`, "severity"},
		"half a score":   {"riskScore", `60.5`, "riskScore"},
		"a large score":  {"riskScore", `101`, "riskScore"},
		"no score":       {"riskScore", `null`, ""},
		"integration":    {"integrationId", `"int_2"`, "another integration"},
		"steps":          {"remediationSteps", `null`, ""},
	} {
		envelope := foundAt(1, statusOpen)
		all := parseObject(envelope.JSON)
		record := parseObject(all["record"])
		record[test.key] = json.RawMessage(test.value)
		all["record"], _ = json.Marshal(record)
		envelope.JSON, _ = json.Marshal(all)
		read, err := readHead(envelope, "local")
		if err != nil {
			t.Fatal(err)
		}
		_, err = findingOf(read, envelope.ID)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestSettingsAreReadOrRefused(t *testing.T) {
	base := map[string]any{"host": "db.example.com", "user": "u", "password": "p w@/"}
	with := func(key string, value any) map[string]any { return map[string]any{key: value} }
	address := "postgres://u:secret-word@db.example.com/x"
	for name, test := range map[string]struct {
		changes map[string]any
		refused string // the setting
		mode    string // of TLS: whether there is some, and whether there is nothing else
		schema  string
	}{
		"parts":                 {nil, "", "tls", "public"},
		"here":                  {with("host", "127.0.0.1"), "", "tls or not", "public"},
		"here by name":          {with("host", "localhost"), "", "tls or not", "public"},
		"IPv6":                  {with("host", "::1"), "", "tls or not", "public"},
		"a socket":              {with("host", "/run/postgresql"), "", "no tls", "public"},
		"without TLS":           {with("sslmode", "disable"), "", "no tls", "public"},
		"preferred":             {with("sslmode", "prefer"), "", "tls or not", "public"},
		"a schema":              {with("schema", "aperio"), "", "tls", "aperio"},
		"a url":                 {with("url", address), "", "tls", "public"},
		"a url with a mode":     {with("url", address+"?sslmode=disable"), "", "no tls", "public"},
		"a url with a schema":   {with("url", address+"?schema=aperio"), "", "tls", "aperio"},
		"a url of two":          {with("url", "postgres://u@127.0.0.1,db.example.com/x"), "", "tls", "public"},
		"no host":               {with("host", ""), "host", "", ""},
		"no user":               {with("user", ""), "user", "", ""},
		"another scheme":        {with("url", "mysql://u:secret-word@h/x"), "url", "", ""},
		"no url":                {with("url", "postgres://u:secret-word@h:port/x"), "url", "", ""},
		"a port of none":        {with("port", 0), "port", "", ""},
		"half a port":           {with("port", 1.5), "port", "", ""},
		"a second too many":     {with("timeout_s", 121), "timeout_s", "", ""},
		"a schema with a quote": {with("schema", `a"b`), "schema", "", ""},
		"no certificates":       {with("ca", "AAAA"), "ca", "", ""},
		"no mappings":           {with("event_mappings", "{"), "event_mappings", "", ""},
	} {
		values := map[string]any{}
		for key, value := range base {
			values[key] = value
		}
		if _, isURL := test.changes["url"]; isURL {
			clear(values)
		}
		for key, value := range test.changes {
			if number, isWhole := value.(int); isWhole {
				value = float64(number)
			}
			values[key] = value
		}
		found, err := readSettings(aperio.NewConfig(values), "local")
		var told *aperio.Error
		if test.refused != "" {
			if !errors.As(err, &told) || fmt.Sprint(told.Attribute) != fmt.Sprintf("[%s]", test.refused) ||
				strings.Contains(told.Summary+told.Detail, "secret") {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		mode := "no tls"
		if config := found.pool.ConnConfig; config.TLSConfig != nil {
			mode = "tls"
			for _, fallback := range config.Fallbacks {
				if fallback.TLSConfig == nil {
					mode = "tls or not"
				}
			}
		}
		if mode != test.mode || found.schema != test.schema {
			t.Errorf("%s: got %s, %s", name, mode, found.schema)
		}
	}
}

func TestSettingsHaveAKeyOfTheirOwn(t *testing.T) {
	read := func(organization string, values map[string]any) string {
		found, err := readSettings(aperio.NewConfig(values), organization)
		if err != nil {
			t.Fatal(err)
		}
		return string(found.key[:])
	}
	one := map[string]any{"host": "127.0.0.1", "user": "u", "password": "p"}
	other := map[string]any{"host": "127.0.0.1", "user": "u", "password": "q"}
	if read("local", one) != read("local", one) || read("local", one) == read("org_1", one) ||
		read("local", one) == read("local", other) {
		t.Error("a key is not of an organization's settings")
	}
}
