package remediation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"github.com/writer/aperio-plugin-go/internal/serve"
	"google.golang.org/grpc"
)

const maxKeyBytes = 256

// NewService gives the remediation behind its gRPC service, for Serve and package plugintest.
func NewService(plugin Remediation) *serve.Service {
	register := func(registrar grpc.ServiceRegistrar, runtime *serve.Runtime) {
		served := &service{plugin: plugin, runtime: runtime, done: newMemory()}
		pb.RegisterRemediationPluginServer(registrar, served)
	}
	return &serve.Service{Kind: "remediation", Register: register}
}

type service struct {
	pb.UnimplementedRemediationPluginServer
	plugin  Remediation
	runtime *serve.Runtime
	done    *memory
}

func (s *service) Capabilities(
	context.Context, *pb.CapabilitiesRequest,
) (*pb.CapabilitiesResponse, error) {
	return capabilitiesMessage(s.plugin.Capabilities())
}

func (s *service) Execute(
	ctx context.Context, message *pb.ExecuteRequest,
) (*pb.ExecuteResponse, error) {
	request, err := s.request(message)
	if err != nil {
		return nil, err
	}
	if err := s.check(request); err != nil {
		return nil, err
	}
	var result *Result
	execute := func() (*Result, error) { return s.execute(ctx, request) }
	if request.DryRun {
		result, err = execute()
	} else {
		result, err = s.done.once(ctx, request, execute)
	}
	if err != nil {
		return nil, err
	}
	return resultMessage(result)
}

func (s *service) execute(ctx context.Context, request *ExecuteRequest) (*Result, error) {
	result, err := s.plugin.Execute(ctx, request)
	if err == nil && result == nil {
		err = errors.New("Execute gave neither a result nor an error")
	}
	return result, err
}

func (s *service) request(message *pb.ExecuteRequest) (*ExecuteRequest, error) {
	call, err := s.runtime.Invocation(message.GetContext())
	if err != nil {
		return nil, err
	}
	parameters, err := convert.ObjectFrom(message.GetParametersJson(), "the action's parameters")
	if err != nil {
		return nil, err
	}
	return &ExecuteRequest{
		Invocation:     call,
		Action:         message.GetAction(),
		Target:         message.GetTarget(),
		IdempotencyKey: message.GetIdempotencyKey(),
		Parameters:     parameters,
		DryRun:         message.GetDryRun(),
	}, nil
}

// check refuses an unknown action, a dry run of one that has none, and a key that is none.
func (s *service) check(request *ExecuteRequest) error {
	capabilities := s.plugin.Capabilities()
	if err := checkDeclared(capabilities); err != nil {
		return err
	}
	var action *Action
	for index := range capabilities.Actions {
		if capabilities.Actions[index].Key == request.Action {
			action = &capabilities.Actions[index]
		}
	}
	switch length := len(request.IdempotencyKey); {
	case action == nil:
		return refuse(aperio.InvalidArgument, "unknown action %q", request.Action)
	case request.DryRun && !action.SupportsDryRun:
		return refuse(aperio.Unsupported, "%s has no dry run", request.Action)
	case length == 0 || length > maxKeyBytes:
		return refuse(aperio.InvalidArgument, "an idempotency key has 1 to %d bytes", maxKeyBytes)
	}
	return nil
}

func refuse(cause aperio.Cause, format string, arguments ...any) error {
	return &aperio.Error{Cause: cause, Summary: fmt.Sprintf(format, arguments...)}
}

func checkDeclared(capabilities Capabilities) error {
	if err := aperio.CheckDeclaration(capabilities.Fields, capabilities.Auth); err != nil {
		return err
	}
	for _, action := range capabilities.Actions {
		if err := aperio.CheckDeclaration(action.Parameters, nil); err != nil {
			return fmt.Errorf("action %q: %w", action.Key, err)
		}
	}
	return nil
}

// capabilitiesMessage gives the message of capabilities. The error is about a part that makes no
// sense.
func capabilitiesMessage(capabilities Capabilities) (*pb.CapabilitiesResponse, error) {
	err := checkDeclared(capabilities)
	fields, fieldsErr := convert.All(capabilities.Fields, convert.Field)
	auth, authErr := convert.Auth(capabilities.Auth)
	actions, actionsErr := convert.All(capabilities.Actions, actionMessage)
	if err := errors.Join(err, fieldsErr, authErr, actionsErr); err != nil {
		return nil, err
	}
	return &pb.CapabilitiesResponse{
		Interface:   convert.Interface(),
		Provider:    capabilities.Provider,
		Name:        capabilities.Name,
		Description: capabilities.Description,
		DocsUrl:     capabilities.DocsURL,
		Fields:      fields,
		Auth:        auth,
		Kind: &pb.CapabilitiesResponse_Remediation{
			Remediation: &pb.RemediationCapabilities{Actions: actions},
		},
	}, nil
}

func actionMessage(action Action) (*pb.RemediationCapabilities_Action, error) {
	hint, err := convert.Hint(action.SeverityHint)
	parameters, parametersErr := convert.All(action.Parameters, convert.Field)
	return &pb.RemediationCapabilities_Action{
		Key:            action.Key,
		Label:          action.Label,
		Description:    action.Description,
		SeverityHint:   hint,
		Parameters:     parameters,
		TargetTypes:    []string{action.TargetType},
		Reversible:     action.Reversible,
		SupportsDryRun: action.SupportsDryRun,
		Scopes:         action.Scopes,
	}, errors.Join(err, parametersErr)
}

func resultMessage(result *Result) (*pb.ExecuteResponse, error) {
	outcome, err := convert.Named(result.Outcome, map[Outcome]pb.ExecuteResponse_Outcome{
		OutcomeChanged:     pb.ExecuteResponse_OUTCOME_CHANGED,
		OutcomeUnchanged:   pb.ExecuteResponse_OUTCOME_UNCHANGED,
		OutcomeWouldChange: pb.ExecuteResponse_OUTCOME_WOULD_CHANGE,
		OutcomeFailed:      pb.ExecuteResponse_OUTCOME_FAILED,
	})
	changes, changesErr := convert.All(result.Changes, changeMessage)
	if err := errors.Join(err, changesErr); err != nil {
		return nil, err
	}
	return &pb.ExecuteResponse{
		Outcome:     outcome,
		Changes:     changes,
		Diagnostics: convert.Diagnostics(result.Diagnostics),
	}, nil
}

func changeMessage(change Change) (*pb.ExecuteResponse_Change, error) {
	before, err := valueOrNothing(change.Before)
	after, afterErr := valueOrNothing(change.After)
	return &pb.ExecuteResponse_Change{
		Attribute:  convert.Path(change.Attribute),
		BeforeJson: before,
		AfterJson:  after,
	}, errors.Join(err, afterErr)
}

func valueOrNothing(value any) ([]byte, error) {
	if value == nil {
		return nil, nil
	}
	return json.Marshal(value)
}
