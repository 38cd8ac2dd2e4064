// A remediation that keeps the users it suspends in memory.
package main

import (
	"context"
	"sync"

	aperio "github.com/writer/aperio-plugin-go"
	"github.com/writer/aperio-plugin-go/remediation"
)

// Suspender suspends users.
type Suspender struct {
	mutex     sync.Mutex
	suspended map[string]bool
}

// Capabilities declares one action.
func (*Suspender) Capabilities() remediation.Capabilities {
	return remediation.Capabilities{
		Provider: "EXAMPLE",
		Name:     "Example",
		Actions: []remediation.Action{{
			Key:            "example.suspend_user",
			Label:          "Suspend user",
			TargetTypes:    []string{"user"},
			SeverityHint:   aperio.HintHigh,
			SupportsDryRun: true,
		}},
	}
}

// Execute suspends a user.
func (s *Suspender) Execute(
	_ context.Context, request *remediation.ExecuteRequest,
) (*remediation.Result, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	change := remediation.Change{
		Attribute: aperio.Path{aperio.Key("suspended")}, Before: false, After: true,
	}
	switch {
	case s.suspended[request.Target]:
		return remediation.Unchanged(), nil
	case request.DryRun:
		return remediation.WouldChange(change), nil
	}
	s.suspended[request.Target] = true
	return remediation.Changed(change), nil
}

func main() { remediation.Serve(&Suspender{suspended: map[string]bool{}}) }
