package connector

import (
	"context"
	"fmt"
	"sync"
	"time"

	aperio "github.com/writer/aperio-plugin-go"
	pb "github.com/writer/aperio-plugin-go/gen/pluginv1"
	"github.com/writer/aperio-plugin-go/internal/serve"
	"github.com/writer/aperio-plugin-go/records"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	batchItems = 256
	batchBytes = 1024 * 1024
	batchTime  = 200 * time.Millisecond
	// readyMessages may wait for the host; more would not be faster, and costs memory.
	readyMessages = 2
	// closing is how long an ended call waits for the author's Sync to return.
	closing = time.Second
)

// Stream takes what a sync reads, in order. Batches close at 256 events, 1 MiB or 200 ms, whichever
// comes first; a checkpoint, a dead letter, or something of another kind closes the batch before it.
// Its methods may be called from several goroutines, until Sync returns.
//
// Once a method has failed, all fail in the same way, and so does the sync, whatever Sync returns.
type Stream struct {
	ctx  context.Context
	wake chan struct{} // holds one: something changed for the host's side

	mutex sync.Mutex
	room  *sync.Cond // something changed for the author's side
	ready []*pb.SyncEvent
	batch batch
	until time.Time
	ended bool
	err   error
}

func newStream(ctx context.Context) *Stream {
	stream := &Stream{ctx: ctx, wake: make(chan struct{}, 1)}
	stream.room = sync.NewCond(&stream.mutex)
	return stream
}

// Context gives the context of the call: it ends when the host ends the call, or at its deadline.
func (s *Stream) Context() context.Context { return s.ctx }

// Send takes one event, and waits while the host does not read. An event that cannot be passed on
// becomes a dead letter that names the part, and the sync goes on. The error has the cause
// Cancelled: the call has ended.
func (s *Stream) Send(event Event) error { return s.sendAt(event, "") }

// sendAt is Send, and says in a dead letter where the record was read.
func (s *Stream) sendAt(event Event, position string) error {
	message, size, err := eventMessage(event)
	if err != nil {
		letter := letterOf(event, err)
		letter.Position = position
		return s.DeadLetter(letter)
	}
	return s.add(message, size)
}

// SendFinding takes one finding, as Send takes an event.
func (s *Stream) SendFinding(finding Finding) error {
	message, size, err := findingMessage(finding)
	if err != nil {
		return s.DeadLetter(letterOfFinding(finding, err))
	}
	return s.add(message, size)
}

// SendAuditLogEntry takes one audit log entry, as Send takes an event.
func (s *Stream) SendAuditLogEntry(entry AuditLogEntry) error {
	message, size, err := entryMessage(entry)
	if err != nil {
		return s.DeadLetter(letterOfEntry(entry, err))
	}
	return s.add(message, size)
}

// add puts a message of an event, a finding or an entry into the batch.
func (s *Stream) add(message proto.Message, size int) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err := s.fail(nil); err != nil {
		return err
	}
	for !s.batch.takes(message, size) {
		s.closeBatch()
		if err := s.waitForRoom(); err != nil {
			return err
		}
	}
	if s.batch.length() == 0 {
		s.until = time.Now().Add(batchTime)
		s.tell() // the host's side waits no longer than that
	}
	s.batch.add(message, size)
	if s.batch.length() < batchItems {
		return nil
	}
	s.closeBatch()
	return s.waitForRoom()
}

// SendEach sends an event for each record, or a dead letter for one that cannot be read: what toEvent
// fails with is its reason. The position says where in the service they were read, for a person. The
// error has the cause Cancelled: the call has ended.
func (s *Stream) SendEach(
	found []records.Record, position string, toEvent func(records.Record) (Event, error),
) error {
	for number, record := range found {
		place := fmt.Sprintf("%s, entry %d", position, number+1)
		event, err := toEvent(record)
		if record.Problem != nil {
			err = record.Problem
		}
		if err == nil {
			err = s.sendAt(event, place)
		} else {
			err = s.DeadLetter(DeadLetter{
				Reason: err.Error(), SourceEventID: record.ID("id"), Record: record.JSON,
				Position: place,
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Checkpoint says that a later sync can go on from this cursor without losing an event that was
// sent before. The cursor has at most 64 KiB and is never a secret. The error has the cause
// InvalidRecord for a cursor that is too long, or Cancelled when the call has ended.
func (s *Stream) Checkpoint(cursor []byte) error {
	return s.SendCheckpoint(Checkpoint{Cursor: cursor})
}

// SendCheckpoint is Checkpoint, and says which stream was read until when. The error has the cause
// InvalidRecord for a cursor that is too long, a stream that is no name or a time outside of the
// years 1 to 9999, too.
func (s *Stream) SendCheckpoint(checkpoint Checkpoint) error {
	message, err := checkpointMessage(checkpoint)
	return s.put(message, err)
}

// DeadLetter says that a record was skipped. The error has the cause Cancelled: the call has ended.
func (s *Stream) DeadLetter(letter DeadLetter) error { return s.put(deadLetterMessage(letter), nil) }

// Progress tells people how far the sync is. The error has the cause Cancelled: the call has ended.
func (s *Stream) Progress(progress Progress) error {
	return s.put(progressMessage(progress), nil)
}

func (s *Stream) put(message *pb.SyncEvent, err error) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err = s.fail(err); err != nil {
		return err
	}
	s.closeBatch()
	s.ready = append(s.ready, message)
	s.tell()
	return s.waitForRoom()
}

// run has the author's code write to the stream and hands each message to the host. It gives what
// the author's code failed with, or the host's side.
func (s *Stream) run(author func() error, send func(*pb.SyncEvent) error) error {
	stop := context.AfterFunc(s.ctx, func() {
		s.mutex.Lock()
		defer s.mutex.Unlock()
		s.room.Broadcast()
	})
	defer stop()
	result := make(chan error, 1)
	go func() {
		err := serve.Guard(author)
		result <- s.end(err)
	}()
	if err := s.deliver(send); err != nil {
		s.mutex.Lock()
		_ = s.fail(unsent(err)) // frees the author's side
		s.room.Broadcast()
		s.mutex.Unlock()
	}
	return wait(result)
}

// unsent gives the error for a message that gRPC did not take. That the host has ended the call may
// show here before the context says so.
func unsent(err error) error {
	switch status.Code(err) {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable:
		return &aperio.Error{Cause: aperio.Cancelled, Summary: "the call has ended", Err: err}
	default:
		return err
	}
}

// wait gives the author's result; it is there, unless the call has ended.
func wait(result <-chan error) error {
	select {
	case err := <-result:
		return err
	case <-time.After(closing):
		return &aperio.Error{Cause: aperio.Cancelled, Summary: "the call ended"}
	}
}

// deliver hands messages to the host until there are no more, or no more are wanted.
func (s *Stream) deliver(send func(*pb.SyncEvent) error) error {
	timer := time.NewTimer(batchTime)
	defer timer.Stop()
	for s.ctx.Err() == nil {
		message, pause, ended := s.next()
		if ended {
			return nil
		}
		if message != nil {
			if err := send(message); err != nil {
				return err
			}
			continue
		}
		timer.Reset(pause)
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.ctx.Done():
		}
	}
	return nil
}

// next gives a message, or how long to wait for one, or that there are no more.
func (s *Stream) next() (message *pb.SyncEvent, pause time.Duration, ended bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	pause = time.Hour // until woken
	if len(s.ready) == 0 && s.batch.length() > 0 {
		if pause = time.Until(s.until); pause <= 0 {
			s.closeBatch()
		}
	}
	if len(s.ready) == 0 {
		return nil, pause, s.ended
	}
	message = s.ready[0]
	s.ready = s.ready[1:]
	s.room.Broadcast()
	return message, 0, false
}

// end closes the last batch and gives the error that the sync ends with.
func (s *Stream) end(err error) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.err != nil {
		err = s.err
	}
	s.closeBatch()
	s.ended = true
	s.tell()
	return err
}

// With the mutex held:

// fail keeps the first error, and gives it, or that the call has ended.
func (s *Stream) fail(err error) error {
	if s.err == nil {
		s.err = err
	}
	if s.err == nil && (s.ctx.Err() != nil || s.ended) {
		s.err = &aperio.Error{
			Cause: aperio.Cancelled, Summary: "the call has ended", Err: s.ctx.Err(),
		}
	}
	return s.err
}

func (s *Stream) closeBatch() {
	if s.batch.length() == 0 {
		return
	}
	s.ready = append(s.ready, s.batch.message())
	s.batch = batch{}
	s.tell()
}

func (s *Stream) waitForRoom() error {
	for len(s.ready) >= readyMessages && s.ctx.Err() == nil && s.err == nil {
		s.room.Wait()
	}
	return s.fail(nil)
}

func (s *Stream) tell() {
	select {
	case s.wake <- struct{}{}:
	default: // it has been told already
	}
}
