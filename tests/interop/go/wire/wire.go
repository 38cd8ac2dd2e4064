// Package wire registers and calls methods whose messages are raw protobuf bytes, so that these
// programs need no generated code: an Empty keeps all that it was sent as unknown fields.
package wire

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Message is an encoded protobuf message.
type Message []byte

// Text returns m with a string field appended.
func (m Message) Text(number protowire.Number, text string) Message {
	return m.Bytes(number, []byte(text))
}

// Bytes returns m with a field of bytes, or a message, appended.
func (m Message) Bytes(number protowire.Number, data []byte) Message {
	tagged := protowire.AppendTag(m, number, protowire.BytesType)
	return protowire.AppendBytes(tagged, data)
}

// Find returns every value of a field of bytes, text or messages.
func (m Message) Find(number protowire.Number) ([]Message, error) {
	var found []Message
	for rest := m; len(rest) > 0; {
		field, kind, size := protowire.ConsumeTag(rest)
		if size < 0 {
			return nil, fmt.Errorf("reading a tag: %w", protowire.ParseError(size))
		}
		value := protowire.ConsumeFieldValue(field, kind, rest[size:])
		if value < 0 {
			return nil, fmt.Errorf("reading field %d: %w", field, protowire.ParseError(value))
		}
		if field == number && kind == protowire.BytesType {
			data, _ := protowire.ConsumeBytes(rest[size:])
			found = append(found, data)
		}
		rest = rest[size+value:]
	}
	return found, nil
}

// Pack returns a message that grpc can send, with m for its bytes.
func Pack(m Message) *emptypb.Empty {
	packed := &emptypb.Empty{}
	packed.ProtoReflect().SetUnknown([]byte(m))
	return packed
}

// Unpack returns the bytes of a message that was received into an Empty.
func Unpack(packed *emptypb.Empty) Message {
	return Message(packed.ProtoReflect().GetUnknown())
}

// Unary describes a method with one answer.
func Unary(name string, answer func(context.Context, Message) (Message, error)) grpc.MethodDesc {
	handle := func(
		_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor,
	) (any, error) {
		request := &emptypb.Empty{}
		if err := decode(request); err != nil {
			return nil, err
		}
		response, err := answer(ctx, Unpack(request))
		if err != nil {
			return nil, err
		}
		return Pack(response), nil
	}
	return grpc.MethodDesc{MethodName: name, Handler: handle}
}

// Stream describes a method that gets every message through receive and answers through send.
func Stream(
	name string, run func(receive func() (Message, error), send func(Message) error) error,
) grpc.StreamDesc {
	handle := func(_ any, stream grpc.ServerStream) error {
		receive := func() (Message, error) {
			request := &emptypb.Empty{}
			if err := stream.RecvMsg(request); err != nil {
				return nil, err
			}
			return Unpack(request), nil
		}
		return run(receive, func(m Message) error { return stream.SendMsg(Pack(m)) })
	}
	return grpc.StreamDesc{
		StreamName: name, Handler: handle, ServerStreams: true, ClientStreams: true,
	}
}

// Call calls a method with one answer.
func Call(ctx context.Context, conn grpc.ClientConnInterface, path string, request Message) (Message, error) {
	response := &emptypb.Empty{}
	if err := conn.Invoke(ctx, path, Pack(request), response); err != nil {
		return nil, err
	}
	return Unpack(response), nil
}

// Collect calls a method that answers with a stream and returns all of it.
func Collect(ctx context.Context, conn grpc.ClientConnInterface, path string, request Message) ([]Message, error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, path)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(Pack(request)); err != nil {
		return nil, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	var all []Message
	for {
		response := &emptypb.Empty{}
		if err := stream.RecvMsg(response); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return all, err
		}
		all = append(all, Unpack(response))
	}
}
