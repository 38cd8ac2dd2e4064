package vectors_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/writer/aperio-plugin-go/connector"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/fitting"
	"github.com/writer/aperio-plugin-go/internal/settings"
)

func TestSettingsFitOrAreRefused(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testdata, "fitting.json"))
	must(t, err)
	var document struct{ Fields []field }
	must(t, json.Unmarshal(text, &document))
	plugin := &scripted{schema: connector.Schema{
		Provider: "X", Name: "X", Fields: fieldsOf(document.Fields),
	}}
	connection, _ := served(t, connector.NewService(plugin))
	client := pb.NewConnectorPluginClient(connection)
	declared, err := client.Schema(deadline(t), &pb.SchemaRequest{})
	must(t, err)
	type scenario struct {
		Name   string
		Config map[string]any
		Expect map[string]any
		Error  []string
	}
	forEach(t, "fitting.json", func(t *testing.T, c scenario) {
		values, err := settings.ForPlugin(declared, c.Config)
		if c.Error == nil {
			must(t, err)
			got, _ := json.Marshal(values)
			wanted, _ := json.Marshal(c.Expect)
			if string(got) != string(wanted) {
				t.Errorf("got %.200s\nwant %.200s", got, wanted)
			}
			return
		}
		if err == nil {
			t.Fatalf("got %v", values)
		}
		for _, text := range c.Error {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%q is not in %q", text, err)
			}
		}
	})
}

func TestEventsKeepWhatIsDeclared(t *testing.T) {
	type scenario struct {
		Name       string
		EventTypes []string `json:"event_types"`
		Events     [][]any
	}
	forEach(t, "event_rules.json", func(t *testing.T, c scenario) {
		rules := fitting.NewEvents("BOX", c.EventTypes)
		for _, event := range c.Events {
			found := rules.Flaws(event[0].(string), event[1].(string))
			wanted, isWanted := event[2].([]any)
			switch {
			case !isWanted && len(found) > 0, isWanted && len(found) != 1:
				t.Errorf("%v: got %v", event, found)
			case isWanted:
				isBreach := wanted[0] == "breach"
				if found[0].IsBreach != isBreach || !strings.Contains(found[0].Text, wanted[1].(string)) {
					t.Errorf("%v: got %v", event, found)
				}
			}
		}
	})
}
