package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	herdbookv1 "example.com/app/herdbook/v1"
)

// watch follows the alias of a session.
type watch struct {
	stream    herdbookv1.AliasService_WatchAliasesClient
	reference string
	revision  int64
}

// openWatch watches the session's reference and takes the initial state, which must be version.
func (s *session) openWatch(ctx context.Context, version *herdbookv1.Version) (*watch, error) {
	stream, err := s.aliases.WatchAliases(ctx, &herdbookv1.WatchAliasesRequest{
		References: []string{s.reference()},
		Replica:    &herdbookv1.Replica{Id: uuid.NewString(), Name: "interop-go"},
	})
	if err != nil {
		return nil, fmt.Errorf("WatchAliases: %w", err)
	}
	w := &watch{stream: stream, reference: s.reference()}
	if err := w.takeState(version); err != nil {
		return nil, err
	}
	return w, w.takeFirstBookmark()
}

// takeState takes the next message, which must be the state that names version.
func (w *watch) takeState(version *herdbookv1.Version) error {
	message, err := w.stream.Recv()
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	if message.GetState() == nil {
		return fmt.Errorf("watch: wanted a state, got %v", message)
	}
	return w.checkState(message.GetState(), version)
}

func (w *watch) checkState(state *herdbookv1.ReferenceState, version *herdbookv1.Version) error {
	grown := state.GetRevision() > w.revision
	w.revision = state.GetRevision()
	say("watch: %s names %d at revision %d", state.GetReference(), state.GetResolution().GetVersion(), w.revision)
	return firstOf(
		same("watched reference", state.GetReference(), w.reference),
		same("watched version", state.GetResolution().GetVersion(), version.GetNumber()),
		same("watched digest", state.GetResolution().GetDigest(), version.GetDigest()),
		same("missing_reason", state.GetMissingReason(), ""),
		same("revision grown", grown, true),
	)
}

func (w *watch) takeFirstBookmark() error {
	message, err := w.stream.Recv()
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	bookmark := message.GetBookmark()
	return firstOf(
		same("bookmark after the initial states", bookmark != nil, true),
		same("initial_done", bookmark.GetInitialDone(), true),
		same("bookmark covers the state", bookmark.GetRevision() >= w.revision, true),
	)
}

// awaitMove waits until the watch says that its reference names version; bookmarks may come first.
func (w *watch) awaitMove(version *herdbookv1.Version) error {
	for {
		message, err := w.stream.Recv()
		if err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		if state := message.GetState(); state != nil {
			return w.checkState(state, version)
		}
	}
}
