package main

import (
	"errors"
	"testing"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/plugintest"
)

func TestNoNumberIsLost(t *testing.T) {
	harness := plugintest.New(t, &Numbers{}, plugintest.Options{})
	result := harness.ResumeFromEveryCheckpoint()
	if len(result.Events) != 250 || len(result.Checkpoints) != 3 {
		t.Errorf("got %d events, %d checkpoints", len(result.Events), len(result.Checkpoints))
	}
}

func TestACursorOfSomebodyElseIsRefused(t *testing.T) {
	_, err := plugintest.New(t, &Numbers{}, plugintest.Options{}).Sync([]byte("x"))
	if !errors.Is(err, aperio.InvalidCursor) {
		t.Errorf("got %v", err)
	}
}
