package writers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// local is a writer in this process as if it were behind a socket. It is closed with the registry only.
type local struct{ *writer.Watched }

// Gone implements writer.Remote: it never goes.
func (local) Gone() <-chan struct{} { return nil }

// Close implements writer.Remote: a registration that failed is tried again.
func (local) Close() error { return nil }

// member is a writer that takes part: it is who it was when it joined, or it is sent away.
type member struct {
	writer.Remote
	id   vss.WriterInstanceID
	info writer.Info
	log  *slog.Logger
}

// lost says that the writer's process has gone.
func (m *member) lost() bool {
	select {
	case <-m.Gone():
		return true
	default:
		return false
	}
}

// Info implements writer.Writer.
func (m *member) Info(ctx context.Context) (writer.Info, error) {
	i, err := m.Remote.Info(ctx)
	if err != nil {
		return writer.Info{}, err
	}
	return m.info, m.same("GetInfo", i.ID)
}

// Identify implements writer.Writer. The metadata carry the instance id that the service gave.
func (m *member) Identify(ctx context.Context) (*document.WriterMetadata, error) {
	md, err := m.Remote.Identify(ctx)
	if err == nil {
		err = m.same("Identify", md.WriterID)
	}
	if err != nil {
		return nil, err
	}
	md.InstanceID, md.Name, md.InstanceName = m.id, m.info.Name, m.info.InstanceName
	md.Usage, md.Source = m.info.Usage, m.info.Source
	return md, nil
}

// same sends a writer away that is suddenly of another class.
func (m *member) same(op string, class vss.WriterID) error {
	if class == m.info.ID {
		return nil
	}
	err := vss.E(op, vss.ErrWriterErrorNonRetryable, fmt.Errorf("it joined as class %s and now says that it is of %s", m.info.ID, class)).
		On(m.info.Name).Advise("a writer's class never changes; fix the writer")
	m.log.Error("a writer lies about its class and is sent away", "error", err)
	return errors.Join(err, m.Close())
}
