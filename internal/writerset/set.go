// Package writerset is the writers of one session: which of them take part, what each is sent and how it answered, the
// components that the requester chose, and what the copies promise because of them.
//
// A Set does not know the phases of a session. The coordinator's session decides whether a call is legal now and that
// only one call that changes the Set runs at a time; every rule about writers and components is here. The states of a
// writer are those of the table in package writer, which its own side keeps by the same table.
package writerset

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// Config is what all sets of a service share.
type Config struct {
	Writers  func(context.Context) []*writer.Instance // returns the writers that run now
	Limits   Limits
	Required []string // class ids or names: without these writers no shadow copy set is created
	Events   *events.Log
	Logger   *slog.Logger
}

// Set is the writers of one session and the Backup Components Document, in which their components are. Status may be
// called at any time, from any goroutine; other methods must not run at the same time as one that changes the Set.
type Set struct {
	cfg      *Config
	session  vss.SessionID
	doc      *document.Components
	loaded   []*document.WriterComponents // of the document that Load began with
	choice   choice
	gathered bool
	excluded []writer.Info // writers that run and do not take part

	restoring bool
	saved     []*document.WriterMetadata           // of the restore: the writers' metadata as of the backup
	moved     map[*document.Component]*participant // of the restore: components that go to another instance

	mu       sync.Mutex // the fields below, and those of the participants
	all      []*participant
	failed   []*participant // writers that failed to identify themselves
	asked    bool           // GatherStatus has run
	frozenAt time.Time      // the first Freeze was sent
	thawedAt time.Time      // the last Thaw was answered
}

// participant is one writer instance in a session. A writer has one state in each session that it takes part in.
type participant struct {
	*writer.Instance
	meta    *document.WriterMetadata
	state   vss.WriterState
	failure writer.Failure

	involved         bool          // an event was sent: BackupShutdown must follow
	freezeSent       bool          // Freeze was sent, and neither Thaw nor Abort succeeded
	froze            bool          // Freeze succeeded
	thawed           bool          // Thaw succeeded
	postSnapshotSent bool          // no Abort follows
	preRestoreSent   bool          // PostRestore must follow
	freezeAt         time.Time     // Freeze was sent; zero when the writer is no longer frozen
	frozenFor        time.Duration // from Freeze to the answer to Thaw or Abort
}

// window returns how long the writer accepts being frozen.
func (p *participant) window() time.Duration {
	if t := p.Info.FreezeTimeout; t > 0 && t < writer.DefaultFreezeTimeout {
		return t
	}
	return writer.DefaultFreezeTimeout
}

// entry returns an entry of the document for the writer, without components.
func (p *participant) entry(schema vss.BackupSchema) *document.WriterComponents {
	return &document.WriterComponents{
		WriterID: p.Info.ID, InstanceID: p.ID, InstanceName: p.Info.InstanceName, BackupSchema: schema,
	}
}

// New returns the writers of a session, with an empty document. No writer takes part before Gather.
func New(cfg *Config, session vss.SessionID) *Set {
	return &Set{cfg: cfg, session: session, doc: &document.Components{}}
}

// Document returns the Backup Components Document. The session sets in it what does not belong to a component.
func (s *Set) Document() *document.Components { return s.doc }

// Load begins a backup or an import with a document. Errors: VSS_E_INVALID_XML_DOCUMENT.
func (s *Set) Load(doc []byte) error {
	d, err := document.Parse(doc)
	if err != nil {
		return vss.E("InitializeForBackup", vss.ErrInvalidXMLDocument, err)
	}
	s.doc, s.loaded = d, d.Writers
	return nil
}

// Renew begins another backup than the one that the loaded document is of: its components go, because the document must
// not claim data that this backup doesn't save. Components that were added since stay.
func (s *Set) Renew() {
	old := map[*document.Component]bool{}
	for _, w := range s.loaded {
		for _, c := range w.Components {
			old[c] = true
		}
	}
	s.loaded = nil
	if len(old) == 0 {
		return
	}
	for _, w := range s.doc.Writers {
		w.Components = slices.DeleteFunc(w.Components, func(c *document.Component) bool { return old[c] })
	}
	s.doc.Writers = slices.DeleteFunc(s.doc.Writers, func(w *document.WriterComponents) bool {
		return len(w.Components) == 0
	})
}

// LoadRestore begins a restore with the documents that the backup saved. Where the metadata of a writer are given,
// the calls that choose what to restore are checked against them. Errors: VSS_E_INVALID_XML_DOCUMENT.
func (s *Set) LoadRestore(doc []byte, metadata [][]byte) error {
	invalid := func(what string, err error) error {
		return vss.E("InitializeForRestore", vss.ErrInvalidXMLDocument, err).On(what).
			Advise("pass the documents as the backup saved them")
	}
	d, err := document.Parse(doc)
	if err != nil {
		return invalid("Backup Components Document", err)
	}
	var saved []*document.WriterMetadata
	for _, text := range metadata {
		m, err := document.ParseMetadata(text)
		if err != nil {
			return invalid("Writer Metadata Document", err)
		}
		saved = append(saved, m)
	}
	s.doc, s.saved, s.restoring = d, saved, true
	s.moved = map[*document.Component]*participant{}
	return nil
}

// Restoring reports whether the session restores.
func (s *Set) Restoring() bool { return s.restoring }

// needGathered returns VSS_E_BAD_STATE before Gather.
func (s *Set) needGathered(op string) error {
	if s.gathered {
		return nil
	}
	return vss.E(op, vss.ErrBadState, errors.New("GatherWriterMetadata must be called first"))
}
