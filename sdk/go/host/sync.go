package host

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"google.golang.org/protobuf/proto"
)

// MostTokens is how many tokens one Sync uses; at an hour each, four days.
const MostTokens = 100

// Tokens gives a token that is good now; it is called before every call of the plugin.
type Tokens func(ctx context.Context) (*pb.Token, error)

// Sink takes what a connector sends, in order, one message after the other. When it has returned for a
// checkpoint without an error, the checkpoint is stored, with everything before it.
type Sink func(message *pb.SyncEvent) error

// Sync syncs from the request's cursor until the connector has caught up. When a token expires in
// mid-sync (UNAUTHENTICATED), it gets another one and calls again from the last checkpoint that the
// sink has taken; what came after that comes again. It gives up, with the plugin's error, when no
// checkpoint came since the last token, so that another would bring nothing, and after MostTokens.
//
// Without Tokens the request's own is used, and not renewed. Every call has an invocation id of its
// own; the request is not changed. A sink's error ends the sync and is returned as it is.
func Sync(
	ctx context.Context, connector pb.ConnectorPluginClient, request *pb.SyncRequest, tokens Tokens,
	sink Sink,
) error {
	asked := proto.CloneOf(request)
	for used := 1; ; used++ {
		checkpoints, err := syncOnce(ctx, connector, asked, tokens, sink)
		isHopeful := tokens != nil && checkpoints > 0 && used < MostTokens
		if !isUnauthenticated(err) || !isHopeful {
			return err
		}
	}
}

// syncOnce makes one call; asked has the cursor of the last checkpoint afterwards.
func syncOnce(
	ctx context.Context, connector pb.ConnectorPluginClient, asked *pb.SyncRequest, tokens Tokens,
	sink Sink,
) (checkpoints int, err error) {
	ctx, cancel := context.WithCancel(ctx) // a stream that is not read to its end has to be ended
	defer cancel()
	if err := renew(ctx, asked, tokens); err != nil {
		return 0, err
	}
	stream, err := connector.Sync(ctx, asked)
	for err == nil {
		var message *pb.SyncEvent
		if message, err = stream.Recv(); err != nil {
			break
		}
		if refused := sink(message); refused != nil {
			return 0, refused
		}
		if checkpoint := message.GetCheckpoint(); checkpoint != nil {
			checkpoints++
			asked.Cursor = checkpoint.GetCursor()
		}
	}
	if errors.Is(err, io.EOF) {
		return checkpoints, nil
	}
	return checkpoints, err
}

// renew gives a request an invocation id of its own, and a token.
func renew(ctx context.Context, asked *pb.SyncRequest, tokens Tokens) error {
	if asked.Context == nil {
		asked.Context = &pb.InvocationContext{}
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	asked.Context.InvocationId = hex.EncodeToString(id)
	if tokens == nil {
		return nil
	}
	token, err := tokens(ctx)
	if err != nil {
		return fmt.Errorf("no token was to be had: %w", err)
	}
	asked.Context.Token = token
	return nil
}
