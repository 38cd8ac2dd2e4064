package serve

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// stdioMethod is how go-plugin hands over what a plugin printed: os.Stdout and os.Stderr are pipes
// then, whose other ends it reads in pieces and streams to the host. It cuts that stream when it is
// told to end, wherever the last lines are.
const stdioMethod = "/plugin.GRPCStdio/StreamStdio"

// prints follows those streams, so that a plugin ends after its last line and not before.
type prints struct {
	mutex   sync.Mutex
	streams map[*context.CancelFunc]struct{}
	ended   chan struct{} // closed when the last stream has ended after the flush was begun
	mark    []byte        // printed by the flush: what comes before it, was printed before it
	held    map[int32][]byte
	missing int // marks that have not come yet
	flushed chan struct{}
}

func newPrints() *prints {
	return &prints{
		streams: map[*context.CancelFunc]struct{}{},
		ended:   make(chan struct{}),
		held:    map[int32][]byte{},
		flushed: make(chan struct{}),
	}
}

// stream runs go-plugin's handler of one stream.
func (p *prints) stream(server any, stream grpc.ServerStream, next grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	p.mutex.Lock()
	p.streams[&cancel] = struct{}{}
	p.mutex.Unlock()
	defer func() {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		delete(p.streams, &cancel)
		if p.mark != nil && len(p.streams) == 0 {
			close(p.ended)
		}
	}()
	return next(server, &printStream{&cancellable{stream, ctx}, p})
}

// flush waits until all that was printed is on its way to the host and ends the streams, or until
// time is up. It is called once.
func (p *prints) flush(patience time.Duration, pipes ...io.Writer) {
	mark := []byte("\x00" + rand.Text())
	p.mutex.Lock()
	if len(p.streams) == 0 { // nobody listens, and the pipes may be somebody else's
		p.mutex.Unlock()
		return
	}
	p.mark, p.missing = mark, len(pipes)
	p.mutex.Unlock()
	for _, pipe := range pipes {
		go func() { _, _ = pipe.Write(mark) }() // waits where a pipe is full
	}
	waiting, done := context.WithTimeout(context.Background(), patience)
	defer done()
	select {
	case <-p.flushed:
	case <-waiting.Done():
	}
	p.mutex.Lock()
	for cancel := range p.streams {
		(*cancel)()
	}
	p.mutex.Unlock()
	select {
	case <-p.ended:
	case <-waiting.Done():
	}
}

// cut gives what may be sent of a piece, and whether the mark stood behind it. The beginning of a
// mark is held back until its rest comes.
func (p *prints) cut(channel int32, piece []byte) (rest []byte, marked bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.mark == nil {
		return piece, false
	}
	piece = append(p.held[channel], piece...)
	delete(p.held, channel)
	before, after, marked := bytes.Cut(piece, p.mark)
	if marked {
		return append(before, after...), true
	}
	for length := min(len(p.mark)-1, len(piece)); length > 0; length-- {
		if bytes.HasSuffix(piece, p.mark[:length]) {
			end := len(piece) - length
			p.held[channel] = bytes.Clone(piece[end:])
			return piece[:end], false
		}
	}
	return piece, false
}

// came counts a mark, when all before it was sent.
func (p *prints) came() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.missing--; p.missing == 0 {
		close(p.flushed)
	}
}

// printStream takes the mark out of what is sent.
type printStream struct {
	*cancellable
	prints *prints
}

// SendMsg sends a piece. go-plugin's message of {channel, data} is internal to it, hence by name.
func (s *printStream) SendMsg(message any) error {
	reflected, ok := message.(interface{ ProtoReflect() protoreflect.Message })
	if !ok {
		return s.cancellable.SendMsg(message)
	}
	fields := reflected.ProtoReflect().Descriptor().Fields()
	channel, data := fields.ByName("channel"), fields.ByName("data")
	piece := reflected.ProtoReflect()
	rest, marked := s.prints.cut(int32(piece.Get(channel).Enum()), piece.Get(data).Bytes())
	if len(rest) > 0 {
		piece.Set(data, protoreflect.ValueOfBytes(rest))
		if err := s.cancellable.SendMsg(message); err != nil {
			return err
		}
	}
	if marked {
		s.prints.came()
	}
	return nil
}

// printed are the ends that a plugin's code writes to; go-plugin replaced them when it began.
func printed() []io.Writer { return []io.Writer{os.Stdout, os.Stderr} }
