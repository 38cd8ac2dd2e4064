package remediation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/convert"
	"github.com/writer/aperio-plugin-go/internal/serve"
	"google.golang.org/grpc"
)

const (
	maxKeyBytes        = 256 // of an approval's reference, and of a service's id, too
	maxTargetTypeBytes = 120
	approvalFeature    = "approval"
)

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
	action, err := s.action(request)
	if err != nil {
		return nil, err
	}
	if err := fit(action, request); err != nil {
		return nil, err
	}
	if err := requireLeave(action, request, message.GetParametersJson()); err != nil {
		return nil, err
	}
	var result *Result
	if request.DryRun {
		result, err = s.execute(ctx, request)
	} else {
		result, err = s.done.once(ctx, request, func(asked *ExecuteRequest) (*Result, error) {
			return s.sent(ctx, asked)
		})
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

// sent executes an action; that it is not known what came of it is a result.
func (s *service) sent(ctx context.Context, request *ExecuteRequest) (*Result, error) {
	result, err := s.execute(ctx, request)
	var told *aperio.Error
	if errors.Is(err, aperio.ResultUnknown) && errors.As(err, &told) {
		return Unknown(told.Diagnostic()), nil
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
	facts, err := convert.ObjectFrom(message.GetContextJson(), "the action's context")
	if err != nil {
		return nil, err
	}
	var approval *Approval
	if given := message.GetApproval(); given != nil {
		approval = &Approval{Reference: given.GetReference(), SHA256: given.GetSha256()}
	}
	return &ExecuteRequest{
		Invocation:     call,
		TargetType:     message.GetTargetType(),
		Context:        facts,
		Approval:       approval,
		Action:         message.GetAction(),
		Target:         message.GetTarget(),
		IdempotencyKey: message.GetIdempotencyKey(),
		Parameters:     parameters,
		DryRun:         message.GetDryRun(),
		IsAfterUnknown: message.GetAfterUnknown(),
	}, nil
}

// action gives what is asked for. It refuses an unknown action, a dry run of one that has none, and a
// key that is none.
func (s *service) action(request *ExecuteRequest) (*Action, error) {
	capabilities := s.plugin.Capabilities()
	if err := checkDeclared(capabilities); err != nil {
		return nil, err
	}
	var action *Action
	for index := range capabilities.Actions {
		if capabilities.Actions[index].Key == request.Action {
			action = &capabilities.Actions[index]
		}
	}
	switch length := len(request.IdempotencyKey); {
	case action == nil:
		return nil, refuse(aperio.InvalidArgument, "unknown action %q", request.Action)
	case request.DryRun && !action.SupportsDryRun:
		return nil, refuse(aperio.Unsupported, "%s has no dry run", request.Action)
	case length == 0 || length > maxKeyBytes:
		const text = "an idempotency key has 1 to %d bytes"
		return nil, refuse(aperio.InvalidArgument, text, maxKeyBytes)
	}
	return action, nil
}

// fit gives the request its type of target, and refuses what does not fit the action.
func fit(action *Action, request *ExecuteRequest) error {
	if request.TargetType == "" && len(action.TargetTypes) == 1 {
		request.TargetType = action.TargetTypes[0]
	}
	if !slices.Contains(action.TargetTypes, request.TargetType) {
		return refuse(aperio.InvalidArgument, "%s takes the types of target %s; received %q",
			action.Key, strings.Join(action.TargetTypes, ", "), request.TargetType)
	}
	for _, key := range action.RequiredContext {
		if _, found := request.Context[key]; !found {
			return refuse(aperio.InvalidArgument, "the context of %s lacks %s", action.Key, key)
		}
	}
	return nil
}

// requireLeave refuses what the operator did not allow.
func requireLeave(action *Action, request *ExecuteRequest, parametersJSON []byte) error {
	for _, scope := range action.Scopes {
		if !slices.Contains(request.GrantedScopes, scope) {
			return refuse(aperio.PermissionDenied, "%s needs the scope %s", action.Key, scope)
		}
	}
	approval := request.Approval
	switch {
	case request.DryRun:
		return nil
	case request.Mode != aperio.ModeRemediation:
		return refuse(aperio.PermissionDenied, "the integration is for reading only")
	case approval == nil && action.ApprovalOptional:
		return nil
	case approval == nil:
		return refuse(aperio.PermissionDenied, "%s needs an approval", action.Key)
	case approval.Reference == "" || len(approval.Reference) > maxKeyBytes:
		const text = "an approval's reference has 1 to %d bytes"
		return refuse(aperio.InvalidArgument, text, maxKeyBytes)
	case approval.SHA256 != ApprovalSHA256(request.Action, request.Target, parametersJSON):
		const text = "the approval is of another action, target or parameters"
		return refuse(aperio.PermissionDenied, text)
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
	keys := map[string]bool{}
	for _, action := range capabilities.Actions {
		if keys[action.Key] {
			return fmt.Errorf("action %q is declared twice", action.Key)
		}
		keys[action.Key] = true
	}
	for _, action := range capabilities.Actions {
		if err := checkAction(action, keys); err != nil {
			return fmt.Errorf("action %q: %w", action.Key, err)
		}
	}
	return nil
}

func checkAction(action Action, keys map[string]bool) error {
	if len(action.TargetTypes) == 0 {
		return errors.New("it needs a list of the types of its target")
	}
	for _, kind := range action.TargetTypes {
		if kind == "" || len(kind) > maxTargetTypeBytes {
			return fmt.Errorf("a type of target has 1 to %d bytes", maxTargetTypeBytes)
		}
	}
	if reverse := action.ReverseAction; reverse != "" && !keys[reverse] {
		return fmt.Errorf("%q, its reverse, is not declared", reverse)
	}
	return aperio.CheckDeclaration(action.Parameters, nil)
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
	stated := convert.Interface()
	stated.Features = append(stated.Features, approvalFeature)
	return &pb.CapabilitiesResponse{
		Interface:   stated,
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
	if action.ResponseKind < 0 || action.ResponseKind > NotifySecOps {
		err = errors.Join(err, fmt.Errorf("unknown response kind %d", action.ResponseKind))
	}
	return &pb.RemediationCapabilities_Action{
		// The values are the wire's, in its order.
		ResponseKind:     pb.RemediationCapabilities_ResponseKind(action.ResponseKind),
		RequiredContext:  action.RequiredContext,
		ReverseAction:    action.ReverseAction,
		Rollback:         action.Rollback,
		ApprovalOptional: action.ApprovalOptional,
		Key:              action.Key,
		Label:            action.Label,
		Description:      action.Description,
		SeverityHint:     hint,
		Parameters:       parameters,
		TargetTypes:      action.TargetTypes,
		Reversible:       action.Reversible,
		SupportsDryRun:   action.SupportsDryRun,
		Scopes:           action.Scopes,
	}, errors.Join(err, parametersErr)
}

func resultMessage(result *Result) (*pb.ExecuteResponse, error) {
	outcome, err := convert.Named(result.Outcome, map[Outcome]pb.ExecuteResponse_Outcome{
		OutcomeChanged:     pb.ExecuteResponse_OUTCOME_CHANGED,
		OutcomeUnchanged:   pb.ExecuteResponse_OUTCOME_UNCHANGED,
		OutcomeWouldChange: pb.ExecuteResponse_OUTCOME_WOULD_CHANGE,
		OutcomeFailed:      pb.ExecuteResponse_OUTCOME_FAILED,
		OutcomeUnknown:     pb.ExecuteResponse_OUTCOME_UNKNOWN,
	})
	changes, changesErr := convert.All(result.Changes, changeMessage)
	if err := errors.Join(err, changesErr); err != nil {
		return nil, err
	}
	return &pb.ExecuteResponse{
		Outcome:     outcome,
		Changes:     changes,
		Diagnostics: convert.Diagnostics(result.Diagnostics),

		ProviderRequestId: convert.Cut(result.ProviderRequestID, maxKeyBytes),
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
