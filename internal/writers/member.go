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

// local adapts a writer in this process to writer.Remote. The registry closes it when the registry itself is closed.
type local struct{ *writer.Watched }

// Gone implements writer.Remote. It returns nil, since a writer in this process doesn't disconnect.
func (local) Gone() <-chan struct{} { return nil }

// Close implements writer.Remote. It does nothing, so that a failed registration can be tried again.
func (local) Close() error { return nil }

// member is a registered writer. Its class must remain the one it registered with; otherwise it is disconnected.
type member struct {
	writer.Remote
	id   vss.WriterInstanceID
	info writer.Info
	log  *slog.Logger
}

// lost reports whether the writer's process has ended.
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
	return m.info, m.checkClass("GetInfo", i.ID)
}

// Identify implements writer.Writer. The metadata carry the instance ID that the service assigned.
func (m *member) Identify(ctx context.Context) (*document.WriterMetadata, error) {
	md, err := m.Remote.Identify(ctx)
	if err == nil {
		err = m.checkClass("Identify", md.WriterID)
	}
	if err != nil {
		return nil, err
	}
	md.InstanceID, md.Name, md.InstanceName = m.id, m.info.Name, m.info.InstanceName
	md.Usage, md.Source = m.info.Usage, m.info.Source
	return md, nil
}

// checkClass disconnects the writer and returns an error if class isn't the one it registered with.
func (m *member) checkClass(op string, class vss.WriterID) error {
	if class == m.info.ID {
		return nil
	}
	err := vss.E(op, vss.ErrWriterErrorNonRetryable,
		fmt.Errorf("it registered as class %s and now reports class %s", m.info.ID, class)).
		On(m.info.Name).
		Advise("a writer's class must not change; correct the writer")
	m.log.Error("a writer changed its class and is disconnected", "error", err)
	return errors.Join(err, m.Close())
}
