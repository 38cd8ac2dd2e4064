package records_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/records"
)

func TestARecordIsCutOutAsItWasWrittenAndSpoilsNoOther(t *testing.T) {
	odd := map[string]string{
		`{"a" : 0.10}`: "",
		`{"a":1e400}`:  "",
		`{"a":` + strings.Repeat("9", 5000) + `}`: "",
		`{"a":"\ud83d","a":1}`:                    "",
		`{"a":"\"]}"}`:                            "",
		strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000):     "more than 512 levels",
		strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000): "more than 512 levels",
		`{"a":NaN}`:        "not JSON",
		`{"a" 1}`:          "not JSON",
		"{\"a\":\"\n\"}":   "not JSON",
		"{\"a\":\"\xff\"}": "not UTF-8",
		`"]}"`:             "not a JSON object",
		`17`:               "not a JSON object",
		"\u00a0tru":        "not JSON", // white space of Unicode's, and none of JSON's
		"\v1":              "not JSON",
		`[[1]]`:            "not a JSON object",
	}
	for record, problem := range odd {
		deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
		body := ` {"deep":` + deep + `,"list" : [ {"a":1} ,` + record + ",\n{\"b\":2}], \"n\":5} "
		page, err := records.Split([]byte(body), "list")
		if err != nil || len(page.Records) != 3 {
			t.Fatalf("%.40q: got %v, %v", record, page, err)
		}
		if string(page.Records[1].JSON) != record || string(page.Records[2].JSON) != `{"b":2}` {
			t.Errorf("%.40q: got %.40q", record, page.Records[1].JSON)
		}
		switch got := page.Records[1].Problem; {
		case (got == nil) != (problem == ""):
			t.Errorf("%.40q: got %v", record, got)
		case got != nil && !strings.Contains(got.Error(), problem):
			t.Errorf("%.40q: got %v", record, got)
		}
		if page.Records[0].Problem != nil || page.Records[2].Problem != nil {
			t.Errorf("%.40q spoils its neighbours", record)
		}
		if string(page.Fields["n"]) != "5" {
			t.Errorf("%.40q: got %v", record, page.Fields)
		}
	}
}

func TestWhatIsWrongBesideTheListSpoilsNoRecord(t *testing.T) {
	body := "{\"list\":7,\"n\":01,\"m\":1\u00a0,\"list\":[{\"a\":1}],\"list\":17\v}"
	page, err := records.Split([]byte(body), "list")
	if err != nil || len(page.Records) != 1 || page.Records[0].Problem != nil || len(page.Fields) != 2 {
		t.Errorf("got %+v, %v", page, err)
	}
}

func TestAReplyWithoutTheListIsUnavailable(t *testing.T) {
	for _, body := range [][]byte{
		nil, []byte("[]"), []byte("{"), []byte(`{"list":[{"a":1},`), []byte(`{"list":[{"a":"]}`),
		[]byte(`{"list":[1 2]}`), []byte(`{"list":[,]}`), []byte(`{"list":[1,]}`),
		[]byte(`{"list":[]`), []byte(`{"list":[]} x`), []byte(`{"list":[],}`),
		[]byte(`{"list":{}}`), []byte(`{"list":}`), []byte(`{"other":[]}`), []byte(`{list:[]}`),
		[]byte("\xff\xfe"), []byte(`{"list":["\"`), []byte(`{"list":[}]}`),
		append([]byte(`{"list":[`), bytes.Repeat([]byte("{"), 100_000)...),
		append([]byte(`{"list":["`), bytes.Repeat([]byte(`\"`), 100_000)...),
	} {
		if page, err := records.Split(body, "list"); !errors.Is(err, aperio.Unavailable) {
			t.Errorf("%.40q: got %v, %v", body, page, err)
		}
	}
}

func TestAFieldOfAnotherTypeIsNamed(t *testing.T) {
	page, err := records.Split([]byte(`{"l":[{"id":17},{"id":"e"},{"id":null},3]}`), "l")
	if err != nil {
		t.Fatal(err)
	}
	var fields struct {
		ID string `json:"id"`
	}
	const said = "id: expected text, received a number"
	if err := page.Records[0].Decode(&fields); err == nil || err.Error() != said {
		t.Errorf("got %v", err)
	}
	for json, said := range map[string]string{
		`{"actor":"octocat"}`:     "actor: expected an object, received text",
		`{"actor":{"id":true}}`:   "actor.id: expected text, received true or false",
		`{"actor":{"tags":{}}}`:   "actor.tags: expected a list, received an object",
		`{"actor":{"age":1e400}}`: "actor.age: expected a whole number, received the number 1e400",
	} {
		var wanted struct {
			Actor *struct {
				ID   string
				Tags []string
				Age  int
			}
		}
		err := records.Record{JSON: []byte(json)}.Decode(&wanted)
		if err == nil || !strings.EqualFold(err.Error(), said) {
			t.Errorf("%s: got %v", json, err)
		}
	}
	if err := page.Records[3].Decode(&fields); err == nil {
		t.Error("a number was decoded")
	}
	for index, id := range []string{"17", "e", "", ""} {
		if got := page.Records[index].ID("id"); got != id {
			t.Errorf("got %q, want %q", got, id)
		}
	}
}
