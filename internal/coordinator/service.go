package coordinator

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Service answers requesters over the wire. It translates and does nothing else; who may call what is checked before.
type Service struct {
	vssv1.UnimplementedCoordinatorServer
	k *Coordinator
}

// Service is the coordinator as requesters see it.
func (k *Coordinator) Service() *Service { return &Service{k: k} }

func user(ctx context.Context) (uint32, error) {
	p, ok := wire.Peer(ctx)
	if !ok {
		return 0, vss.E("FindSession", vss.ErrAccessDenied, errors.New("the caller isn't known"))
	}
	return p.UID, nil
}

func (v *Service) session(ctx context.Context, token string) (*Session, error) {
	u, err := user(ctx)
	if err != nil {
		return nil, err
	}
	return v.k.Session(token, u)
}

// on finds the session and calls f with it.
func on[R any](v *Service, ctx context.Context, token string, f func(*Session) (*R, error)) (*R, error) {
	s, err := v.session(ctx, token)
	if err != nil {
		return nil, err
	}
	return f(s)
}

// done is on for calls that answer with nothing but success.
func done(v *Service, ctx context.Context, token string, f func(*Session) error) (*vssv1.Done, error) {
	return on(v, ctx, token, func(s *Session) (*vssv1.Done, error) { return &vssv1.Done{}, f(s) })
}

// begun is on for calls that begin an asynchronous operation.
func begun(v *Service, ctx context.Context, token string, f func(*Session) (*Async, error)) (*vssv1.Async, error) {
	return on(v, ctx, token, func(s *Session) (*vssv1.Async, error) {
		a, err := f(s)
		if err != nil {
			return nil, err
		}
		return &vssv1.Async{Id: a.ID}, nil
	})
}

func (v *Service) OpenSession(r *vssv1.OpenSessionRequest, stream grpc.ServerStreamingServer[vssv1.SessionEvent]) error {
	u, err := user(stream.Context())
	if err != nil {
		return err
	}
	s := v.k.OpenSession(u)
	defer s.Close()
	v.k.Logger.Debug("session opened", "session", s.ID, "user", u, "program", r.GetProgram())
	if err := stream.Send(&vssv1.SessionEvent{Session: s.Token}); err != nil {
		return err
	}
	select {
	case <-stream.Context().Done():
	case <-s.life.Done():
	}
	return nil
}

func (v *Service) InitializeForBackup(ctx context.Context, r *vssv1.InitializeForBackupRequest) (*vssv1.Done, error) {
	return done(v, ctx, r.GetSession(), func(s *Session) error { return s.InitializeForBackup(r.GetDocument()) })
}

func (v *Service) SetContext(ctx context.Context, r *vssv1.SetContextRequest) (*vssv1.Done, error) {
	return done(v, ctx, r.GetSession(), func(s *Session) error { return s.SetContext(vss.Context(r.GetContext())) })
}

func (v *Service) SetBackupState(ctx context.Context, r *vssv1.SetBackupStateRequest) (*vssv1.Done, error) {
	return done(v, ctx, r.GetSession(), func(s *Session) error {
		return s.SetBackupState(r.GetSelectComponents(), r.GetBootableSystemState(), vss.BackupType(r.GetBackupType()), r.GetPartialFiles())
	})
}

func (v *Service) EnableWriterClasses(ctx context.Context, r *vssv1.WriterSelection) (*vssv1.Done, error) {
	return done(v, ctx, r.GetSession(), func(s *Session) error { return s.EnableWriterClasses(r.GetIds()) })
}

func (v *Service) DisableWriterClasses(ctx context.Context, r *vssv1.WriterSelection) (*vssv1.Done, error) {
	return done(v, ctx, r.GetSession(), func(s *Session) error { return s.DisableWriterClasses(r.GetIds()) })
}

func (v *Service) DisableWriterInstances(ctx context.Context, r *vssv1.WriterSelection) (*vssv1.Done, error) {
	return done(v, ctx, r.GetSession(), func(s *Session) error {
		var ids []vss.WriterInstanceID
		for _, t := range r.GetIds() {
			g, err := vss.ParseGUID(t)
			if err != nil {
				return err
			}
			ids = append(ids, vss.WriterInstanceID{GUID: g})
		}
		return s.DisableWriterInstances(ids)
	})
}

func (v *Service) GatherWriterMetadata(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r.GetSession(), (*Session).GatherWriterMetadata)
}

func (v *Service) GetWriterMetadata(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.WriterMetadataList, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.WriterMetadataList, error) {
		all, err := s.WriterMetadata()
		if err != nil {
			return nil, err
		}
		return metadataOut(all)
	})
}

func (v *Service) GatherWriterStatus(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r.GetSession(), (*Session).GatherWriterStatus)
}

func (v *Service) GetWriterStatus(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.WriterStatusList, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.WriterStatusList, error) {
		all, err := s.WriterStatus()
		return &vssv1.WriterStatusList{Writers: each(all, writerOut)}, err
	})
}

func (v *Service) AddComponent(ctx context.Context, r *vssv1.ComponentRequest) (*vssv1.Done, error) {
	return done(v, ctx, r.GetSession(), func(s *Session) error {
		class, instance, err := writerIDs(r)
		if err != nil {
			return err
		}
		var t vss.ComponentType
		if err := t.UnmarshalText([]byte(r.GetType())); err != nil {
			return err
		}
		return s.AddComponent(instance, class, t, r.GetLogicalPath(), r.GetName())
	})
}

func (v *Service) SetBackupSucceeded(ctx context.Context, r *vssv1.ComponentRequest) (*vssv1.Done, error) {
	return done(v, ctx, r.GetSession(), func(s *Session) error {
		class, instance, err := writerIDs(r)
		if err != nil {
			return err
		}
		return s.SetBackupSucceeded(instance, class, r.GetLogicalPath(), r.GetName(), r.GetSucceeded())
	})
}

func writerIDs(r *vssv1.ComponentRequest) (class vss.WriterID, instance vss.WriterInstanceID, err error) {
	if class.GUID, err = vss.ParseGUID(r.GetWriterId()); err == nil {
		instance.GUID, err = vss.ParseGUID(r.GetInstanceId())
	}
	return class, instance, err
}

// onComponent is done for calls that name a component.
func onComponent(v *Service, ctx context.Context, token string, c *vssv1.ComponentName, f func(*Session, ComponentName) error) (*vssv1.Done, error) {
	return done(v, ctx, token, func(s *Session) error {
		n, err := componentIn(c)
		if err != nil {
			return err
		}
		return f(s, n)
	})
}

func (v *Service) SetBackupOptions(ctx context.Context, r *vssv1.ComponentTextRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error { return s.SetBackupOptions(n, r.GetText()) })
}

func (v *Service) SetPreviousBackupStamp(ctx context.Context, r *vssv1.ComponentTextRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error { return s.SetPreviousBackupStamp(n, r.GetText()) })
}

func (v *Service) GetWriterComponents(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.WriterComponentsList, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.WriterComponentsList, error) {
		all, err := s.WriterComponents()
		out := &vssv1.WriterComponentsList{}
		for _, w := range all {
			xml, err := w.XML()
			if err != nil {
				return nil, err
			}
			out.Writers = append(out.Writers, xml)
		}
		return out, err
	})
}

func (v *Service) GetSessionId(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.SessionIdReply, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.SessionIdReply, error) {
		id, err := s.SessionID()
		return &vssv1.SessionIdReply{SessionId: id.String()}, err
	})
}

func (v *Service) GetRootAndLogicalPrefixPaths(ctx context.Context, r *vssv1.PathRequest) (*vssv1.RootReply, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.RootReply, error) {
		root, prefix, err := s.RootAndLogicalPrefix(ctx, r.GetPath())
		return &vssv1.RootReply{Root: root, LogicalPrefix: prefix}, err
	})
}

func (v *Service) StartSnapshotSet(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.StartSnapshotSetReply, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.StartSnapshotSetReply, error) {
		id, err := s.StartSnapshotSet()
		return &vssv1.StartSnapshotSetReply{SetId: id.String()}, err
	})
}

func (v *Service) AddToSnapshotSet(ctx context.Context, r *vssv1.AddToSnapshotSetRequest) (*vssv1.AddToSnapshotSetReply, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.AddToSnapshotSetReply, error) {
		id, err := s.AddToSnapshotSet(ctx, r.GetVolume(), r.GetProvider())
		return &vssv1.AddToSnapshotSetReply{SnapshotId: id.String()}, err
	})
}

func (v *Service) IsVolumeSupported(ctx context.Context, r *vssv1.VolumeRequest) (*vssv1.BoolReply, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.BoolReply, error) {
		yes, err := s.IsVolumeSupported(ctx, r.GetVolume(), r.GetProvider())
		return &vssv1.BoolReply{Value: yes}, err
	})
}

func (v *Service) IsVolumeSnapshotted(ctx context.Context, r *vssv1.VolumeRequest) (*vssv1.IsVolumeSnapshottedReply, error) {
	return on(v, ctx, r.GetSession(), func(*Session) (*vssv1.IsVolumeSnapshottedReply, error) {
		yes, c, err := v.k.IsVolumeSnapshotted(ctx, r.GetVolume())
		return &vssv1.IsVolumeSnapshottedReply{Present: yes, Compatibility: uint32(c)}, err
	})
}

func (v *Service) PrepareForBackup(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r.GetSession(), (*Session).PrepareForBackup)
}

func (v *Service) DoSnapshotSet(ctx context.Context, r *vssv1.DoSnapshotSetRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r.GetSession(), func(s *Session) (*Async, error) {
		return s.DoSnapshotSet(limitOf(r.GetHoldLimitMs()))
	})
}

// limitOf keeps a figure that no duration can hold from becoming one that is in range.
func limitOf(ms int64) time.Duration {
	if ms < 0 || ms > time.Hour.Milliseconds() {
		return time.Hour
	}
	return time.Duration(ms) * time.Millisecond
}

func (v *Service) BackupComplete(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r.GetSession(), (*Session).BackupComplete)
}

func (v *Service) AbortBackup(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Done, error) {
	return done(v, ctx, r.GetSession(), func(s *Session) error { return s.AbortBackup(context.WithoutCancel(ctx)) })
}

func (v *Service) SaveAsXML(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Document, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.Document, error) {
		xml, err := s.SaveAsXML()
		return &vssv1.Document{Xml: xml}, err
	})
}

func (v *Service) ImportSnapshots(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r.GetSession(), (*Session).ImportSnapshots)
}

func (v *Service) GetSnapshotProperties(ctx context.Context, r *vssv1.SnapshotRequest) (*vssv1.Snapshot, error) {
	return onCopy(v, ctx, r, func(s *Session, id vss.SnapshotID) (catalog.Snapshot, error) { return s.GetSnapshotProperties(id) })
}

// onCopy is on for calls that answer with a copy.
func onCopy(v *Service, ctx context.Context, r *vssv1.SnapshotRequest, f func(*Session, vss.SnapshotID) (catalog.Snapshot, error)) (*vssv1.Snapshot, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.Snapshot, error) {
		id, err := vss.ParseGUID(r.GetSnapshotId())
		if err != nil {
			return nil, err
		}
		record, err := f(s, vss.SnapshotID{GUID: id})
		if err != nil {
			return nil, err
		}
		return snapshotOut(v.k.Properties(record)), nil
	})
}

func (v *Service) Query(ctx context.Context, r *vssv1.QueryRequest) (*vssv1.QueryReply, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.QueryReply, error) {
		switch vss.ObjectType(r.GetReturnedType()) {
		case vss.ObjectProvider:
			if _, err := s.Query(); err != nil {
				return nil, err
			}
			return &vssv1.QueryReply{Providers: each(v.k.Providers(), providerOut)}, nil
		case vss.ObjectSnapshot:
			all, err := s.Query()
			if err != nil {
				return nil, err
			}
			return &vssv1.QueryReply{Snapshots: each(all, func(r catalog.Snapshot) *vssv1.Snapshot { return snapshotOut(v.k.Properties(r)) })}, nil
		}
		return nil, vss.E("Query", vss.ErrInvalidArg, nil).Advise("shadow copies (3) or providers (4) can be asked for")
	})
}

func (v *Service) DeleteSnapshots(ctx context.Context, r *vssv1.DeleteSnapshotsRequest) (*vssv1.DeleteSnapshotsReply, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*vssv1.DeleteSnapshotsReply, error) {
		id, err := vss.ParseGUID(r.GetId())
		if err != nil {
			return nil, err
		}
		deleted, stayed, err := s.Delete(context.WithoutCancel(ctx), id, vss.ObjectType(r.GetType()), r.GetForce())
		if err != nil && stayed.IsZero() {
			return nil, err
		}
		out := &vssv1.DeleteSnapshotsReply{Deleted: each(deleted, vss.SnapshotID.String), Error: wire.MarshalError(err)}
		if !stayed.IsZero() {
			out.NotDeleted = stayed.String()
		}
		return out, nil
	})
}

func (v *Service) breakSet(ctx context.Context, session, set string, flags vss.BreakFlags) (*vssv1.Async, error) {
	return begun(v, ctx, session, func(s *Session) (*Async, error) {
		id, err := vss.ParseGUID(set)
		if err != nil {
			return nil, err
		}
		return s.Break(vss.SnapshotSetID{GUID: id}, flags)
	})
}

func (v *Service) BreakSnapshotSetEx(ctx context.Context, r *vssv1.BreakRequest) (*vssv1.Async, error) {
	return v.breakSet(ctx, r.GetSession(), r.GetSetId(), vss.BreakFlags(r.GetFlags()))
}

func (v *Service) BreakSnapshotSet(ctx context.Context, r *vssv1.SetRequest) (*vssv1.BreakReply, error) {
	a, err := v.breakSet(ctx, r.GetSession(), r.GetSetId(), 0)
	if err != nil {
		return nil, err
	}
	s, err := v.session(ctx, r.GetSession())
	if err != nil {
		return nil, err
	}
	op, err := s.Async(a.GetId())
	if err != nil {
		return nil, err
	}
	<-op.Done()
	if err := op.QueryStatus().Err; err != nil {
		return nil, err
	}
	return &vssv1.BreakReply{SetId: r.GetSetId(), Luns: each(op.Result(), brokenOut)}, nil
}

func (v *Service) GetBreakResult(ctx context.Context, r *vssv1.AsyncRequest) (*vssv1.BreakReply, error) {
	return onAsync(v, ctx, r, func(a *Async) *vssv1.BreakReply { return &vssv1.BreakReply{Luns: each(a.Result(), brokenOut)} })
}

func (v *Service) ExposeSnapshot(ctx context.Context, r *vssv1.ExposeRequest) (*vssv1.Snapshot, error) {
	return onCopy(v, ctx, &vssv1.SnapshotRequest{Session: r.GetSession(), SnapshotId: r.GetSnapshotId()}, func(s *Session, id vss.SnapshotID) (catalog.Snapshot, error) {
		return s.Expose(ctx, id, r.GetPathFromRoot(), vss.Attributes(r.GetAttributes()), r.GetName())
	})
}

func (v *Service) UnexposeSnapshot(ctx context.Context, r *vssv1.SnapshotRequest) (*vssv1.Snapshot, error) {
	return onCopy(v, ctx, r, (*Session).Unexpose)
}

func (v *Service) MountSnapshot(ctx context.Context, r *vssv1.SnapshotRequest) (*vssv1.Snapshot, error) {
	return onCopy(v, ctx, r, func(s *Session, id vss.SnapshotID) (catalog.Snapshot, error) {
		record, _, err := s.Mount(ctx, id)
		return record, err
	})
}

// onAsync finds an operation and answers from it.
func onAsync[R any](v *Service, ctx context.Context, r *vssv1.AsyncRequest, f func(*Async) *R) (*R, error) {
	return on(v, ctx, r.GetSession(), func(s *Session) (*R, error) {
		a, err := s.Async(r.GetAsync())
		if err != nil {
			return nil, err
		}
		return f(a), nil
	})
}

func (v *Service) AsyncWait(ctx context.Context, r *vssv1.AsyncRequest) (*vssv1.AsyncStatus, error) {
	return onAsync(v, ctx, r, func(a *Async) *vssv1.AsyncStatus {
		a.Wait(ctx, limitOf(r.GetTimeoutMs()))
		return statusOut(a.QueryStatus())
	})
}

func (v *Service) AsyncQueryStatus(ctx context.Context, r *vssv1.AsyncRequest) (*vssv1.AsyncStatus, error) {
	return onAsync(v, ctx, r, func(a *Async) *vssv1.AsyncStatus { return statusOut(a.QueryStatus()) })
}

func (v *Service) AsyncCancel(ctx context.Context, r *vssv1.AsyncRequest) (*vssv1.AsyncStatus, error) {
	return onAsync(v, ctx, r, func(a *Async) *vssv1.AsyncStatus { return statusOut(a.Cancel()) })
}

func (v *Service) GetSnapshotSet(_ context.Context, r *vssv1.SetRequest) (*vssv1.SnapshotSet, error) {
	id, err := vss.ParseGUID(r.GetSetId())
	if err != nil {
		return nil, err
	}
	set, copies, err := v.k.SnapshotSet(vss.SnapshotSetID{GUID: id})
	if err != nil {
		return nil, err
	}
	return setOut(set, copies), nil
}

func (v *Service) ListVolumes(ctx context.Context, _ *vssv1.ListVolumesRequest) (*vssv1.ListVolumesReply, error) {
	all, err := v.k.ListVolumes(ctx)
	return &vssv1.ListVolumesReply{Volumes: each(all, volumeOut)}, err
}

func (v *Service) Events(r *vssv1.EventsRequest, stream grpc.ServerStreamingServer[vssv1.Event]) error {
	past, later, stop, err := v.k.Events(time.Unix(0, r.GetSinceUnixNano()), r.GetFollow())
	defer stop()
	if err != nil {
		return err
	}
	for _, e := range past {
		if err := stream.Send(eventOut(e)); err != nil {
			return err
		}
	}
	for later != nil {
		select {
		case e := <-later:
			if err := stream.Send(eventOut(e)); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
	return nil
}

func (v *Service) Check(ctx context.Context, r *vssv1.CheckRequest) (*vssv1.CheckReply, error) {
	found, err := v.k.Check(ctx, r.GetRepair())
	return &vssv1.CheckReply{Findings: each(found, func(f Finding) *vssv1.Finding {
		return &vssv1.Finding{Severity: f.Severity, What: f.What, Hint: f.Hint}
	})}, err
}
